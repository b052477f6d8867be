"""The Job controller: makes the writes that plan.kube.job decides."""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller, each
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_owner
from podloom.kube.controllers.names import PodNames
from podloom.model.kube import JOBS, PODS, Key, Object
from podloom.plan.kube.garbage import without_finalizer
from podloom.plan.kube.job import TRACKING, is_done, job_pod, plan_job


class Jobs(Controller):
    """batch/v1 Jobs."""

    name: ClassVar[str] = "job-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.jobs, self.pods = cluster.view(JOBS), cluster.view(PODS)
        index_by_owner(self.pods)
        self.pods.index("job", _job_of)
        self._names = PodNames()
        self.watch_own(JOBS)
        self.watch_owned(PODS, JOBS)
        self.pods.listen(self._lost)

    def _lost(self, kind: str, pod: Object, _old: Object | None) -> None:
        """A pod whose Job is gone must not be held by the Job's finalizer."""
        refs = [r for r in pod["metadata"].get("ownerReferences") or () if r["kind"] == "Job"]
        if kind != "DELETED" and refs and TRACKING in (pod["metadata"].get("finalizers") or ()):
            self.queue.add((pod["metadata"]["namespace"], refs[0]["name"]))

    async def sync(self, key: Key) -> float | None:
        job = self.jobs.objects.get(key)
        await self._release_orphans(key, job)
        if job is None:
            return None
        pods = self.pods.by("owner", job["metadata"]["uid"])
        plan = plan_job(job, pods, self.cluster.clock())
        await each(plan.create, lambda index: self._create(job, index))
        await each(plan.delete, lambda pod: self._delete(job, pod))
        if plan.create or plan.delete:
            plan.status = plan_job(job, self.pods.by("owner", job["metadata"]["uid"]), self.cluster.clock()).status
        if plan.status != job.get("status"):
            new = await self.cluster.replace(JOBS, {**job, "status": plan.status}, subresource="status")
            if is_done(new) and not is_done(job):
                self._tell(new)
        await each(plan.release, self._release)
        if plan.remove:
            await self.cluster.delete(JOBS, job, propagation="Foreground")
        return plan.again_s

    def _tell(self, job: Object) -> None:
        if is_done(job) == "Complete":
            self.record.note(JOBS, job, "Completed", "Job completed")
        else:
            last = next(c for c in job["status"]["conditions"] if c["type"] == "Failed")
            self.record.warn(JOBS, job, last["reason"], last["message"])

    async def _release_orphans(self, key: Key, job: Object | None) -> None:
        for pod in self.pods.by("job", "/".join(key)):
            uids = [r["uid"] for r in pod["metadata"].get("ownerReferences") or () if r["kind"] == "Job"]
            if TRACKING in (pod["metadata"].get("finalizers") or ()) and (
                job is None or job["metadata"]["uid"] not in uids
            ):
                await self._release(pod)

    async def _create(self, job: Object, index: int) -> None:
        meta = job["metadata"]
        prefix = f"{meta['name'][:57]}-" if index < 0 else f"{meta['name'][:50]}-{index}-"
        with self._names.one(f"{meta['uid']}/{index}", prefix) as name:
            try:
                await self.cluster.create(PODS, job_pod(job, name, index))
            except KubeError as e:
                if not e.already_exists:
                    self.record.warn(JOBS, job, "FailedCreate", f"Error creating: {e.found}")
                    raise
                self.pods.informer.observe(await self.cluster.client.get(PODS, name, meta["namespace"]))
        self.record.note(JOBS, job, "SuccessfulCreate", f"Created pod: {name}")

    async def _delete(self, job: Object, pod: Object) -> None:
        await self.cluster.delete(PODS, pod)
        self.record.note(JOBS, job, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    async def _release(self, pod: Object) -> None:
        current = self.pods.get(pod["metadata"]["name"], pod["metadata"]["namespace"])
        if current is None or TRACKING not in (current["metadata"].get("finalizers") or ()):
            return
        try:
            await self.cluster.patch(PODS, current, without_finalizer(current, TRACKING))
        except KubeError as e:
            if not e.not_found:
                raise


def _job_of(pod: Object) -> list[str]:
    meta = pod["metadata"]
    refs = meta.get("ownerReferences") or ()
    return [f"{meta['namespace']}/{ref['name']}" for ref in refs if ref["kind"] == "Job"]
