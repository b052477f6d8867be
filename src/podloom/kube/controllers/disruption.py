"""The disruption controller: keeps PodDisruptionBudget statuses, which evictions are judged by."""

from __future__ import annotations

from typing import ClassVar

from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.kube.controllers.indexes import index_by_namespace
from podloom.model.kube import (
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    Key,
    Object,
    key_of,
    owner_of,
)
from podloom.model.kubeselector import from_label_selector
from podloom.plan.kube.deployment import replicas_of
from podloom.plan.kube.disruption import plan_budget


class Disruptions(Controller):
    """policy/v1 PodDisruptionBudgets."""

    name: ClassVar[str] = "disruption-controller"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.budgets, self.pods = cluster.view(PODDISRUPTIONBUDGETS), cluster.view(PODS)
        self.scales = {"ReplicaSet": cluster.view(REPLICASETS), "StatefulSet": cluster.view(STATEFULSETS)}
        index_by_namespace(self.budgets)
        index_by_namespace(self.pods)
        self.watch_own(PODDISRUPTIONBUDGETS)
        self.pods.listen(self._pod_changed)

    def _pod_changed(self, _kind: str, pod: Object, old: Object | None) -> None:
        for budget in self.budgets.by("namespace", pod["metadata"]["namespace"]):
            selector = from_label_selector(budget["spec"].get("selector"))
            if selector and any(o and selector.matches(o["metadata"].get("labels")) for o in (pod, old)):
                self.queue.add_after(key_of(budget), 0.02)

    async def sync(self, key: Key) -> float | None:
        budget = self.budgets.objects.get(key)
        if budget is None:
            return None
        selector = from_label_selector(budget["spec"].get("selector"))
        pods = [
            pod
            for pod in self.pods.by("namespace", key[0])
            if selector and selector.matches(pod["metadata"].get("labels"))
        ]
        status = plan_budget(budget, pods, self._scales(pods), self.cluster.clock())
        if status != budget.get("status"):
            new = {**budget, "status": status}
            await self.cluster.replace(PODDISRUPTIONBUDGETS, new, subresource="status")
        return 30.0 if status.get("disruptedPods") else None

    def _scales(self, pods: list[Object]) -> dict[str, int]:
        """The wanted replicas of each controller of the pods; a pod without one counts itself."""
        scales: dict[str, int] = {}
        for pod in pods:
            ref = owner_of(pod)
            view = self.scales.get(ref["kind"]) if ref else None
            owner = view.get(ref["name"], pod["metadata"]["namespace"]) if ref and view else None
            if ref and owner:
                scales[ref["uid"]] = replicas_of(owner)
            else:
                scales[pod["metadata"]["uid"]] = 1
        return scales
