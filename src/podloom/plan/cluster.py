"""What parts a cluster is made of.

The problem: a managedCluster resource says what is wanted in ARM's words; the lab needs to know which resources,
nodes and addresses that means, and must come to the same names each time it asks, also after a restart. So every
name here is a function of the resource alone. Names follow AKS: node resource group MC_{group}_{cluster}_{location},
nodes aks-{pool}-{8 digits}-vmss{6 base-36 digits}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podloom.model.arm import (
    NETWORK_INTERFACES,
    PUBLIC_ADDRESSES,
    RESOURCE_GROUPS,
    ROUTING_DOMAINS,
    VIRTUAL_NETWORKS,
    ResourceId,
)

MANAGED_VNET_PREFIX = "10.224.0.0/12"
MANAGED_SUBNET_PREFIX = "10.224.0.0/16"
BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"
API_PORT = 443


@dataclass(frozen=True)
class NodeParts:
    """One node: its name, its pool, the NIC it has, and what its runtime is told."""

    name: str
    pool: str
    mode: str
    nic: ResourceId
    subnet: ResourceId
    max_pods: int


@dataclass(frozen=True)
class ClusterParts:
    """Everything a cluster consists of."""

    id: ResourceId
    key: str  # short and unique in the lab: names folders and processes
    location: str
    node_group: ResourceId
    vnet: ResourceId
    managed_vnet: bool  # made for the cluster, and removed with it
    api_address: ResourceId
    routing_domain: ResourceId
    nodes: tuple[NodeParts, ...]
    pod_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    dns_service_ip: str
    version: str
    fqdn: str

    @property
    def name(self) -> str:
        return self.id.name


def plan_cluster(resource: Mapping[str, Any]) -> ClusterParts:
    """The parts of a managedClusters resource whose defaults the cloud has filled in."""
    id_ = ResourceId.parse(resource["id"])
    properties = resource["properties"]
    location = resource.get("location", "")
    network = properties["networkProfile"]
    digits = unique_digits(id_)
    group_name = properties.get("nodeResourceGroup") or f"MC_{id_.group}_{id_.name}_{location}"
    node_group = ResourceId(id_.subscription, group_name, RESOURCE_GROUPS)
    pools = properties["agentPoolProfiles"]
    given = next((p["vnetSubnetID"] for p in pools if p.get("vnetSubnetID")), "")
    managed = node_group.within(VIRTUAL_NETWORKS, f"aks-vnet-{digits}")
    default_subnet = ResourceId.parse(given) if given else managed.child("subnets", "aks-subnet")
    return ClusterParts(
        id=id_,
        key=f"{id_.name.lower()}-{digits}",
        location=location,
        node_group=node_group,
        vnet=default_subnet.parent,
        managed_vnet=not given,
        api_address=node_group.within(PUBLIC_ADDRESSES, f"{id_.name}-api"),
        routing_domain=node_group.within(ROUTING_DOMAINS, f"{id_.name}-pods"),
        nodes=tuple(node for pool in pools for node in pool_nodes(pool, node_group, default_subnet, digits)),
        pod_cidrs=_many(network, "podCidrs", "podCidr"),
        service_cidrs=_many(network, "serviceCidrs", "serviceCidr"),
        dns_service_ip=network["dnsServiceIP"],
        version=properties.get("currentKubernetesVersion") or properties.get("kubernetesVersion", ""),
        fqdn=f"{properties.get('dnsPrefix') or id_.name.lower()}-{digits}.hcp.{location}.podloom.test",
    )


def pool_nodes(
    pool: Mapping[str, Any], node_group: ResourceId, default_subnet: ResourceId, digits: str
) -> list[NodeParts]:
    """The nodes of one agent pool; index 0 up, so that scaling down removes the newest."""
    given = pool.get("vnetSubnetID")
    subnet = ResourceId.parse(given) if given else default_subnet
    names = [f"aks-{pool['name']}-{digits}-vmss{base_36(index)}" for index in range(pool["count"])]
    return [
        NodeParts(
            name=name,
            pool=pool["name"],
            mode=pool.get("mode", "System").lower(),
            nic=node_group.within(NETWORK_INTERFACES, f"{name}-nic"),
            subnet=subnet,
            max_pods=pool.get("maxPods", 250),
        )
        for name in names
    ]


def node_labels(node: NodeParts, parts: ClusterParts) -> dict[str, str]:
    """The labels AKS gives a node that workloads commonly select by."""
    return {
        "agentpool": node.pool,
        "kubernetes.azure.com/agentpool": node.pool,
        "kubernetes.azure.com/cluster": parts.node_group.group,
        "kubernetes.azure.com/mode": node.mode,
        "kubernetes.azure.com/podnetwork-type": "overlay",
        "topology.kubernetes.io/region": parts.location,
    }


def unique_digits(id_: ResourceId) -> str:
    """Eight digits that tell this cluster from others of its name, the same each time."""
    return f"{int.from_bytes(hashlib.sha256(id_.key.encode()).digest()[:8]) % 10**8:08d}"


def base_36(number: int) -> str:
    """Six base-36 digits, as scale-set instances are numbered."""
    text = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        text = BASE_36[digit] + text
    return text


def _many(network: Mapping[str, Any], plural: str, single: str) -> tuple[str, ...]:
    values = network.get(plural) or ([network[single]] if network.get(single) else [])
    return tuple(values)
