"""An endpoint: one attachment of a pod to the node's network, before anything is made.

The problem: the rows of one pod (links, addresses, routes, neighbours) must follow from its lease alone, so that ADD,
CHECK, DEL and the whole-node resync all derive the same ones. An `Endpoint` is the lease plus the two facts of
the node they depend on.
"""

from __future__ import annotations

from dataclasses import dataclass

from podloom.model.cni import Attachment, IPAddress


@dataclass(frozen=True)
class Endpoint:
    """One pod interface: mtu in bytes (the node's primary interface's), netns a path."""

    attachment: Attachment
    pod_namespace: str
    pod_name: str
    netns: str
    addresses: tuple[IPAddress, ...]
    mtu: int

    @property
    def owner(self) -> str:
        """What its rows and its kernel links are tagged with; unique per incarnation of a pod."""
        return owner_of(self.attachment)


def owner_of(attachment: Attachment) -> str:
    """The owner tag of an attachment's rows: `container/interface` (fits IFALIASZ, 255 bytes, with runtime ids)."""
    return f"{attachment.container_id}/{attachment.ifname}"
