"""What the rules need to know of the cloud, read from the store as plain values.

The problem: plan.address decides over values and must not see a database. So this reads, once per request, the
groups, networks and clusters that a decision depends on into `CloudView`.
"""

from __future__ import annotations

import ipaddress

from podloom.cloud.store import Row, Store
from podloom.model.arm import MANAGED_CLUSTERS, VIRTUAL_NETWORKS, ResourceId
from podloom.model.errors import Rejected
from podloom.plan.address.view import CloudView, ClusterView, SubnetView, VNetView
from podloom.render.arm import Json, pick

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


def pool_key(subnet: ResourceId) -> str:
    """The allocation pool of a subnet."""
    return subnet.key


def prefixes(texts: list[str]) -> tuple[Prefix, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def subnet_prefixes(properties: Json) -> list[str]:
    """A subnet's ranges, whichever of ARM's two properties holds them."""
    many = properties.get("addressPrefixes")
    one = properties.get("addressPrefix")
    return list(many) if many else [one] if one else []


def subnet_ids_of(properties: Json) -> list[str]:
    """Subnets a cluster's pools name, without repeats."""
    pools = properties.get("agentPoolProfiles") or []
    return list(dict.fromkeys(str(pool["vnetSubnetID"]) for pool in pools if pool.get("vnetSubnetID")))


def parse_quietly(text: str) -> ResourceId | None:
    try:
        return ResourceId.parse(text)
    except Rejected:
        return None


def users_of(store: Store, subnet: ResourceId) -> list[ResourceId]:
    """Resources that use `subnet`: NICs with an address in it, clusters with a pool in it."""
    owners = sorted(set(store.taken(pool_key(subnet)).values()))
    users = [row.id for key in owners if (row := store.get(key)) is not None]
    for cluster in store.of_type(MANAGED_CLUSTERS):
        ids = (parse_quietly(text) for text in subnet_ids_of(cluster.body["properties"]))
        if any(found is not None and found.key == subnet.key for found in ids):
            users.append(cluster.id)
    return users


def cloud_view(store: Store, id_: ResourceId) -> CloudView:
    """The cloud as the rules for cluster `id_` see it: all networks, and all clusters but `id_` itself."""
    clusters = [row for row in store.of_type(MANAGED_CLUSTERS) if row.id.key != id_.key]
    current = store.get(id_.key)
    own_group = pick(current.body if current else {}, "properties", "nodeResourceGroup", default="")
    return CloudView(
        vnets=tuple(_vnet(store, row, id_, own_group.lower()) for row in store.of_type(VIRTUAL_NETWORKS)),
        clusters=tuple(_cluster(row) for row in clusters),
    )


def _cluster(row: Row) -> ClusterView:
    properties = row.body["properties"]
    demand: dict[str, int] = {}
    for pool in properties.get("agentPoolProfiles") or []:
        subnet = parse_quietly(str(pool.get("vnetSubnetID") or ""))
        if subnet is not None:
            demand[subnet.key] = demand.get(subnet.key, 0) + int(pool.get("count") or 0)
    return ClusterView(row.id, str(properties.get("nodeResourceGroup") or ""), demand)


def _vnet(store: Store, row: Row, cluster: ResourceId, own_group: str) -> VNetView:
    properties = row.body["properties"]
    peers = []
    for peering in properties.get("virtualNetworkPeerings") or []:
        remote = parse_quietly(pick(peering, "properties", "remoteVirtualNetwork", "id", default=""))
        found = store.get(remote.key) if remote else None
        if found is not None:
            peers.extend(pick(found.body, "properties", "addressSpace", "addressPrefixes", default=[]))
    return VNetView(
        id=row.id,
        location=str(row.body.get("location", "")),
        prefixes=prefixes(pick(properties, "addressSpace", "addressPrefixes", default=[])),
        peered=prefixes(peers),
        subnets=tuple(_subnet(store, row.id, subnet, own_group) for subnet in properties.get("subnets") or []),
    )


def _subnet(store: Store, vnet: ResourceId, subnet: Json, own_group: str) -> SubnetView:
    id_ = vnet.child("subnets", str(subnet["name"]))
    by_group: dict[str, int] = {}
    for owner in store.taken(pool_key(id_)).values():
        group = ResourceId.parse(owner).group.lower()
        by_group[group] = by_group.get(group, 0) + 1
    by_group.pop(own_group, None)
    delegations = subnet["properties"].get("delegations") or []
    services = tuple(str(pick(d, "properties", "serviceName", default=d.get("name", ""))) for d in delegations)
    return SubnetView(id_, prefixes(subnet_prefixes(subnet["properties"])), by_group, services)
