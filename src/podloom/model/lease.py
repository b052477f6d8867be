"""A lease: which attachment holds which addresses.

The problem: an address must never be in two pods and never be lost, whatever is killed when, and a pod that is
deleted and made again under the same name is another pod. So a lease belongs to an attachment (container id and
interface name), never to a pod name; the name, UID and namespace path are kept to explain it and to collect it.
"""

from __future__ import annotations

from dataclasses import dataclass

from podloom.model.cni import Attachment, IPAddress

DELEGATED = ":"  # begins the network of a lease whose interface is another program's; no network name has one
IPAM_NETWORK = f"{DELEGATED}ipam:"
HTTP_NETWORK = f"{DELEGATED}http"


@dataclass(frozen=True)
class Lease:
    """Addresses held by one attachment, and for whom; created_s is Unix time in seconds."""

    attachment: Attachment
    addresses: tuple[IPAddress, ...]
    netns: str
    pod_namespace: str
    pod_name: str
    pod_uid: str
    network: str
    created_s: float

    @property
    def pod(self) -> str:
        """`namespace/name`, for people; the name alone where a runtime gave no namespace."""
        return f"{self.pod_namespace}/{self.pod_name}" if self.pod_namespace else self.pod_name

    @property
    def delegated(self) -> bool:
        """Whether only the address is ours and another program makes the interface (IPAM, HTTP)."""
        return self.network.startswith(DELEGATED)


@dataclass(frozen=True)
class LeaseRequest:
    """What an ADD asks of the store: everything a lease has but the addresses.

    `wanted` are addresses to be given rather than any; a family that has none there gets the next free one.
    """

    attachment: Attachment
    netns: str
    pod_namespace: str
    pod_name: str
    pod_uid: str
    network: str
    created_s: float
    wanted: tuple[IPAddress, ...] = ()
