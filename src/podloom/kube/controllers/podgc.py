"""Pod garbage collection: pods whose node is gone, and finished pods beyond a bound."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import structlog

from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.indexes import index_by_node
from podloom.model.errors import PodloomError
from podloom.model.kube import NODES, PODS, Object
from podloom.plan.kube.pods import is_finished

FINISHED_MOST = 12500
_PERIOD_S = 5.0
log = structlog.get_logger()


class PodGarbage:
    """Looks around every few seconds; a node must be gone for `quarantine_s` before its pods are removed."""

    name: ClassVar[str] = "pod-garbage-collector"

    def __init__(self, cluster: Cluster, quarantine_s: float = 40.0, finished_most: int = FINISHED_MOST) -> None:
        self.cluster, self.quarantine_s, self.finished_most = cluster, quarantine_s, finished_most
        self.pods, self.nodes = cluster.view(PODS), cluster.view(NODES)
        index_by_node(self.pods)
        self._gone: dict[str, float] = {}
        self.nodes.listen(self._node_changed)

    def _node_changed(self, kind: str, node: Object, _old: Object | None) -> None:
        """A deleted node is known to be gone: no quarantine, unless it comes back."""
        name = node["metadata"]["name"]
        if kind == "DELETED":
            self._gone[name] = self.cluster.clock() - self.quarantine_s
        else:
            self._gone.pop(name, None)

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self.collect()
            except PodloomError as e:
                log.debug("podgc.retry", error=e.message)

    async def collect(self) -> None:
        """One round."""
        now = self.cluster.clock()
        for pod in self._orphans(now) + self._finished_surplus() + self._unbound_leaving():
            if not is_finished(pod) and pod["spec"].get("nodeName"):
                body = {"status": {"phase": "Failed", "reason": "NodeLost", "message": "PodGC: node no longer exists"}}
                await self.cluster.patch(PODS, pod, body, subresource="status")
            await self.cluster.delete(PODS, pod, grace_period_s=0)

    def _orphans(self, now: float) -> list[Object]:
        bound = {pod["spec"].get("nodeName") or "" for pod in self.pods.objects.values()} - {""}
        missing = {name for name in bound if ("", name) not in self.nodes.objects}
        self._gone = {name: self._gone.get(name, now) for name in missing}
        ripe = [name for name, since in self._gone.items() if now - since >= self.quarantine_s]
        return [pod for name in ripe for pod in self.pods.by("node", name)]

    def _finished_surplus(self) -> list[Object]:
        finished = [pod for pod in self.pods.objects.values() if is_finished(pod)]
        finished.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        return finished[: max(0, len(finished) - self.finished_most)]

    def _unbound_leaving(self) -> list[Object]:
        return [pod for pod in self.pods.by("node", "") if pod["metadata"].get("deletionTimestamp")]
