"""The lease book: allocation in memory, decision on disk.

The problem: an address is given by being durable, but a sync per pod would make thirty parallel ADDs wait in line. So
the book mirrors the store, chooses addresses at once (they count as used from then on), and everything asked for
within one turn of the event loop is committed as one transaction. An ADD continues when its commit is on disk; if the
commit fails, the addresses are free again and every ADD of the batch fails.

One book is the only writer of its store (the store's lock sees to that), so the mirror is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address

from podloom.drivers.store.lease import LeaseStore
from podloom.model.cni import Attachment, IPAddress
from podloom.model.errors import Bug, PodloomError, Unavailable
from podloom.model.lease import Lease, LeaseRequest
from podloom.model.nnc import Network
from podloom.plan import ipam

_CURSOR = "cursor:"


class LeaseBook:
    """Leases by attachment; `ranges` is what new addresses come from. Belongs to one event loop."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self.ranges: tuple[Network, ...] = ()
        self.leases: dict[Attachment, Lease] = {lease.attachment: lease for lease in store.leases()}
        self._used: set[IPAddress] = {address for lease in self.leases.values() for address in lease.addresses}
        self._cursors: dict[Network, IPAddress] = {}
        self._adds: dict[Attachment, Lease] = {}
        self._deletes: list[Attachment] = []
        self._waiting: asyncio.Future[None] | None = None
        self.latest_s = max((lease.created_s for lease in self.leases.values()), default=0.0)
        self.commits = 0

    def set_ranges(self, ranges: tuple[Network, ...]) -> None:
        """Hand out from these from now on; leases of other ranges stay as they are."""
        self.ranges = ranges
        for network in ranges:
            remembered = self._store.meta(f"{_CURSOR}{network}")
            if network not in self._cursors and remembered:
                self._cursors[network] = ip_address(remembered)

    def free(self) -> int:
        """Addresses that could still be given out."""
        return sum(ipam.capacity(network) for network in self.ranges) - sum(
            any(address in network for network in self.ranges) for address in self._used
        )

    def with_pod_uid(self, request: LeaseRequest) -> list[Lease]:
        """Leases of earlier sandboxes of the very same pod (same name and UID, another container)."""
        if not request.pod_uid:
            return []
        return [
            lease
            for lease in self.leases.values()
            if lease.pod_uid == request.pod_uid
            and (lease.pod_namespace, lease.pod_name) == (request.pod_namespace, request.pod_name)
            and lease.attachment.ifname == request.attachment.ifname
            and lease.attachment != request.attachment
            and not lease.delegated
        ]

    async def add(self, request: LeaseRequest, *, instead_of: Iterable[Attachment] = ()) -> Lease:
        """Lease addresses, durably when this returns, ending the leases `instead_of` in the same transaction.

        Raises Exhausted, Rejected (an address asked for), Unavailable (no range yet, or the disk), Bug.
        """
        if not self.ranges:
            raise Unavailable(
                f"lease an address to pod {request.pod_namespace}/{request.pod_name}",
                "this node has no address range yet",
                "wait for the operator to write this node's NodeNetworkConfig",
            )
        addresses = ipam.choose_each(self.ranges, self._used, self._cursors, request.wanted)
        lease = Lease(
            attachment=request.attachment,
            addresses=addresses,
            netns=request.netns,
            pod_namespace=request.pod_namespace,
            pod_name=request.pod_name,
            pod_uid=request.pod_uid,
            network=request.network,
            created_s=request.created_s,
        )
        self._used.update(addresses)
        self.latest_s = max(self.latest_s, request.created_s)
        ended = [self.leases.pop(attachment) for attachment in instead_of if attachment in self.leases]
        self.leases[lease.attachment] = self._adds[lease.attachment] = lease
        self._deletes += [item.attachment for item in ended]
        try:
            await asyncio.shield(self._commit_soon())
        except PodloomError:
            if self.leases.get(lease.attachment) is lease:
                del self.leases[lease.attachment]
            self._used.difference_update(addresses)
            self.leases.update((item.attachment, item) for item in ended)
            raise
        self._release(ended)
        return lease

    async def remove(self, attachment: Attachment) -> None:
        """End a lease, durably when this returns; one that is not there is success."""
        await self.remove_all([attachment])

    async def remove_all(self, attachments: Iterable[Attachment]) -> None:
        """End several leases in one transaction."""
        ended = [self.leases[item] for item in attachments if item in self.leases]
        if not ended:
            return
        self._deletes += [lease.attachment for lease in ended]
        await asyncio.shield(self._commit_soon())
        for lease in ended:
            if self.leases.get(lease.attachment) is lease:
                del self.leases[lease.attachment]
        self._release(ended)

    def remember(self, key: str, value: str) -> None:
        """Keep a fact in the store, at once."""
        self._store.commit(meta={key: value})

    def recall(self, key: str) -> str | None:
        """A fact kept by `remember`."""
        return self._store.meta(key)

    def forget_all(self, meta: dict[str, str]) -> int:
        """A new boot: no lease of the old one is true. Returns how many there were."""
        count = len(self.leases)
        self._store.clear(meta)
        self.leases.clear()
        self._used.clear()
        return count

    def _release(self, ended: Iterable[Lease]) -> None:
        self._used.difference_update(address for lease in ended for address in lease.addresses)

    def _commit_soon(self) -> asyncio.Future[None]:
        """The future of the batch that everything of this turn of the loop goes into."""
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            loop.call_soon(self._flush)
        return self._waiting

    def _flush(self) -> None:
        adds, deletes, waiting = self._adds, self._deletes, self._waiting
        self._adds, self._deletes, self._waiting = {}, [], None
        assert waiting is not None
        cursors = {f"{_CURSOR}{network}": str(address) for network, address in self._cursors.items()} if adds else {}
        try:
            self._store.commit(add=adds.values(), delete=deletes, meta=cursors)
            self.commits += 1
        except PodloomError as error:
            waiting.set_exception(error)
        except Exception as error:  # whoever waits must hear of it, whatever it was
            waiting.set_exception(Bug("write the lease store", f"{type(error).__name__}: {error}"))
        else:
            waiting.set_result(None)
