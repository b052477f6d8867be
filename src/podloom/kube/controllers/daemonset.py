"""The DaemonSet controller: one pod on each node it wants, by plan.kube.daemonset."""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller, each
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_namespace, index_by_owner
from podloom.kube.controllers.names import PodNames
from podloom.kube.controllers.revisions import Revisions
from podloom.model.kube import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS, Key, Object, owner_reference
from podloom.plan.kube.claims import adoption, claim, disowning
from podloom.plan.kube.daemonset import GENERATION, HASH, daemon_spec, plan_daemonset
from podloom.plan.kube.nodematch import taints_of
from podloom.plan.kube.pods import pod_from_template


class DaemonSets(Controller):
    """apps/v1 DaemonSets."""

    name: ClassVar[str] = "daemonset-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.sets, self.pods, self.nodes = map(cluster.view, (DAEMONSETS, PODS, NODES))
        self.revisions = Revisions(cluster, DAEMONSETS, HASH)
        index_by_owner(self.pods)
        index_by_namespace(self.sets)
        self._names = PodNames()
        self.watch_own(DAEMONSETS)
        self.watch_owned(PODS, DAEMONSETS)
        self.watch_owned(CONTROLLERREVISIONS, DAEMONSETS)
        self.nodes.listen(self._node_changed)

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        if old is not None and kind == "MODIFIED" and _placement(node) == _placement(old):
            return
        for key in self.sets.objects:
            self.queue.add(key)

    async def sync(self, key: Key) -> float | None:
        ds = self.sets.objects.get(key)
        if ds is None:
            return None
        claims = claim(ds, self.pods.by("owner", ds["metadata"]["uid"]) + self.pods.by("orphan", key[0]))
        for pod in claims.adopt:
            claims.own.append(await self.cluster.patch(PODS, pod, adoption(DAEMONSETS, ds, pod)))
        for pod in claims.release:
            await self.cluster.patch(PODS, pod, disowning(ds["metadata"]["uid"], pod))
        revision = "" if ds["metadata"].get("deletionTimestamp") else await self.revisions.settle(ds, claims.own)
        nodes = list(self.nodes.objects.values())
        plan = plan_daemonset(ds, nodes, claims.own, revision, self.cluster.clock())
        await each(plan.create, lambda node: self._create(ds, node, revision))
        await each(plan.delete, lambda pod: self._delete(ds, pod))
        now = self.sets.objects.get(key)
        if now is not None and now["metadata"]["uid"] == ds["metadata"]["uid"] and now.get("status") != plan.status:
            await self.cluster.replace(DAEMONSETS, {**now, "status": plan.status}, subresource="status")
        return plan.again_s

    async def _create(self, ds: Object, node: str, revision: str) -> None:
        meta = ds["metadata"]
        prefix = f"{meta['name'][:57]}-"
        with self._names.one(f"{meta['uid']}/{node}", prefix) as name:
            owner = owner_reference(DAEMONSETS, ds)
            pod = pod_from_template(ds["spec"]["template"], meta["namespace"], owner, name, prefix)
            pod["spec"] = daemon_spec(ds["spec"]["template"], node)
            pod["metadata"]["labels"] |= {HASH: revision, GENERATION: str(meta.get("generation", 1))}
            try:
                await self.cluster.create(PODS, pod)
            except KubeError as e:
                if not e.already_exists:
                    self.record.warn(DAEMONSETS, ds, "FailedCreate", f"Error creating: {e.found}")
                    raise
                self.pods.informer.observe(await self.cluster.client.get(PODS, name, meta["namespace"]))
        self.record.note(DAEMONSETS, ds, "SuccessfulCreate", f"Created pod: {name}")

    async def _delete(self, ds: Object, pod: Object) -> None:
        await self.cluster.delete(PODS, pod)
        self.record.note(DAEMONSETS, ds, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")


def _placement(node: Object) -> tuple[object, ...]:
    """What of a node decides whether daemon pods run there."""
    return node["metadata"].get("labels"), taints_of(node), node.get("spec", {}).get("unschedulable")
