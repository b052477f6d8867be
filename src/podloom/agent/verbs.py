"""The verbs of the plugin: one frame in, one exit code and one JSON document out.

The problem: whatever comes in, the runtime must get an answer with the right CNI error code, and an unexpected fault
must not take other pods' requests with it. This is the one place where errors become answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from podloom.agent.pods import Pods
from podloom.model.cni import CniRequest, NotAvailable
from podloom.model.errors import Bug, PodloomError, Rejected, Unsupported
from podloom.render.cni import parse_cni_request, render_error, render_result, render_versions, result_addresses
from podloom.render.relay import Frame

log = structlog.get_logger()

Answer = tuple[int, bytes]
MODE = "transparent"
LOOPBACK, IPAM = "loopback", "azure-vnet-ipam"


class Verbs:
    """Answers plugin requests. `before_add` runs before each ADD; `trouble` says why ADD cannot be served, or ""."""

    def __init__(self, pods: Pods, *, trouble: Callable[[], str], before_add: Callable[[], Awaitable[object]]) -> None:
        self._pods = pods
        self._trouble = trouble
        self._before_add = before_add
        self.counts: Counter[tuple[str, str]] = Counter()

    async def answer(self, frame: Frame) -> Answer:
        """The answer to one request; never raises."""
        command = frame.environment.get("CNI_COMMAND", "")
        version = "1.0.0"
        try:
            request = parse_cni_request(frame.environment, frame.stdin)
            version = request.version
            body = await self._serve(request)
        except PodloomError as error:
            self.counts[command, type(error).__name__] += 1
            log.warning("cni.refused", command=command, code=error.cni_code, error=error.message)
            return 1, render_error(error, version)
        except Exception as error:
            self.counts[command, "fault"] += 1
            log.exception("cni.fault", command=command)
            return 1, render_error(Bug(f"serve {command}", f"{type(error).__name__}: {error}"), version)
        self.counts[command, "ok"] += 1
        return 0, body

    async def _serve(self, request: CniRequest) -> bytes:
        if request.command == "VERSION":
            return render_versions()
        if request.plugin == LOOPBACK:
            return self._loopback(request)
        if request.plugin == IPAM and request.command == "ADD":
            raise Unsupported(
                f"allocate an address for container {request.container_id}",
                f"{IPAM} does not serve the overlay",
                "use azure-vnet, which allocates by itself",
            )
        if request.command == "DEL":
            await self._pods.delete(request.attachment)
            return b""
        if request.command == "ADD":
            return await self._add(request)
        if request.command == "CHECK":
            self._check(request)
        elif request.command == "GC":
            await self._collect(request)
        else:
            self._status()
        return b""

    async def _add(self, request: CniRequest) -> bytes:
        mode = request.config.get("mode", MODE)
        if mode != MODE:
            raise Unsupported(
                f"attach pod {request.pod_namespace}/{request.pod_name}",
                f"mode is {mode!r}",
                f"set mode {MODE} in the network configuration",
            )
        trouble = self._trouble()
        if trouble:
            raise NotReady(f"attach pod {request.pod_namespace}/{request.pod_name}", trouble, "try again later")
        await self._before_add()
        result = await self._pods.add(request)
        dns = request.config.get("dns")
        return render_result(replace(result, dns=dns) if isinstance(dns, dict) else result, request.version)

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
        self._pods.check(request, result_addresses(request.config))

    async def _collect(self, request: CniRequest) -> None:
        valid = set(request.valid_attachments)
        gone = [
            attachment
            for attachment, lease in self._pods.book.leases.items()
            if attachment not in valid and lease.network == request.network
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
