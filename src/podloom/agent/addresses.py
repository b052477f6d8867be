"""Addresses for interfaces that another program makes: delegated IPAM and the HTTP API.

The problem: a chain such as cilium-cni's makes its own interface and only asks for an address, and so does a client of
the HTTP API; both may ask twice and give back twice. So such a lease lies in the same book as every other one (no
address is ever in both), has no rows in the kernel, and asking again for the same container answers the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from podloom.agent.leases import LeaseBook
from podloom.agent.turns import Turns
from podloom.model.cni import Attachment, IPAddress
from podloom.model.endpoint import owner_of
from podloom.model.lease import Lease, LeaseRequest

log = structlog.get_logger()


@dataclass(frozen=True)
class Holder:
    """Who asks for addresses: pod and container, and in which network's name (model.lease: a delegated one)."""

    attachment: Attachment
    network: str
    pod_namespace: str
    pod_name: str
    pod_uid: str = ""
    netns: str = ""


class Addresses:
    """Gives and takes back; `turns` are shared with the attachments made here."""

    def __init__(self, book: LeaseBook, turns: Turns, *, now: Callable[[], float] = time.time) -> None:
        self._book = book
        self._turns = turns
        self._now = now

    async def give(self, holder: Holder, wanted: tuple[IPAddress, ...] = ()) -> Lease:
        """The holder's lease: the one it has, else a new one, durable. Raises what LeaseBook.add raises."""
        async with self._turns.of(owner_of(holder.attachment)):
            lease = self._book.leases.get(holder.attachment)
            if lease is not None:
                return lease
            lease = await self._book.add(self._asked(holder, wanted))
        log.info("address.given", pod=lease.pod, addresses=list(map(str, lease.addresses)), to=holder.network)
        return lease

    async def take_back(self, attachment: Attachment, network: str) -> bool:
        """End the lease if it was given under `network`; anything else is success without effect (False)."""
        async with self._turns.of(owner_of(attachment)):
            lease = self._book.leases.get(attachment)
            if lease is None or lease.network != network:
                return False
            await self._book.remove(attachment)
        log.info("address.back", pod=lease.pod, addresses=list(map(str, lease.addresses)), by=network)
        return True

    def _asked(self, holder: Holder, wanted: tuple[IPAddress, ...]) -> LeaseRequest:
        return LeaseRequest(
            attachment=holder.attachment,
            netns=holder.netns,
            pod_namespace=holder.pod_namespace,
            pod_name=holder.pod_name,
            pod_uid=holder.pod_uid,
            network=holder.network,
            created_s=max(self._now(), self._book.latest_s),
            wanted=wanted,
        )
