"""The ReplicaSet controller: keeps as many pods as wanted, by plan.kube.replicaset.

A create whose answer is lost must not become two pods: names come from `PodNames`, so the repeated create meets
its own pod.
"""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.drivers.kube.api import KubeRejected
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller, each
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_namespace, index_by_owner
from podloom.kube.controllers.names import PodNames
from podloom.model.kube import PODS, REPLICASETS, Key, Object, key_of, owner_of, owner_reference
from podloom.model.kubeselector import from_label_selector
from podloom.plan.kube.claims import adoption, disowning
from podloom.plan.kube.pods import pod_from_template, with_condition
from podloom.plan.kube.replicaset import ReplicaPlan, failure_condition, plan_replicaset

_PARALLEL = 16


class ReplicaSets(Controller):
    """apps/v1 ReplicaSets."""

    name: ClassVar[str] = "replicaset-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.sets, self.pods = cluster.view(REPLICASETS), cluster.view(PODS)
        index_by_owner(self.pods)
        index_by_namespace(self.sets)
        index_by_namespace(self.pods)
        self._names = PodNames()
        self.watch_own(REPLICASETS)
        self.watch_owned(PODS, REPLICASETS)
        self.pods.listen(self._orphan_changed)

    def _orphan_changed(self, kind: str, pod: Object, _old: Object | None) -> None:
        """A pod without controller may be one to adopt: mark the sets of its namespace that select it."""
        if kind == "DELETED" or owner_of(pod):
            return
        for rs in self.sets.by("namespace", pod["metadata"].get("namespace", "")):
            selector = from_label_selector(rs["spec"]["selector"])
            if selector and selector.matches(pod["metadata"].get("labels")):
                self.queue.add(key_of(rs))

    async def sync(self, key: Key) -> float | None:
        rs = self.sets.objects.get(key)
        if rs is None:
            return None
        plan = plan_replicaset(rs, self._candidates(rs), self.cluster.clock())
        for pod in plan.adopt:
            await self.cluster.patch(PODS, pod, adoption(REPLICASETS, rs, pod))
        for pod in plan.release:
            await self.cluster.patch(PODS, pod, disowning(rs["metadata"]["uid"], pod))
        refusal: KubeRejected | None = None
        try:
            await self._create(rs, plan.create)
        except KubeRejected as e:
            refusal = e
        await each(plan.delete, lambda pod: self._delete(rs, pod))
        if plan.create or plan.delete:
            plan = plan_replicaset(self.sets.objects.get(key, rs), self._candidates(rs), self.cluster.clock())
        await self._write_status(rs, self._with_failure(plan, refusal))
        if refusal is not None:
            raise refusal
        return plan.again_s

    def _with_failure(self, plan: ReplicaPlan, refusal: KubeRejected | None) -> Object:
        """The status with the ReplicaFailure condition set, or taken away once nothing failed any more."""
        conditions = plan.status.get("conditions") or []
        if refusal is not None:
            conditions = with_condition(conditions, failure_condition(refusal.found), self.cluster.now())
        elif not plan.create:
            conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
        rest = {name: value for name, value in plan.status.items() if name != "conditions"}
        return {**rest, "conditions": conditions} if conditions else rest

    def _candidates(self, rs: Object) -> list[Object]:
        """Pods it owns, and pods of its namespace nobody owns."""
        own = self.pods.by("owner", rs["metadata"]["uid"])
        return own + self.pods.by("orphan", rs["metadata"]["namespace"])

    async def _create(self, rs: Object, count: int) -> None:
        """Create `count` pods, first one, then in doubling batches, so a hopeless template fails only once."""
        batch = 1
        while count > 0:
            batch = min(batch, count)
            await each(range(batch), lambda _: self._create_one(rs))
            count -= batch
            batch = min(batch * 2, _PARALLEL)

    async def _create_one(self, rs: Object) -> None:
        meta = rs["metadata"]
        owner = owner_reference(REPLICASETS, rs)
        prefix = f"{meta['name'][:57]}-"
        with self._names.one(meta["uid"], prefix) as name:
            pod = pod_from_template(rs["spec"]["template"], meta["namespace"], owner, name, prefix)
            try:
                await self.cluster.create(PODS, pod)
            except KubeError as e:
                if not e.already_exists:
                    self.record.warn(REPLICASETS, rs, "FailedCreate", f"Error creating: {e.found}")
                    raise
                self.pods.informer.observe(await self.cluster.client.get(PODS, name, meta["namespace"]))
        self.record.note(REPLICASETS, rs, "SuccessfulCreate", f"Created pod: {name}")

    async def _delete(self, rs: Object, pod: Object) -> None:
        await self.cluster.delete(PODS, pod)
        self.record.note(REPLICASETS, rs, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    async def _write_status(self, rs: Object, status: Object) -> None:
        now = self.sets.objects.get(key_of(rs))
        if now is not None and now.get("status") != status and now["metadata"]["uid"] == rs["metadata"]["uid"]:
            await self.cluster.replace(REPLICASETS, {**now, "status": status}, subresource="status")
