"""The DaemonSet controller: one pod on each node it wants, by plan.kube.daemonset."""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller, each
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_namespace, index_by_owner
from podloom.kube.controllers.names import PodNames
from podloom.model.kube import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS, Key, Object, key_of, owner_reference
from podloom.plan.kube.claims import adoption, claim, disowning
from podloom.plan.kube.daemonset import GENERATION, HASH, daemon_spec, plan_daemonset
from podloom.plan.kube.nodematch import taints_of
from podloom.plan.kube.pods import pod_from_template
from podloom.plan.kube.revisions import plan_revision


class DaemonSets(Controller):
    """apps/v1 DaemonSets."""

    name: ClassVar[str] = "daemonset-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.sets, self.pods, self.nodes = map(cluster.view, (DAEMONSETS, PODS, NODES))
        self.revisions = cluster.view(CONTROLLERREVISIONS)
        index_by_owner(self.pods)
        index_by_owner(self.revisions)
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
        revision = "" if ds["metadata"].get("deletionTimestamp") else await self._revise(ds, claims.own)
        nodes = list(self.nodes.objects.values())
        plan = plan_daemonset(ds, nodes, claims.own, revision, self.cluster.clock())
        await each(plan.create, lambda node: self._create(ds, node, revision))
        await each(plan.delete, lambda pod: self._delete(ds, pod))
        now = self.sets.objects.get(key)
        if now is not None and now["metadata"]["uid"] == ds["metadata"]["uid"] and now.get("status") != plan.status:
            await self.cluster.replace(DAEMONSETS, {**now, "status": plan.status}, subresource="status")
        return plan.again_s

    async def _revise(self, ds: Object, pods: list[Object]) -> str:
        """Make the current template's revision the newest; its hash."""
        own = self.revisions.by("owner", ds["metadata"]["uid"])
        used = {(pod["metadata"].get("labels") or {}).get(HASH, "") for pod in pods}
        plan = plan_revision(DAEMONSETS, ds, own, HASH, used)
        if plan.create is not None:
            await self._create_revision(ds, plan.create)
        if plan.renumber is not None:
            revision, number = plan.renumber
            await self.cluster.patch(CONTROLLERREVISIONS, revision, {"revision": number})
        for gone in plan.delete:
            await self.cluster.delete(CONTROLLERREVISIONS, gone)
        return plan.hash

    async def _create_revision(self, ds: Object, wanted: Object) -> None:
        try:
            await self.cluster.create(CONTROLLERREVISIONS, wanted)
        except KubeError as e:
            if not e.already_exists:
                raise
            namespace, name = key_of(wanted)
            found = await self.cluster.client.get(CONTROLLERREVISIONS, name, namespace)
            self.revisions.informer.observe(found)
            if found.get("data") != wanted["data"]:
                count = int(ds.get("status", {}).get("collisionCount") or 0)
                await self.cluster.patch(
                    DAEMONSETS, ds, {"status": {"collisionCount": count + 1}}, subresource="status"
                )
                raise

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
                    self.record.warn(DAEMONSETS, ds, "FailedCreate", f"Error creating: {e.message}")
                    raise
                self.pods.informer.observe(await self.cluster.client.get(PODS, name, meta["namespace"]))
        self.record.note(DAEMONSETS, ds, "SuccessfulCreate", f"Created pod: {name}")

    async def _delete(self, ds: Object, pod: Object) -> None:
        await self.cluster.delete(PODS, pod)
        self.record.note(DAEMONSETS, ds, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")


def _placement(node: Object) -> tuple[object, ...]:
    """What of a node decides whether daemon pods run there."""
    return node["metadata"].get("labels"), taints_of(node), node.get("spec", {}).get("unschedulable")
