"""Events for `kubectl describe`: what a controller did or could not do.

The problem: a failing object would write the same event for ever, and events must never hold up work. So equal
events (object, reason, message) share one Event object whose count grows, writing happens in the background from
a bounded queue (what does not fit is dropped), and repeats are rate-limited by waiting longer each time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from podloom.kube.controllers.cluster import Cluster
from podloom.model.errors import PodloomError
from podloom.model.kube import EVENTS, Object, Resource
from podloom.plan.kube.pods import digest

_QUEUE_MOST = 1000
_REMEMBER_MOST = 4096
log = structlog.get_logger()


@dataclass
class _Series:
    name: str
    count: int
    first: str
    quiet_until: float


class Recorder:
    """Records events as `component`; `run` writes them."""

    def __init__(self, cluster: Cluster, component: str) -> None:
        self.cluster, self.component = cluster, component
        self._queue: asyncio.Queue[tuple[Object, _Series]] = asyncio.Queue(_QUEUE_MOST)
        self._known: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()

    def note(self, res: Resource, obj: Object, reason: str, message: str) -> None:
        """A Normal event."""
        self._record(res, obj, "Normal", reason, message)

    def warn(self, res: Resource, obj: Object, reason: str, message: str) -> None:
        """A Warning event."""
        self._record(res, obj, "Warning", reason, message)

    def _record(self, res: Resource, obj: Object, kind: str, reason: str, message: str) -> None:
        meta, now = obj["metadata"], self.cluster.clock()
        series = self._series((meta.get("uid", ""), reason, message), meta["name"], now)
        if series is None or self._queue.full():
            return
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": meta.get("namespace") or "default"},
            "involvedObject": {
                "kind": res.kind,
                "apiVersion": res.api_version,
                "name": meta["name"],
                "uid": meta.get("uid", ""),
                "resourceVersion": meta.get("resourceVersion", ""),
                **({"namespace": meta["namespace"]} if meta.get("namespace") else {}),
            },
            "reason": reason,
            "message": message[:1024],
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
            "type": kind,
            "firstTimestamp": series.first,
            "lastTimestamp": self.cluster.now(),
            "count": series.count,
        }
        self._queue.put_nowait((event, series))

    def _series(self, key: tuple[str, str, str], name: str, now: float) -> _Series | None:
        """The series an event belongs to; None while repeats of it are held back."""
        series = self._known.get(key)
        if series is None:
            suffix = digest([*key, now], 16)
            series = self._known[key] = _Series(f"{name}.{suffix}", 0, self.cluster.now(), 0.0)
            if len(self._known) > _REMEMBER_MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        series.count += 1
        if now < series.quiet_until:
            return None
        series.quiet_until = now + min(300.0, 1.0 * 2.0 ** min(series.count, 9))
        return series

    async def run(self) -> None:
        """Write queued events until cancelled; an event that cannot be written is dropped."""
        while True:
            event, series = await self._queue.get()
            try:
                await self._write(event, series)
            except PodloomError as e:
                log.debug("controllers.event", error=e.message)

    async def _write(self, event: Object, series: _Series) -> None:
        client = self.cluster.client
        namespace = event["metadata"]["namespace"]
        if series.count > 1:
            body = {"count": event["count"], "lastTimestamp": event["lastTimestamp"]}
            try:
                await client.patch(EVENTS, series.name, body, namespace)
                return
            except PodloomError as e:
                if getattr(e, "status", 0) != 404:
                    raise
        await client.create(EVENTS, event, namespace=namespace)
