"""Events about pods and the node (core/v1 Event), counted instead of repeated, sent in the background.

The problem: kubectl describe shows why a pod waits, and a crashing pod says the same thing for ever. Equal events
are one object whose count rises; the queue is bounded, and an API server that is away costs events, not pods.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from podloom.drivers.kube.api import KubeApi, KubeError
from podloom.model.errors import PodloomError
from podloom.model.kube import EVENTS, Object

log = structlog.get_logger()
_QUEUE_MAX = 1000
_KNOWN_MAX = 2000
_MESSAGE_MAX = 1024


@dataclass(frozen=True)
class _Key:
    uid: str
    field: str
    kind: str
    reason: str
    message: str


class Recorder:
    """`event` never blocks and never fails; `run` sends."""

    def __init__(self, kube: KubeApi, node_name: str) -> None:
        self._kube, self._node = kube, node_name
        self._queue: asyncio.Queue[tuple[_Key, Object]] = asyncio.Queue(_QUEUE_MAX)
        self._known: OrderedDict[_Key, Object] = OrderedDict()

    def pod(self, pod: Mapping[str, Any], kind: str, reason: str, message: str, *, container: str = "") -> None:
        """Say something (Normal or Warning) about a pod, or about one of its containers."""
        meta = pod["metadata"]
        involved = {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        }
        if container:
            groups = ("initContainers", "containers", "ephemeralContainers")
            found = (g for g in groups if any(one["name"] == container for one in pod["spec"].get(g) or ()))
            involved["fieldPath"] = f"spec.{next(found, 'containers')}{{{container}}}"
        self._put(involved, kind, reason, message)

    def node(self, kind: str, reason: str, message: str) -> None:
        self._put({"kind": "Node", "apiVersion": "v1", "name": self._node, "uid": self._node}, kind, reason, message)

    def _put(self, involved: Object, kind: str, reason: str, message: str) -> None:
        key = _Key(involved["uid"], involved.get("fieldPath", ""), kind, reason, message[:_MESSAGE_MAX])
        if self._queue.full():
            log.warning("event dropped", reason=reason)
            return
        self._queue.put_nowait((key, involved))

    async def run(self) -> None:
        """Send events for ever, in order."""
        while True:
            key, involved = await self._queue.get()
            try:
                await self._send(key, involved)
            except PodloomError as e:
                log.debug("event not sent", reason=key.reason, error=e.message)

    async def _send(self, key: _Key, involved: Object) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        known = self._known.get(key)
        if known is not None:
            known["count"] += 1
            body = {"count": known["count"], "lastTimestamp": now}
            try:
                await self._kube.patch(EVENTS, known["metadata"]["name"], body, known["metadata"]["namespace"])
                return
            except KubeError as e:
                if not e.not_found:
                    raise
        obj = self._object(key, involved, now)
        await self._kube.create(EVENTS, obj)
        self._known[key] = {"metadata": obj["metadata"], "count": 1}
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _object(self, key: _Key, involved: Object, now: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{involved['name']}.{time.time_ns():x}",
                "namespace": involved.get("namespace") or "default",
            },
            "involvedObject": involved,
            "reason": key.reason,
            "message": key.message,
            "source": {"component": "kubelet", "host": self._node},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": key.kind,
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
        }
