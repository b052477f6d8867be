"""The Deployment controller: makes the writes that plan.kube.deployment decides, one step per visit."""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_namespace, index_by_owner
from podloom.model.kube import DEPLOYMENTS, PODS, REPLICASETS, Key, Object, key_of, owner_of
from podloom.model.kubeselector import from_label_selector
from podloom.plan.kube.claims import adoption, claim, disowning
from podloom.plan.kube.deployment import REVISION, Rollout, is_ours, plan_deployment, replicas_of
from podloom.plan.kube.deploymentstatus import plan_status
from podloom.plan.kube.pods import is_finished


class Deployments(Controller):
    """apps/v1 Deployments."""

    name: ClassVar[str] = "deployment-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.deployments, self.sets, self.pods = map(cluster.view, (DEPLOYMENTS, REPLICASETS, PODS))
        index_by_owner(self.sets)
        index_by_owner(self.pods)
        index_by_namespace(self.deployments)
        self.watch_own(DEPLOYMENTS)
        self.watch_owned(REPLICASETS, DEPLOYMENTS)
        self.sets.listen(self._orphan_changed)
        self.pods.listen(self._pod_gone)

    def _orphan_changed(self, kind: str, rs: Object, _old: Object | None) -> None:
        if kind == "DELETED" or owner_of(rs):
            return
        for deployment in self.deployments.by("namespace", rs["metadata"]["namespace"]):
            selector = from_label_selector(deployment["spec"]["selector"])
            if selector and selector.matches(rs["metadata"].get("labels")):
                self.queue.add(key_of(deployment))

    def _pod_gone(self, kind: str, pod: Object, _old: Object | None) -> None:
        """Recreate waits for the last old pod to be gone."""
        ref = owner_of(pod) if kind == "DELETED" or is_finished(pod) else None
        if ref and ref["kind"] == "ReplicaSet":
            rs = self.sets.get(ref["name"], pod["metadata"]["namespace"])
            owner = owner_of(rs) if rs else None
            if owner:
                self.queue.add((pod["metadata"]["namespace"], owner["name"]))

    async def sync(self, key: Key) -> float | None:
        deployment = self.deployments.objects.get(key)
        if deployment is None:
            return None
        sets = self.sets.by("owner", deployment["metadata"]["uid"]) + self.sets.by("orphan", key[0])
        claims = claim(deployment, sets)
        own = claims.own
        for rs in claims.adopt:
            own.append(await self.cluster.patch(REPLICASETS, rs, adoption(DEPLOYMENTS, deployment, rs)))
        for rs in claims.release:
            await self.cluster.patch(REPLICASETS, rs, disowning(deployment["metadata"]["uid"], rs))
        rollout = plan_deployment(deployment, own, self._old_pods_run(deployment, own))
        await self._write_sets(deployment, rollout)
        await self._write_revision(deployment, rollout)
        return await self._write_status(key, rollout)

    def _old_pods_run(self, deployment: Object, own: list[Object]) -> bool:
        return any(
            not is_finished(pod)
            for rs in own
            if not is_ours(deployment, rs)
            for pod in self.pods.by("owner", rs["metadata"]["uid"])
        )

    async def _write_sets(self, deployment: Object, rollout: Rollout) -> None:
        if rollout.create is not None:
            await self._create(deployment, rollout)
        for rs in rollout.all:
            uid = rs["metadata"]["uid"]
            size = rollout.resize.get(uid)
            notes = rollout.annotate.get(uid)
            if size is None and not notes:
                continue
            body: Object = {"metadata": {"resourceVersion": rs["metadata"]["resourceVersion"]}}
            if notes:
                body["metadata"]["annotations"] = notes
            if size is not None:
                body["spec"] = {"replicas": size}
            await self.cluster.patch(REPLICASETS, rs, body)
            if size is not None:
                self._scaled(deployment, rs, replicas_of(rs), size)
        for rs in rollout.delete:
            await self.cluster.delete(REPLICASETS, rs)

    def _scaled(self, deployment: Object, rs: Object, before: int, size: int) -> None:
        way = "up" if size > before else "down"
        text = f"Scaled {way} replica set {rs['metadata']['name']} from {before} to {size}"
        self.record.note(DEPLOYMENTS, deployment, "ScalingReplicaSet", text)

    async def _create(self, deployment: Object, rollout: Rollout) -> None:
        wanted = rollout.create or {}
        try:
            made = await self.cluster.create(REPLICASETS, wanted)
        except KubeError as e:
            if not e.already_exists:
                raise
            namespace, name = key_of(wanted)
            found = await self.cluster.client.get(REPLICASETS, name, namespace)
            self.sets.informer.observe(found)
            if not is_ours(deployment, found):
                count = int(deployment.get("status", {}).get("collisionCount") or 0)
                body = {"status": {"collisionCount": count + 1}}
                await self.cluster.patch(DEPLOYMENTS, deployment, body, subresource="status")
            raise
        self._scaled(deployment, made, 0, replicas_of(made))

    async def _write_revision(self, deployment: Object, rollout: Rollout) -> None:
        have = (deployment["metadata"].get("annotations") or {}).get(REVISION)
        if rollout.revision and have != rollout.revision:
            body = {"metadata": {"annotations": {REVISION: rollout.revision}}}
            await self.cluster.patch(DEPLOYMENTS, deployment, body)

    async def _write_status(self, key: Key, rollout: Rollout) -> float | None:
        """The status of what was decided, from the sets as they are after the writes."""
        deployment = self.deployments.objects.get(key)
        if deployment is None:
            return None
        uids = {rs["metadata"]["uid"]: rs for rs in self.sets.by("owner", deployment["metadata"]["uid"])}
        rollout.old = [uids.get(rs["metadata"]["uid"], rs) for rs in rollout.old]
        if rollout.new is not None:
            rollout.new = uids.get(rollout.new["metadata"]["uid"], rollout.new)
        status, again_s = plan_status(deployment, rollout, self.cluster.clock())
        if deployment.get("status") != status:
            await self.cluster.replace(DEPLOYMENTS, {**deployment, "status": status}, subresource="status")
        return again_s
