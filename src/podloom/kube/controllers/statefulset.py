"""The StatefulSet controller: makes the writes that plan.kube.statefulset decides."""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller, each
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_owner
from podloom.kube.controllers.revisions import Revisions
from podloom.model.kube import PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS, Key, Object
from podloom.plan.kube.claims import adoption, claim, disowning
from podloom.plan.kube.statefulset import HASH, claims_of, plan_statefulset, stateful_pod


class StatefulSets(Controller):
    """apps/v1 StatefulSets."""

    name: ClassVar[str] = "statefulset-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.sets, self.pods = cluster.view(STATEFULSETS), cluster.view(PODS)
        self.revisions = Revisions(cluster, STATEFULSETS, HASH)
        index_by_owner(self.pods)
        self.watch_own(STATEFULSETS)
        self.watch_owned(PODS, STATEFULSETS)

    async def sync(self, key: Key) -> float | None:
        owner = self.sets.objects.get(key)
        if owner is None:
            return None
        claims = claim(owner, self.pods.by("owner", owner["metadata"]["uid"]) + self.pods.by("orphan", key[0]))
        for pod in claims.adopt:
            claims.own.append(await self.cluster.patch(PODS, pod, adoption(STATEFULSETS, owner, pod)))
        for pod in claims.release:
            await self.cluster.patch(PODS, pod, disowning(owner["metadata"]["uid"], pod))
        leaving = bool(owner["metadata"].get("deletionTimestamp"))
        update = "" if leaving else await self.revisions.settle(owner, claims.own)
        settled = (owner.get("status", {}).get("currentRevision") or "").removeprefix(f"{key[1]}-") or update
        plan = plan_statefulset(owner, claims.own, (settled, update), self.cluster.clock())
        for ordinal, revision in plan.create.items():
            await self._create(owner, ordinal, revision)
        await each(plan.delete, lambda pod: self._delete(owner, pod))
        now = self.sets.objects.get(key)
        if now and now["metadata"]["uid"] == owner["metadata"]["uid"] and now.get("status") != plan.status:
            await self.cluster.replace(STATEFULSETS, {**now, "status": plan.status}, subresource="status")
        return plan.again_s

    async def _create(self, owner: Object, ordinal: int, revision: str) -> None:
        for wanted in claims_of(owner, ordinal):
            try:
                await self.cluster.create(PERSISTENTVOLUMECLAIMS, wanted)
            except KubeError as e:
                if not e.already_exists:
                    raise
        template = self.revisions.template(owner, revision) or owner["spec"]["template"]
        pod = stateful_pod(owner, template, ordinal, revision)
        try:
            await self.cluster.create(PODS, pod)
        except KubeError as e:
            if not e.already_exists:
                self.record.warn(STATEFULSETS, owner, "FailedCreate", f"Error creating: {e.found}")
            raise
        name = pod["metadata"]["name"]
        text = f"create Pod {name} in StatefulSet {owner['metadata']['name']} successful"
        self.record.note(STATEFULSETS, owner, "SuccessfulCreate", text)

    async def _delete(self, owner: Object, pod: Object) -> None:
        await self.cluster.delete(PODS, pod)
        text = f"delete Pod {pod['metadata']['name']} in StatefulSet {owner['metadata']['name']} successful"
        self.record.note(STATEFULSETS, owner, "SuccessfulDelete", text)
