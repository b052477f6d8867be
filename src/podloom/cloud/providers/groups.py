"""Resource groups."""

from __future__ import annotations

from podloom.cloud.rules import Rules
from podloom.cloud.store import Row
from podloom.model.arm import MANAGED_CLUSTERS, RESOURCE_GROUPS, ResourceId
from podloom.model.findings import Finding
from podloom.plan.address.names import check_group_name, check_location, normal_location
from podloom.render.arm import Json, pick


class ResourceGroups(Rules):
    """A named place for resources; deleting it deletes what is inside, clusters first."""

    type = RESOURCE_GROUPS

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        findings = check_group_name(id_.group)
        location = normal_location(wish.get("location") or (old.body["location"] if old else ""))
        findings += check_location(location)
        if old is not None and location != old.body["location"]:
            message = (
                f"Invalid resource group location '{location}'. The Resource group already exists in location"
                f" '{old.body['location']}'."
            )
            findings.append(Finding("InvalidResourceGroupLocation", message, "location", status=409))
        tags = wish.get("tags") if wish.get("tags") is not None else (old.body.get("tags") if old else None)
        body: Json = {"location": location, "properties": {}}
        if tags:
            body["tags"] = tags
        managed_by = wish.get("managedBy") or (old.body.get("managedBy") if old else None)
        if managed_by:
            body["managedBy"] = managed_by
        return body, findings

    def check_delete(self, row: Row, leaving: frozenset[str]) -> list[Finding]:
        owner = row.body.get("managedBy")
        cluster = self.store.get(ResourceId.parse(owner).key) if owner else None
        if cluster is None or cluster.state == "Deleting":
            return []
        message = f"The resource group '{row.id.group}' is managed by '{owner}'."
        fix = "delete the cluster; its group goes with it"
        return [Finding("ResourceGroupManaged", message, str(row.id), fix=fix, status=409)]

    def leaving(self, row: Row) -> frozenset[str]:
        clusters = self.store.of_type(MANAGED_CLUSTERS, row.id.key)
        names = [pick(cluster.body, "properties", "nodeResourceGroup", default="") for cluster in clusters]
        return frozenset({row.id.key, *(ResourceId(row.id.subscription, name).key for name in names if name)})
