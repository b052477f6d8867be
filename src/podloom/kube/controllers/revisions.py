"""Keeps the ControllerRevisions of DaemonSets and StatefulSets, by plan.kube.revisions."""

from __future__ import annotations

from collections.abc import Iterable

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.indexes import index_by_owner
from podloom.model.kube import CONTROLLERREVISIONS, Object, Resource, key_of
from podloom.plan.kube.revisions import plan_revision


class Revisions:
    """The revisions of all owners of one resource; `label` is where pods carry their revision's hash."""

    def __init__(self, cluster: Cluster, res: Resource, label: str) -> None:
        self.cluster, self.res, self.label = cluster, res, label
        self.view = cluster.view(CONTROLLERREVISIONS)
        index_by_owner(self.view)

    async def settle(self, owner: Object, pods: Iterable[Object]) -> str:
        """Make the current template's revision the newest, drop old ones no pod uses; its hash."""
        used = {(pod["metadata"].get("labels") or {}).get(self.label, "") for pod in pods}
        plan = plan_revision(self.res, owner, self.view.by("owner", owner["metadata"]["uid"]), self.label, used)
        if plan.create is not None:
            await self._create(owner, plan.create)
        if plan.renumber is not None:
            revision, number = plan.renumber
            await self.cluster.patch(CONTROLLERREVISIONS, revision, {"revision": number})
        for gone in plan.delete:
            await self.cluster.delete(CONTROLLERREVISIONS, gone)
        return plan.hash

    def template(self, owner: Object, revision_hash: str) -> Object | None:
        """The pod template of the owner's revision with this hash."""
        for revision in self.view.by("owner", owner["metadata"]["uid"]):
            if (revision["metadata"].get("labels") or {}).get(self.label) == revision_hash:
                return {k: v for k, v in revision["data"]["spec"]["template"].items() if k != "$patch"}
        return None

    async def _create(self, owner: Object, wanted: Object) -> None:
        try:
            await self.cluster.create(CONTROLLERREVISIONS, wanted)
        except KubeError as e:
            if not e.already_exists:
                raise
            namespace, name = key_of(wanted)
            found = await self.cluster.client.get(CONTROLLERREVISIONS, name, namespace)
            self.view.informer.observe(found)
            if found.get("data") != wanted["data"]:
                count = int(owner.get("status", {}).get("collisionCount") or 0)
                body = {"status": {"collisionCount": count + 1}}
                await self.cluster.patch(self.res, owner, body, subresource="status")
            raise
