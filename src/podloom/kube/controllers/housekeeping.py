"""Small duties: events expire after an hour, aggregated cluster roles collect their rules."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import structlog

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.model.errors import PodloomError
from podloom.model.kube import CLUSTERROLES, EVENTS, Key, Object
from podloom.plan.kube.housekeeping import aggregated_rules, event_age_s

log = structlog.get_logger()


class EventExpiry:
    """Deletes events older than `ttl_s`; lists in pages now and then instead of following them."""

    name: ClassVar[str] = "event-expiry"

    def __init__(self, cluster: Cluster, ttl_s: float = 3600.0, period_s: float = 300.0) -> None:
        self.cluster, self.ttl_s, self.period_s = cluster, ttl_s, period_s

    async def run(self) -> None:
        """Expire until cancelled."""
        while True:
            await asyncio.sleep(self.period_s)
            try:
                await self.expire()
            except PodloomError as e:
                log.debug("events.retry", error=e.message)

    async def expire(self) -> int:
        """One round; how many events were deleted."""
        events, _ = await self.cluster.client.list(EVENTS, limit=500)
        now, count = self.cluster.clock(), 0
        for event in events:
            if event_age_s(event, now) > self.ttl_s:
                await self.cluster.delete(EVENTS, event)
                count += 1
        return count


class ClusterRoleAggregation(Controller):
    """Fills the rules of cluster roles with an aggregationRule."""

    name: ClassVar[str] = "clusterrole-aggregation-controller"
    workers: ClassVar[int] = 1

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.roles = cluster.view(CLUSTERROLES)
        self.roles.listen(self._changed)

    def _changed(self, _kind: str, _role: Object, _old: Object | None) -> None:
        for key, role in self.roles.objects.items():
            if role.get("aggregationRule"):
                self.queue.add_after(key, 0.05)

    async def sync(self, key: Key) -> float | None:
        role = self.roles.objects.get(key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules = aggregated_rules(role, self.roles.objects.values())
        if rules != (role.get("rules") or []):
            try:
                await self.cluster.patch(CLUSTERROLES, role, {"rules": rules})
            except KubeError as e:
                if not e.not_found:
                    raise
        return None
