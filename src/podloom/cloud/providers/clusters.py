"""Managed clusters and their node pools: the wish of a cluster, realised by the lab."""

from __future__ import annotations

from podloom.cloud.rules import Rules
from podloom.cloud.state import cloud_view
from podloom.cloud.store import Row
from podloom.model.arm import MANAGED_CLUSTERS, RESOURCE_GROUPS, ResourceId
from podloom.model.findings import Finding
from podloom.model.versions import KUBERNETES_VERSION
from podloom.plan.address.cluster import check_cluster
from podloom.plan.address.defaults import cluster_defaults
from podloom.plan.address.names import normal_location
from podloom.render.arm import Json, pick

_POOLS = "agentPoolProfiles"
_POOL_READ_ONLY = frozenset({"provisioningState", "powerState", "currentOrchestratorVersion", "nodeImageVersion"})


class ManagedClusters(Rules):
    """A cluster stays Creating until the lab reports it, and Deleting until the lab finalizes it."""

    type = MANAGED_CLUSTERS
    realised_by = "lab"
    exclusive = True
    removal_waits = True
    embedded = {"agentpools": _POOLS}  # noqa: RUF012
    flat_children = True
    shape = {  # noqa: RUF012
        "networkProfile": {},
        "agentPoolProfiles": [{"name": str, "vnetSubnetID": str}],
        "nodeResourceGroup": str,
        "kubernetesVersion": str,
        "dnsPrefix": str,
    }
    read_only = frozenset(
        {"provisioningState", "podloom", "powerState", "fqdn", "currentKubernetesVersion", "maxAgentPools"}
    )

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        location = normal_location(wish.get("location") or pick(old.body if old else {}, "location", default=""))
        before = old.body["properties"] if old else None
        properties = cluster_defaults(
            _without_reports(wish["properties"]),
            before,
            group=id_.group,
            name=id_.name,
            location=location,
            subscription=id_.subscription,
        )
        kept: Json = {key: old.body[key] for key in ("tags", "identity", "sku") if key in old.body} if old else {}
        given = {key: value for key, value in wish.items() if value is not None}
        body = {**kept, **given, "location": location, "properties": properties}
        findings = check_cluster(id_, location, properties, cloud_view(self.store, id_), before)
        if old is not None and location != old.body["location"]:
            message = f"The cluster exists in location '{old.body['location']}' and cannot be moved to '{location}'."
            findings.append(Finding("InvalidResourceLocation", message, "location", status=409))
        return body, findings

    def first_report(self, id_: ResourceId, body: Json, old: Row | None) -> Json:
        """Pools that the wish touches are Creating or Updating; the others stay as they are."""
        before = {pool["name"]: pool for pool in pick(old.body if old else {}, "properties", _POOLS, default=[])}
        states: Json = dict.fromkeys(before)
        for pool in body["properties"][_POOLS]:
            was = before.get(pool["name"])
            state = "Creating" if was is None else "Succeeded" if was == pool else "Updating"
            version = {"currentOrchestratorVersion": KUBERNETES_VERSION, "powerState": {"code": "Running"}}
            states[pool["name"]] = {"provisioningState": state, **version}
        said: Json = {_POOLS: states}
        if old is None:
            said |= {"powerState": {"code": "Running"}, "currentKubernetesVersion": KUBERNETES_VERSION}
        return said

    def with_state(self, row: Row, state: str) -> Json:
        return {_POOLS: {pool["name"]: {"provisioningState": state} for pool in row.body["properties"][_POOLS]}}

    def after_write(self, row: Row) -> None:
        """The node resource group is there from the start, so that its resources have a place."""
        group = self._node_group(row)
        if self.store.get(group.key) is None:
            body: Json = {"location": row.body["location"], "managedBy": str(row.id), "properties": {}}
            self.store.write(Row(group, body, {"provisioningState": "Succeeded"}))

    def goes_with(self, row: Row) -> list[Row]:
        """The node resource group with everything in it."""
        group = self.store.get(self._node_group(row).key)
        if group is None or group.body.get("managedBy", "").lower() != row.id.key:
            return []
        return [*self.store.in_group(group.id.key), group]

    def _node_group(self, row: Row) -> ResourceId:
        name = row.body["properties"]["nodeResourceGroup"]
        return ResourceId(row.id.subscription, name, RESOURCE_GROUPS)


def _without_reports(properties: Json) -> Json:
    """The wish without what earlier answers said about pools."""
    pools = properties.get(_POOLS)
    if not isinstance(pools, list):
        return properties
    cleaned = [
        {key: value for key, value in pool.items() if key not in _POOL_READ_ONLY} if isinstance(pool, dict) else pool
        for pool in pools
    ]

    return {**properties, _POOLS: cleaned}
