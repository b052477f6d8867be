"""The verbs of the plugin: one frame in, one exit code and one JSON document out.

The problem: whatever comes in, the runtime must get an answer with the right CNI error code, and an unexpected fault
must not take other pods' requests with it. This is the one place where errors become answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from podloom.agent.addresses import Addresses, Holder
from podloom.agent.pods import Pods
from podloom.agent.turns import Turns
from podloom.model.cni import CniRequest, CniResult, NotAvailable, UnknownContainer, UnsupportedField
from podloom.model.endpoint import owner_of
from podloom.model.errors import Bug, PodloomError, Rejected
from podloom.model.lease import IPAM_NETWORK
from podloom.model.nnc import Network
from podloom.plan.endpoint import address_result
from podloom.render.cni import error_version, parse_cni_request, render_error, render_result, render_versions
from podloom.render.cniargs import previous_result, wanted_dns
from podloom.render.relay import Frame

log = structlog.get_logger()

Answer = tuple[int, bytes]
MODE = "transparent"
LOOPBACK = "loopback"
IPAM = ("azure-ipam", "azure-vnet-ipam")


class Verbs:
    """Answers plugin requests. `before_add` runs before each ADD; `trouble` says why ADD cannot be served, or ""."""

    def __init__(self, pods: Pods, *, trouble: Callable[[], str], before_add: Callable[[], Awaitable[object]]) -> None:
        self._pods = pods
        self._order = Turns()
        self.addresses = Addresses(pods.book, pods.turns)
        self._trouble = trouble
        self._before_add = before_add
        self.pod_cidrs: Callable[[], tuple[Network, ...]] = tuple
        self.counts: Counter[tuple[str, str]] = Counter()

    async def answer(self, frame: Frame, *, in_order: bool = True) -> Answer:
        """The answer to one request; never raises.

        Requests of one container wait for those before them, also for what an ADD waits for itself; a kept DEL, which
        such an ADD may be waiting for, is not `in_order`.
        """
        command = frame.environment.get("CNI_COMMAND", "")
        try:
            request = parse_cni_request(frame.environment, frame.stdin)
            if in_order and request.command in ("ADD", "DEL"):
                async with self._order.of(owner_of(request.attachment)):
                    body = await self._serve(request)
            else:
                body = await self._serve(request)
        except PodloomError as error:
            self.counts[command, type(error).__name__] += 1
            log.warning("cni.refused", command=command, code=error.cni_code, error=error.message)
            return 1, render_error(error, error_version(frame.stdin))
        except Exception as error:
            self.counts[command, "fault"] += 1
            log.exception("cni.fault", command=command)
            bug = Bug(f"serve {command}", f"{type(error).__name__}: {error}")
            return 1, render_error(bug, error_version(frame.stdin))
        self.counts[command, "ok"] += 1
        return 0, body

    async def _serve(self, request: CniRequest) -> bytes:
        if request.command == "VERSION":
            return render_versions()
        if request.plugin == LOOPBACK:
            return self._loopback(request)
        if request.command == "ADD":
            return await self._add(request)
        if request.command == "DEL":
            if request.plugin in IPAM:
                await self.addresses.take_back(request.attachment, IPAM_NETWORK + request.network)
            else:
                await self._pods.delete(request.attachment)
        elif request.command == "CHECK":
            self._check(request)
        elif request.command == "GC":
            await self._collect(request)
        else:
            self._status()
        return b""

    async def _add(self, request: CniRequest) -> bytes:
        mode = request.config.get("mode", MODE)
        if mode != MODE and request.plugin not in IPAM:
            raise UnsupportedField(
                f"attach pod {request.pod_namespace}/{request.pod_name}",
                f"mode is {mode!r}",
                f"set mode {MODE} in the network configuration",
            )
        dns = wanted_dns(request.config)
        trouble = self._trouble()
        if trouble:
            raise NotReady(f"attach pod {request.pod_namespace}/{request.pod_name}", trouble, "try again later")
        await self._before_add()
        result = await (self._give(request) if request.plugin in IPAM else self._pods.add(request))
        return render_result(replace(result, dns=dns) if dns else result, request.version)

    async def _give(self, request: CniRequest) -> CniResult:
        """Delegated IPAM: an address only; the plugin that asks makes the interface."""
        holder = Holder(
            request.attachment,
            IPAM_NETWORK + request.network,
            request.pod_namespace,
            request.pod_name,
            request.pod_uid,
            request.netns,
        )
        lease = await self.addresses.give(holder, request.wanted)
        if lease.network != holder.network:
            raise Rejected(
                f"give container {request.container_id} an address", "it is attached by azure-vnet", "delete it first"
            )
        return address_result(lease.addresses, self._pods.book.ranges, self.pod_cidrs())

    def _loopback(self, request: CniRequest) -> bytes:
        """The reference plugin loopback, where the distribution has none."""
        if request.command == "ADD":
            return render_result(self._pods.loopback(request), request.version)
        return b""

    def _check(self, request: CniRequest) -> None:
        if not request.config.get("prevResult"):
            raise Rejected(
                f"check container {request.container_id}", "prevResult is missing", "pass the result of the ADD"
            )
        addresses, interfaces = previous_result(request.config)
        if request.plugin not in IPAM:
            self._pods.check(request, addresses, interfaces)
            return
        attempted = f"check the address of container {request.container_id}"
        lease = self._pods.book.leases.get(request.attachment)
        if lease is None or lease.network != IPAM_NETWORK + request.network:
            raise UnknownContainer(attempted, "it has none", "delete and add it again")
        if addresses.isdisjoint(map(str, lease.addresses)):
            raise Rejected(
                attempted, f"prevResult lacks {', '.join(map(str, lease.addresses))}", "pass the ADD's result"
            )

    async def _collect(self, request: CniRequest) -> None:
        valid = set(request.valid_attachments)
        network = IPAM_NETWORK + request.network if request.plugin in IPAM else request.network
        gone = [
            attachment
            for attachment, lease in self._pods.book.leases.items()
            if attachment not in valid and lease.network == network
        ]
        await self._pods.collect(gone, "GC")
        self._pods.prune()

    def _status(self) -> None:
        trouble = self._trouble()
        if trouble:
            raise NotAvailable("serve new pods", trouble, "try again later")


class NotReady(NotAvailable):
    """ADD cannot be served yet (CNI error 11, try again later)."""

    cni_code = 11
