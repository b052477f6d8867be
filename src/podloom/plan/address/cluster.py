"""The judgement on a managed cluster: every rule, all findings, one call.

The problem: the service reports one mistake at a time and half-makes things before it finds the next. Here all
rules look at the same wish with its defaults and at the cloud as it is, before anything is stored. A rule whose
input another rule already found malformed keeps silent, so one mistake is one finding.
"""

from __future__ import annotations

from typing import Any

from podloom.model.arm import SUBNETS, ResourceId
from podloom.model.errors import Rejected
from podloom.model.findings import Finding
from podloom.plan.address.capacity import check_pod_capacity, check_subnet_capacity
from podloom.plan.address.modes import check_features, check_modes, check_types, check_version
from podloom.plan.address.names import check_cluster_name, check_location, check_overlay_subnet_names
from podloom.plan.address.pools import Pool, check_pools, read_pools
from podloom.plan.address.ranges import (
    check_dns,
    check_pod_range,
    check_service_range,
    check_space,
    read_ranges,
    surroundings_of,
)
from podloom.plan.address.view import CloudView, SubnetView, VNetView

Json = dict[str, Any]

SUBNET = "agentPoolProfile.vnetSubnetID"
_FIXED = (
    "networkPlugin",
    "networkPluginMode",
    "networkDataplane",
    "podCidr",
    "podCidrs",
    "serviceCidr",
    "serviceCidrs",
    "dnsServiceIP",
    "ipFamilies",
)
_FIXED_OF_POOL = ("vmSize", "maxPods", "vnetSubnetID", "podSubnetID", "osType", "type")


def check_cluster(
    id_: ResourceId, location: str, properties: Json, view: CloudView, old: Json | None = None
) -> list[Finding]:
    """Everything to be said about the wish `properties` (defaults filled in) for cluster `id_`.

    `view` is the cloud without this cluster; `old` the stored properties when the cluster exists.
    """
    network = properties["networkProfile"]
    findings = check_cluster_name(id_.name) + check_location(location)
    findings += check_version(properties) + check_features(properties)
    wrong_types = check_types(network)
    findings += wrong_types or check_modes(network)
    pools, wrong = read_pools(properties["agentPoolProfiles"])
    overlay = network.get("networkPluginMode") == "overlay"
    findings += wrong + check_pools(pools, overlay=overlay)
    vnet, subnets, missing = _network_of(pools, view)
    findings += missing
    if not wrong_types:
        findings += _check_ranges(network, pools, vnet, overlay=overlay)
    for subnet, nodes in subnets:
        findings += _check_subnet(subnet, nodes, view, overlay=overlay)
    findings += _node_group(id_, properties, view)
    if old is not None:
        findings += _changes(old, properties)
    return findings


def _check_ranges(network: Json, pools: list[Pool], vnet: VNetView | None, *, overlay: bool) -> list[Finding]:
    around = surroundings_of(vnet)
    pod, service, findings = read_ranges(network)
    findings = findings + check_space(around)
    if pod is not None and overlay:
        findings += check_pod_range(pod, around) + check_pod_capacity(pod, pools)
    if service is not None:
        findings += check_service_range(service, pod, around)
    return findings + check_dns(str(network.get("dnsServiceIP") or ""), service) if _has_dns(network) else findings


def _has_dns(network: Json) -> bool:
    """Whether there is a DNS address to judge: none is derived when the service range is malformed."""
    return bool(network.get("dnsServiceIP"))


def _network_of(
    pools: list[Pool], view: CloudView
) -> tuple[VNetView | None, list[tuple[SubnetView, int]], list[Finding]]:
    """The VNet the pools live in (None: the service makes one), their subnets with node counts, and mistakes."""
    demand: dict[str, int] = {}
    for pool in pools:
        demand[pool.subnet] = demand.get(pool.subnet, 0) + max(0, pool.count)
    named = [text for text in demand if text]
    findings: list[Finding] = []
    if named and "" in demand:
        message = "Some node pools name a subnet and others do not: all pools of a cluster live in one VNet."
        findings.append(Finding("AgentPoolVNetMismatch", message, SUBNET, "OVL-17", "give every pool a subnet"))
    found: list[tuple[VNetView, SubnetView, int]] = []
    for text in named:
        place, finding = _find_subnet(text, view)
        findings += [finding] if finding else []
        found += [(*place, demand[text])] if place else []
    vnets = {vnet.id.key: vnet for vnet, _, _ in found}
    if len(vnets) > 1:
        names = ", ".join(sorted(vnet.id.name for vnet in vnets.values()))
        message = f"All node pools of a cluster must be in subnets of one VNet, not of {names}."
        findings.append(Finding("AgentPoolVNetMismatch", message, SUBNET, "OVL-17"))
    vnet = next(iter(vnets.values()), None)
    return vnet, [(subnet, nodes) for _, subnet, nodes in found], findings


def _find_subnet(text: str, view: CloudView) -> tuple[tuple[VNetView, SubnetView] | None, Finding | None]:
    try:
        id_ = ResourceId.parse(text)
    except Rejected:
        id_ = None
    if id_ is None or id_.type != SUBNETS:
        message = f"The vnetSubnetID '{text}' is not the identifier of a subnet."
        fix = "print it with: podloom network vnet subnet show -g GROUP --vnet-name VNET -n SUBNET --query id -o tsv"
        return None, Finding("InvalidParameter", message, SUBNET, "OVL-17", fix)
    vnet = view.vnet(id_.parent)
    subnet = next((s for s in vnet.subnets if s.id.key == id_.key), None) if vnet else None
    if vnet is None or subnet is None:
        what = (
            f"subnet '{id_.name}' of virtual network '{id_.parent.name}'"
            if vnet
            else f"virtual network '{id_.parent.name}'"
        )
        message = f"The {what} in resource group '{id_.group}' was not found."
        return None, Finding("SubnetNotFound", message, SUBNET, "OVL-17", "create it, or correct the name")
    return (vnet, subnet), None


def _check_subnet(subnet: SubnetView, nodes: int, view: CloudView, *, overlay: bool) -> list[Finding]:
    findings = check_overlay_subnet_names(subnet.id) if overlay else []
    if subnet.delegations:
        services = ", ".join(subnet.delegations)
        message = f"Subnet {subnet.id.name} is delegated to {services} and cannot be used by node pools."
        findings.append(Finding("SubnetIsDelegated", message, SUBNET, "OVL-17", "use a subnet without delegation"))
    return findings + check_subnet_capacity(subnet, nodes, view)


def _node_group(id_: ResourceId, properties: Json, view: CloudView) -> list[Finding]:
    """Two clusters cannot share a node resource group, and it cannot be the cluster's own group."""
    name = str(properties.get("nodeResourceGroup") or "")
    target = "nodeResourceGroup"
    if name.lower() == id_.group.lower():
        message = f"The node resource group '{name}' is the resource group of the cluster itself."
        return [Finding("NodeResourceGroupConflict", message, target, fix="leave it out or use another name")]
    return [
        Finding(
            "NodeResourceGroupConflict",
            f"The node resource group '{name}' is used by cluster '{other.id.name}' in group '{other.id.group}'.",
            target,
            fix="use another name for the cluster or its node resource group",
        )
        for other in view.clusters
        if other.node_group.lower() == name.lower()
    ]


def _changes(old: Json, new: Json) -> list[Finding]:
    """What cannot be changed after creation (PLAN-14: expansion is not supported yet)."""
    before, after = old.get("networkProfile") or {}, new["networkProfile"]
    findings = [
        _fixed(f"networkProfile.{key}", before.get(key), after.get(key))
        for key in _FIXED
        if before.get(key) != after.get(key)
    ]
    pools = {pool["name"]: pool for pool in old.get("agentPoolProfiles") or []}
    for pool in new["agentPoolProfiles"]:
        was = pools.get(str(pool.get("name"))) if isinstance(pool, dict) else None
        findings += [
            _fixed(f"agentPoolProfile.{pool['name']}.{key}", was.get(key), pool.get(key))
            for key in _FIXED_OF_POOL
            if was is not None and was.get(key) != pool.get(key)
        ]
    if old.get("nodeResourceGroup") != new.get("nodeResourceGroup"):
        findings.append(_fixed("nodeResourceGroup", old.get("nodeResourceGroup"), new.get("nodeResourceGroup")))
    return findings


def _fixed(name: str, before: Any, after: Any) -> Finding:
    message = f"Changing property '{name}' is not allowed: it is '{before}', not '{after}'."
    return Finding("PropertyChangeNotAllowed", message, name, fix="delete and create the cluster to change it")
