"""Virtual networks and their subnets."""

from __future__ import annotations

from podloom.cloud.rules import Rules
from podloom.cloud.state import users_of
from podloom.cloud.store import Row
from podloom.model.arm import VIRTUAL_NETWORKS, ResourceId
from podloom.model.findings import Finding
from podloom.plan.address.names import check_location, normal_location
from podloom.plan.address.vnet import check_virtual_network, with_subnet_prefixes
from podloom.render.arm import Json, pick


class VirtualNetworks(Rules):
    """An address space cut into subnets; realised as a router by the fabric."""

    type = VIRTUAL_NETWORKS
    realised_by = "fabric"
    embedded = {"subnets": "subnets"}  # noqa: RUF012
    shape = {  # noqa: RUF012
        "addressSpace": {"addressPrefixes": [str]},
        "subnets": [
            {
                "name": str,
                "properties": {
                    "addressPrefix": str,
                    "addressPrefixes": [str],
                    "delegations": [{"name": str, "properties": {"serviceName": str}}],
                },
            }
        ],
        "virtualNetworkPeerings": [{"name": str, "properties": {"remoteVirtualNetwork": {"id": str}}}],
    }

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        group = self.store.get(id_.group_id.key)
        location = wish.get("location") or pick(old.body if old else {}, "location")
        location = normal_location(location or (group.body["location"] if group else ""))
        properties = {**wish["properties"]}
        if "subnets" not in properties:
            properties["subnets"] = pick(old.body if old else {}, "properties", "subnets", default=[])
        properties["subnets"] = [self._subnet(id_, subnet) for subnet in properties["subnets"]]
        body = {**wish, "location": location, "properties": properties}
        findings = check_location(location) + check_virtual_network(id_, properties)
        findings += self._removed(id_, properties, old)
        return body, findings

    def check_delete(self, row: Row, leaving: frozenset[str]) -> list[Finding]:
        subnets = pick(row.body, "properties", "subnets", default=[])
        return [finding for subnet in subnets for finding in self._in_use(row.id, subnet["name"], leaving)]

    def _subnet(self, id_: ResourceId, subnet: Json) -> Json:
        name = str(subnet.get("name", ""))
        said = {"provisioningState", "ipConfigurations", "etag"}
        kept = {k: v for k, v in (subnet.get("properties") or {}).items() if k not in said}
        return {
            "name": name,
            "id": str(id_.child("subnets", name)),
            "properties": {**with_subnet_prefixes(kept), "provisioningState": "Succeeded"},
        }

    def _removed(self, id_: ResourceId, properties: Json, old: Row | None) -> list[Finding]:
        """Subnets in use may neither go nor change their range."""
        now = {str(s["name"]).lower(): s["properties"].get("addressPrefixes") for s in properties["subnets"]}
        before = pick(old.body if old else {}, "properties", "subnets", default=[])
        changed = [s for s in before if now.get(s["name"].lower()) != s["properties"].get("addressPrefixes")]
        return [finding for s in changed for finding in self._in_use(id_, s["name"], frozenset())]

    def _in_use(self, id_: ResourceId, name: str, leaving: frozenset[str]) -> list[Finding]:
        subnet = id_.child("subnets", name)
        users = [user for user in users_of(self.store, subnet) if user.group_id.key not in leaving]
        if not users:
            return []
        message = f"Subnet {name} is in use by {users[0]} and cannot be deleted or given another range."
        fix = "delete what uses it first"
        return [Finding("InUseSubnetCannotBeDeleted", message, str(subnet), fix=fix, status=400)]
