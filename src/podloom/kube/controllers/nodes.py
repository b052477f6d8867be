"""The node lifecycle controller: silent nodes become Unknown, taints follow conditions, pods are evicted.

The problem: a node's clock must not be trusted and a restarted controller must not evict a healthy cluster. So
silence is measured here, from when a heartbeat was last seen to change; a new process starts counting anew.
"""

from __future__ import annotations

from typing import ClassVar

from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_node
from podloom.model.kube import LEASES, NODES, PODS, Key, Object
from podloom.plan.kube.nodelife import heartbeat_of, lost_conditions, plan_taints
from podloom.plan.kube.nodematch import eviction_in
from podloom.plan.kube.pods import condition, is_finished, with_condition
from podloom.plan.kube.times import parse_time

LEASE_NAMESPACE = "kube-node-lease"
GRACE_S = 40.0
STARTUP_GRACE_S = 60.0


class Nodes(Controller):
    """Conditions and taints of nodes, readiness and eviction of their pods."""

    name: ClassVar[str] = "node-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder, grace_s: float = GRACE_S) -> None:
        super().__init__(cluster)
        self.record, self.grace_s = recorder, grace_s
        self.nodes, self.leases, self.pods = map(cluster.view, (NODES, LEASES, PODS))
        index_by_node(self.pods)
        self._seen: dict[str, tuple[tuple[str, str], float]] = {}
        self.watch_own(NODES)
        self.leases.listen(self._lease_changed)
        self.pods.listen(self._pod_changed)

    def _lease_changed(self, _kind: str, lease: Object, _old: Object | None) -> None:
        """A heartbeat of a node in order is only noted; one of a lost node is looked at."""
        namespace, name = lease["metadata"]["namespace"], lease["metadata"]["name"]
        node = self.nodes.get(name) if namespace == LEASE_NAMESPACE else None
        if node is not None:
            self._note(node)
            if condition(node, "Ready").get("status") == "Unknown":
                self.queue.add(("", name))

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        node = self.nodes.get(pod["spec"].get("nodeName") or "")
        moved = old is None or old["spec"].get("nodeName") != pod["spec"].get("nodeName")
        if kind != "DELETED" and node is not None and moved and node.get("spec", {}).get("taints"):
            self.queue.add(("", node["metadata"]["name"]))

    def _note(self, node: Object) -> float:
        """Seconds since the node's heartbeat last changed."""
        name, now = node["metadata"]["name"], self.cluster.clock()
        beat = heartbeat_of(node, self.leases.get(name, LEASE_NAMESPACE))
        seen = self._seen.get(name)
        if seen is None or seen[0] != beat:
            self._seen[name] = (beat, now)
            return 0.0
        return now - seen[1]

    async def sync(self, key: Key) -> float | None:
        node = self.nodes.objects.get(key)
        if node is None:
            self._seen.pop(key[1], None)
            return None
        silent_s = self._note(node)
        grace_s = self.grace_s if condition(node, "Ready") else max(self.grace_s, STARTUP_GRACE_S)
        if silent_s >= grace_s:
            node = await self._lose(node)
        taints = plan_taints(node, self.cluster.clock())
        if taints is not None:
            body = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": taints}}
            node = await self.cluster.patch(NODES, node, body)
        if condition(node, "Ready").get("status") == "Unknown":
            await self._mark_pods(node)
        next_eviction_s = await self._evict(node)
        waits = [grace_s - silent_s + 0.1 if silent_s < grace_s else grace_s]
        return min([*waits, *([next_eviction_s + 0.05] if next_eviction_s is not None else [])])

    async def _lose(self, node: Object) -> Object:
        conditions = lost_conditions(node, self.cluster.clock())
        if conditions is None:
            return node
        self.record.note(NODES, node, "NodeNotReady", f"Node {node['metadata']['name']} status is now: NodeNotReady")
        body = {
            "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
            "status": {"conditions": conditions},
        }
        return await self.cluster.patch(NODES, node, body, subresource="status")

    async def _mark_pods(self, node: Object) -> None:
        """Pods of a lost node are not ready, so Services leave them out."""
        for pod in self.pods.by("node", node["metadata"]["name"]):
            if condition(pod, "Ready").get("status") == "True":
                new = {"type": "Ready", "status": "False"}
                conditions = with_condition(pod["status"]["conditions"], new, self.cluster.now())
                body = {
                    "metadata": {"resourceVersion": pod["metadata"]["resourceVersion"]},
                    "status": {"conditions": conditions},
                }
                await self.cluster.patch(PODS, pod, body, subresource="status")
                self.record.warn(PODS, pod, "NodeNotReady", "Node is not ready")

    async def _evict(self, node: Object) -> float | None:
        """Delete the pods whose toleration ended; seconds until the next one's does."""
        taints = [t for t in node.get("spec", {}).get("taints") or () if t.get("effect") == "NoExecute"]
        if not taints:
            return None
        now = self.cluster.clock()
        since = {(t["key"], t.get("value", "")): parse_time(t["timeAdded"]) for t in taints if t.get("timeAdded")}
        soonest: float | None = None
        for pod in self.pods.by("node", node["metadata"]["name"]):
            if pod["metadata"].get("deletionTimestamp") or is_finished(pod):
                continue
            left_s = eviction_in(pod, taints, since, now)
            if left_s == 0.0:
                self.record.note(PODS, pod, "TaintManagerEviction", "Marking for deletion Pod " + _path(pod))
                await self.cluster.delete(PODS, pod)
            elif left_s is not None:
                soonest = left_s if soonest is None else min(soonest, left_s)
        return soonest


def _path(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
