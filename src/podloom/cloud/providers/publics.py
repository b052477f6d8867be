"""Public addresses, given from the lab's public range."""

from __future__ import annotations

from podloom.cloud.addresses import PUBLIC_RANGE, assign_public
from podloom.cloud.rules import Rules
from podloom.cloud.store import Row
from podloom.model.arm import PUBLIC_ADDRESSES, ResourceId
from podloom.model.findings import Finding
from podloom.plan.address.names import normal_location
from podloom.render.arm import Json


class PublicAddresses(Rules):
    """One address of 198.19.1.0/24, kept for the resource's life."""

    type = PUBLIC_ADDRESSES

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        group = self.store.get(id_.group_id.key)
        location = normal_location(wish.get("location") or (group.body["location"] if group else ""))
        address = assign_public(self.store, id_.key)
        properties = {"publicIPAddressVersion": "IPv4", "publicIPAllocationMethod": "Static", **wish["properties"]}
        body = {**wish, "location": location, "properties": {**properties, "ipAddress": address}}
        if address is not None:
            return body, []
        message = f"All public addresses of {PUBLIC_RANGE} are in use."
        fix = "delete public addresses or clusters that are no longer needed"
        return body, [Finding("PublicIPCountLimitReached", message, str(id_), fix=fix, status=409)]
