"""The CronJob controller: starts Jobs when plan.kube.cron says so."""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_owner
from podloom.model.errors import Rejected
from podloom.model.kube import CRONJOBS, JOBS, Key, Object
from podloom.plan.kube.cron import plan_cronjob


class CronJobs(Controller):
    """batch/v1 CronJobs."""

    name: ClassVar[str] = "cronjob-controller"

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        super().__init__(cluster)
        self.record = recorder
        self.crons, self.jobs = cluster.view(CRONJOBS), cluster.view(JOBS)
        index_by_owner(self.jobs)
        self.watch_own(CRONJOBS)
        self.watch_owned(JOBS, CRONJOBS)

    async def sync(self, key: Key) -> float | None:
        cron = self.crons.objects.get(key)
        if cron is None:
            return None
        try:
            plan = plan_cronjob(cron, self.jobs.by("owner", cron["metadata"]["uid"]), self.cluster.clock())
        except Rejected as e:
            self.record.warn(CRONJOBS, cron, "UnparseableSchedule", e.message)
            return None
        for gone in plan.delete:
            await self.cluster.delete(JOBS, gone, propagation="Background")
        if plan.create is not None:
            await self._start(cron, plan.create)
        if plan.status != cron.get("status", {}):
            await self.cluster.replace(CRONJOBS, {**cron, "status": plan.status}, subresource="status")
        return plan.again_s

    async def _start(self, cron: Object, job: Object) -> None:
        try:
            await self.cluster.create(JOBS, job)
        except KubeError as e:
            if not e.already_exists:  # made before the controller was cut off: the status follows
                self.record.warn(CRONJOBS, cron, "FailedCreate", f"Error creating job: {e.found}")
                raise
            return
        self.record.note(CRONJOBS, cron, "SuccessfulCreate", f"Created job {job['metadata']['name']}")
