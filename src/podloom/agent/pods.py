"""Attaching and detaching pods: lease first, then rows; rows away first, then the lease.

The problem: whatever is killed between two steps, an address must not be in two pods, and none may be lost. An ADD
makes the lease durable before it touches the kernel; a DEL ends the lease after the kernel is clean. What a
crash leaves in between is either a lease without a pod (its DEL follows, or it is collected) or nothing.

Verbs about one container wait for each other in the order they came (a DEL may follow an ADD whose plugin was killed
while it waited), and so do verbs about one host interface name: two incarnations of a pod share the name, and a
runtime may deliver the old one's DEL after the new one's ADD.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

import structlog

from podloom.agent.dataplane import Dataplane
from podloom.agent.leases import LeaseBook
from podloom.agent.turns import Turns
from podloom.model.cni import (
    Attachment,
    CniAddress,
    CniInterface,
    CniRequest,
    CniResult,
    InvalidNamespace,
    UnknownContainer,
)
from podloom.model.endpoint import Endpoint, owner_of
from podloom.model.errors import PodloomError, Rejected, Stale
from podloom.model.lease import Lease, LeaseRequest
from podloom.model.rows import Kind, Row, RowId
from podloom.plan.endpoint import endpoint_result, host_ifname, plan_endpoint, plan_removal

log = structlog.get_logger()
_LATER_S = 0.001  # a newer incarnation is later, even when the clock was set back


class Pods:
    """All attachments of this node.

    `mtu` is the node's primary interface's, in bytes; `netns_identity` what makes two paths ("" is this process's) one
    network namespace.
    """

    def __init__(
        self,
        book: LeaseBook,
        dataplane: Dataplane,
        *,
        mtu: Callable[[], int],
        netns_exists: Callable[[str], bool],
        netns_identity: Callable[[str], object] = str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.book = book
        self._dataplane = dataplane
        self._mtu = mtu
        self._netns_exists = netns_exists
        self._netns_identity = netns_identity
        self._now = now
        self.turns = Turns()
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
        """The rows of one attachment (remembered while the lease lives: they follow from it and the MTU).

        None when another program makes the interface.
        """
        if lease.delegated:
            return ()
        known = self._rows.get(lease.attachment)
        if known is None or known[0] is not lease or known[1] != self._mtu():
            known = self._rows[lease.attachment] = (lease, self._mtu(), plan_endpoint(self.endpoint(lease)))
        return known[2]

    async def add(self, request: CniRequest) -> CniResult:
        """Attach; raises what the steps raise, with everything undone."""
        name = host_ifname(request.pod_namespace, request.pod_name, request.ifname)
        async with self.turns.of(owner_of(request.attachment)), self.turns.of(name):
            self._check_netns(request, "attach")
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
        async with self.turns.of(owner_of(attachment)):
            lease = self.book.leases.get(attachment)
            if lease is None or lease.delegated:
                return False
            async with self.turns.of(host_ifname(lease.pod_namespace, lease.pod_name, attachment.ifname)):
                if self.book.leases.get(attachment) is not lease:
                    return False
                await self._dataplane.remove(self._removal(lease))
                await self.book.remove(attachment)
                self._forget(lease)
        log.info("pod.detached", pod=lease.pod, addresses=list(map(str, lease.addresses)))
        return True

    def check(self, request: CniRequest, addresses: frozenset[str], interfaces: Iterable[CniInterface] = ()) -> None:
        """CHECK: raises unless the attachment is exactly as it was made and as prevResult says it was."""
        attempted = f"check container {request.container_id} interface {request.ifname}"
        self._check_netns(request, "check")
        lease = self.book.leases.get(request.attachment)
        if lease is None or lease.delegated:
            raise UnknownContainer(attempted, "it is not attached", "delete and add it again")
        if self._netns_identity(lease.netns) != self._netns_identity(request.netns):
            raise Rejected(attempted, f"it is attached in {lease.netns}", "pass the namespace of its ADD as CNI_NETNS")
        differing = addresses ^ {str(address) for address in lease.addresses}
        if differing:
            held = ", ".join(map(str, lease.addresses))
            raise Rejected(attempted, f"prevResult has {', '.join(sorted(addresses)) or 'no address'}, it holds {held}")
        self._check_interfaces(attempted, request.ifname, list(interfaces), lease)
        diff = self._dataplane.check_owner(self.rows(lease), owner_of(lease.attachment))
        if not diff.empty:
            rows = "; ".join(str(change.row) for change in diff.upserts)
            raise Stale(attempted, f"these differ: {rows}", "the agent repairs them within seconds, or add it again")

    def repair(self, attachment: Attachment) -> bool:
        """Make an attachment's rows so again; True when something had to be changed. Failures are logged."""
        lease = self.book.leases.get(attachment)
        if lease is None or lease.delegated or not self._holds_name(lease) or not self._netns_exists(lease.netns):
            return False
        if self.turns.busy(host_ifname(lease.pod_namespace, lease.pod_name, attachment.ifname)):
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
        """Remove links and routes with our tag that neither a lease nor the node wants; returns how many.

        A client of the HTTP API names its host interface as we do; it keeps it while it holds addresses.
        """
        wanted = {row.id for lease in self.book.leases.values() for row in self.rows(lease)}
        wanted |= {row.id for row in self.node_rows()}
        wanted |= {
            RowId(Kind.LINK, ("", host_ifname(lease.pod_namespace, lease.pod_name, lease.attachment.ifname)))
            for lease in self.book.leases.values()
            if lease.delegated
        }
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
            if lease is not None and await self._end(lease):
                log.info("lease.collected", pod=lease.pod, container=attachment.container_id, reason=reason)
                count += 1
        return count

    async def _end(self, lease: Lease) -> bool:
        if not lease.delegated:
            return await self.delete(lease.attachment)
        async with self.turns.of(owner_of(lease.attachment)):
            if self.book.leases.get(lease.attachment) is not lease:
                return False
            await self.book.remove(lease.attachment)
            return True

    def _check_netns(self, request: CniRequest, verb: str) -> None:
        attempted = f"{verb} container {request.container_id}"
        if not self._netns_exists(request.netns):
            found = f"there is no network namespace at {request.netns}"
            raise UnknownContainer(attempted, found, "check that the container still exists")
        if self._netns_identity(request.netns) == self._netns_identity(""):
            raise InvalidNamespace(
                attempted, f"{request.netns} is the node's own network namespace", "pass the container's as CNI_NETNS"
            )

    def _check_interfaces(self, attempted: str, ifname: str, interfaces: list[CniInterface], lease: Lease) -> None:
        """prevResult's interfaces (versions before 0.3.0 have none) hold this one, with its MAC address."""
        inside = [item for item in interfaces if item.sandbox and item.name == ifname]
        mac = endpoint_result(self.endpoint(lease)).interfaces[1].mac
        if interfaces and not inside:
            raise Rejected(attempted, f"prevResult has no interface {ifname} in a sandbox", "pass the ADD's result")
        for item in inside:
            if item.mac and item.mac.lower() != mac:
                raise Rejected(
                    attempted, f"prevResult has MAC address {item.mac}, it has {mac}", "pass the ADD's result"
                )

    def _asked(self, request: CniRequest) -> LeaseRequest:
        return LeaseRequest(
            attachment=request.attachment,
            netns=request.netns,
            pod_namespace=request.pod_namespace,
            pod_name=request.pod_name,
            pod_uid=request.pod_uid,
            network=request.network,
            created_s=max(self._now(), self.book.latest_s + _LATER_S),
            wanted=request.wanted,
        )

    def _refuse_existing(self, lease: Lease) -> None:
        """A second ADD for a living attachment is an error; one for the remains of a broken ADD is not."""
        diff = self._dataplane.check_owner(self.rows(lease), owner_of(lease.attachment))
        if any(change.row.kind is Kind.LINK for change in diff.upserts):
            return  # never for a delegated lease: it has no rows
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
