"""Attaching and detaching pods: lease first, then rows; rows away first, then the lease.

The problem: whatever is killed between two steps, an address must not be in two pods, and none may be lost. An ADD
makes the lease durable before it touches the kernel; a DEL ends the lease after the kernel is clean. What a
crash leaves in between is either a lease without a pod (its DEL follows, or it is collected) or nothing.

Verbs about one host interface name wait for each other: two incarnations of a pod share the name, and a runtime may
deliver the old one's DEL after the new one's ADD.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import structlog

from podloom.agent.dataplane import Dataplane
from podloom.agent.leases import LeaseBook
from podloom.model.cni import Attachment, CniAddress, CniInterface, CniRequest, CniResult, UnknownContainer
from podloom.model.endpoint import Endpoint, owner_of
from podloom.model.errors import PodloomError, Rejected, Stale
from podloom.model.lease import Lease, LeaseRequest
from podloom.model.rows import Kind, Row
from podloom.plan.endpoint import endpoint_result, host_ifname, plan_endpoint, plan_removal

log = structlog.get_logger()
_LATER_S = 0.001  # a newer incarnation is later, even when the clock was set back


@dataclass
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Pods:
    """All attachments of this node. `mtu` is the node's primary interface's, in bytes."""

    def __init__(
        self,
        book: LeaseBook,
        dataplane: Dataplane,
        *,
        mtu: Callable[[], int],
        netns_exists: Callable[[str], bool],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.book = book
        self._dataplane = dataplane
        self._mtu = mtu
        self._netns_exists = netns_exists
        self._now = now
        self._turns: dict[str, _Turn] = defaultdict(_Turn)
        self._rows: dict[Attachment, tuple[Lease, int, tuple[Row, ...]]] = {}
        self.node_rows: Callable[[], Iterable[Row]] = tuple
        self.attached: Callable[[Lease], None] = lambda lease: None
        self.detached: Callable[[Lease], None] = lambda lease: None

    def endpoint(self, lease: Lease) -> Endpoint:
        """The endpoint a lease describes on this node."""
        return Endpoint(
            lease.attachment, lease.pod_namespace, lease.pod_name, lease.netns, lease.addresses, self._mtu()
        )

    def rows(self, lease: Lease) -> tuple[Row, ...]:
        """The rows of one attachment (remembered while the lease lives: they follow from it and the MTU)."""
        known = self._rows.get(lease.attachment)
        if known is None or known[0] is not lease or known[1] != self._mtu():
            known = self._rows[lease.attachment] = (lease, self._mtu(), plan_endpoint(self.endpoint(lease)))
        return known[2]

    async def add(self, request: CniRequest) -> CniResult:
        """Attach; raises what the steps raise, with everything undone."""
        if not self._netns_exists(request.netns):
            raise UnknownContainer(
                f"attach container {request.container_id}",
                f"there is no network namespace at {request.netns}",
                "check that the container still exists",
            )
        async with self._turn(host_ifname(request.pod_namespace, request.pod_name, request.ifname)):
            asked = self._asked(request)
            former = self.book.leases.get(request.attachment)
            if former is not None:
                self._refuse_existing(former)
            ended = self.book.with_pod_uid(asked)
            lease = await self.book.add(asked, instead_of=[*(old.attachment for old in ended), request.attachment])
            for old in ended:
                self._forget(old)
            try:
                self._dataplane.apply_owner(self.rows(lease), owner_of(lease.attachment))
            except PodloomError:
                await self._undo(lease)
                raise
            self.attached(lease)
            log.info("pod.attached", pod=lease.pod, addresses=list(map(str, lease.addresses)), netns=lease.netns)
            return endpoint_result(self.endpoint(lease))

    def loopback(self, request: CniRequest) -> CniResult:
        """Bring a container's own loopback interface up."""
        self._dataplane.loopback_up(request.netns)
        interface = CniInterface(request.ifname, "00:00:00:00:00:00", request.netns)
        here = IPv4Address("127.0.0.1")
        return CniResult((interface,), (CniAddress(here, 8, here, 0),), ())

    async def delete(self, attachment: Attachment) -> bool:
        """Detach; what is not attached is success. Returns whether there was something."""
        lease = self.book.leases.get(attachment)
        if lease is None:
            return False
        async with self._turn(host_ifname(lease.pod_namespace, lease.pod_name, attachment.ifname)):
            lease = self.book.leases.get(attachment)
            if lease is None:
                return False
            await self._dataplane.remove(self._removal(lease))
            await self.book.remove(attachment)
            self._forget(lease)
        log.info("pod.detached", pod=lease.pod, addresses=list(map(str, lease.addresses)))
        return True

    def check(self, request: CniRequest, addresses: frozenset[str]) -> None:
        """CHECK: raises unless the attachment is exactly as it was made; `addresses` are prevResult's."""
        attempted = f"check container {request.container_id} interface {request.ifname}"
        lease = self.book.leases.get(request.attachment)
        if lease is None:
            raise UnknownContainer(attempted, "it is not attached", "delete and add it again")
        missing = addresses - {str(address) for address in lease.addresses}
        if missing:
            raise Rejected(attempted, f"prevResult has {', '.join(sorted(missing))}, which it does not hold")
        diff = self._dataplane.check_owner(self.rows(lease), owner_of(lease.attachment))
        if not diff.empty:
            rows = "; ".join(str(change.row) for change in diff.upserts)
            raise Stale(attempted, f"these differ: {rows}", "the agent repairs them within seconds, or add it again")

    def repair(self, attachment: Attachment) -> bool:
        """Make an attachment's rows so again; True when something had to be changed. Failures are logged."""
        lease = self.book.leases.get(attachment)
        if lease is None or not self._holds_name(lease) or not self._netns_exists(lease.netns):
            return False
        turn = self._turns.get(host_ifname(lease.pod_namespace, lease.pod_name, attachment.ifname))
        if turn is not None and turn.users:
            return False
        try:
            report = self._dataplane.apply_owner(self.rows(lease), owner_of(attachment))
        except PodloomError as error:
            log.warning("pod.repair", pod=lease.pod, error=error.message)
            return False
        if report.changed:
            log.info("pod.repaired", pod=lease.pod, rows=[str(row_id.key) for row_id in report.upserted])
        return report.changed > 0

    def prune(self) -> int:
        """Remove links and routes with our tag that neither a lease nor the node wants; returns how many."""
        wanted = {row.id for lease in self.book.leases.values() for row in self.rows(lease)}
        wanted |= {row.id for row in self.node_rows()}
        found = self._dataplane.host_rows()
        strays = [row_id for row_id in found if row_id not in wanted]
        if not strays:
            return 0
        report = self._dataplane.remove_now(strays, found)
        log.info("node.pruned", rows=[str(row_id.key) for row_id in report.deleted])
        return report.changed

    async def collect(self, gone: Iterable[Attachment], reason: str) -> int:
        """Detach attachments whose DEL was lost."""
        count = 0
        for attachment in list(gone):
            lease = self.book.leases.get(attachment)
            if lease is not None and await self.delete(attachment):
                log.info("lease.collected", pod=lease.pod, container=attachment.container_id, reason=reason)
                count += 1
        return count

    def _asked(self, request: CniRequest) -> LeaseRequest:
        return LeaseRequest(
            attachment=request.attachment,
            netns=request.netns,
            pod_namespace=request.pod_namespace,
            pod_name=request.pod_name,
            pod_uid=request.pod_uid,
            network=request.network,
            created_s=max(self._now(), self.book.latest_s + _LATER_S),
        )

    def _refuse_existing(self, lease: Lease) -> None:
        """A second ADD for a living attachment is an error; one for the remains of a broken ADD is not."""
        diff = self._dataplane.check_owner(self.rows(lease), owner_of(lease.attachment))
        if any(change.row.kind is Kind.LINK for change in diff.upserts):
            return
        raise Rejected(
            f"attach container {lease.attachment.container_id}",
            f"it has interface {lease.attachment.ifname} already, with {', '.join(map(str, lease.addresses))}",
            "delete it first",
        )

    async def _undo(self, lease: Lease) -> None:
        """After a failed ADD: what was made goes, the lease goes; a DEL follows anyway and finds what is left."""
        try:
            await self._dataplane.remove(self._removal(lease))
            await self.book.remove(lease.attachment)
            self._forget(lease)
        except PodloomError as error:
            log.warning("pod.undo", pod=lease.pod, error=error.message)

    def _forget(self, lease: Lease) -> None:
        self._rows.pop(lease.attachment, None)
        self.detached(lease)

    def _removal(self, lease: Lease) -> tuple[Row, ...]:
        return plan_removal(self.endpoint(lease), map(self.endpoint, self._namesakes(lease, newer=True)))

    def _holds_name(self, lease: Lease) -> bool:
        return not self._namesakes(lease, newer=True)

    def _namesakes(self, lease: Lease, *, newer: bool) -> list[Lease]:
        """Other leases of the same pod name and interface, made after this one."""
        return [
            other
            for other in self.book.leases.values()
            if other is not lease
            and (other.pod_name, other.pod_namespace) == (lease.pod_name, lease.pod_namespace)
            and other.attachment.ifname == lease.attachment.ifname
            and (other.created_s > lease.created_s) == newer
        ]

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        turn = self._turns[name]
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[name]
