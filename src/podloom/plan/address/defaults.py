"""What the service fills in when a user says little (azure-behaviour, "Defaults and numbers of the service").

The problem: clients send only what was typed, and a later PUT may repeat all or part of it. So defaults are filled
in here, before any rule looks: from the cluster as it is when there is one, else the service's own.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from podloom.model.versions import KUBERNETES_VERSION

Json = dict[str, Any]

POD_CIDR = "10.244.0.0/16"  # OVL-16
SERVICE_CIDR = "10.0.0.0/16"
VNET_PREFIX = "10.224.0.0/12"
SUBNET_PREFIX = "10.224.0.0/16"
SUBNET_NAME = "aks-subnet"
MAX_PODS = {"overlay": 250, "azure": 30, "kubenet": 110, "none": 250}  # OVL-15, VNET-06
_NODE_GROUP_LENGTH = 80


def cluster_defaults(
    properties: Json, old: Json | None, *, group: str, name: str, location: str, subscription: str
) -> Json:
    """The properties of a managed cluster with every default filled in; `old` are those stored before."""
    before = old or {}
    filled = {**before, **_given(properties)}
    filled.setdefault("kubernetesVersion", KUBERNETES_VERSION)
    filled.setdefault("dnsPrefix", f"{name[:10]}-{group[:16]}-{subscription[:6]}")
    filled.setdefault("nodeResourceGroup", f"MC_{group}_{name}_{location}"[:_NODE_GROUP_LENGTH])
    filled.setdefault("enableRBAC", True)
    network = network_defaults(_object(properties, "networkProfile"), _object(before, "networkProfile"))
    pools = _pools(properties, before)
    version = filled["kubernetesVersion"]
    filled["networkProfile"] = network
    filled["agentPoolProfiles"] = [
        pool_defaults(pool, network, str(version), first=index == 0) if isinstance(pool, dict) else pool
        for index, pool in enumerate(pools)
    ]
    return filled


def network_defaults(given: Json, old: Json) -> Json:
    """A networkProfile with defaults. Without any plugin it is azure with overlay; azure alone means node subnet."""
    network = {**old, **_given(given)}
    if not network.get("networkPlugin"):
        network["networkPlugin"] = "azure"
        network.setdefault("networkPluginMode", "overlay")
    network.setdefault("networkDataplane", "azure")
    network.setdefault("networkPolicy", "none")
    network.setdefault("outboundType", "loadBalancer")
    network["loadBalancerSku"] = str(network.get("loadBalancerSku") or "standard").lower()
    network.setdefault("ipFamilies", ["IPv4"])
    _pair(network, given, "serviceCidr", "serviceCidrs", SERVICE_CIDR)
    if network["networkPlugin"] == "kubenet" or network.get("networkPluginMode") == "overlay":
        _pair(network, given, "podCidr", "podCidrs", POD_CIDR)
    if given.get("serviceCidr") or given.get("serviceCidrs") or not network.get("dnsServiceIP"):
        network["dnsServiceIP"] = given.get("dnsServiceIP") or _tenth(str(network["serviceCidr"])) or ""
    return network


def pool_defaults(pool: Json, network: Json, version: str, *, first: bool) -> Json:
    """One agentPoolProfile with defaults; the first pool of a cluster is a system pool."""
    filled = _given(pool)
    mode = network.get("networkPluginMode") or network.get("networkPlugin")
    filled.setdefault("count", 1)
    filled.setdefault("vmSize", "Standard_D2s_v5")
    filled.setdefault("osType", "Linux")
    filled.setdefault("osSKU", "Ubuntu" if filled["osType"] == "Linux" else "Windows2022")
    filled.setdefault("osDiskSizeGB", 128)
    filled.setdefault("type", "VirtualMachineScaleSets")
    filled.setdefault("mode", "System" if first else "User")
    filled.setdefault("maxPods", MAX_PODS.get(str(mode), 30))
    filled.setdefault("orchestratorVersion", version)
    return filled


def _pools(properties: Json, before: Json) -> list[Any]:
    """The wanted pools, each over the pool of that name as it was."""
    old: list[Json] = list(before.get("agentPoolProfiles") or [])
    wanted = properties.get("agentPoolProfiles")
    if not isinstance(wanted, list):
        return old
    by_name = {pool.get("name"): pool for pool in old}
    return [
        {**by_name.get(str(pool.get("name")), {}), **_given(pool)} if isinstance(pool, dict) else pool
        for pool in wanted
    ]


def _pair(network: Json, given: Json, one: str, many: str, default: str) -> None:
    """Keep ARM's single range and list of ranges in step, whichever the client sent."""
    if given.get(many):
        network[many] = list(given[many]) if isinstance(given[many], list) else [given[many]]
        network[one] = given.get(one) or network[many][0]
    elif given.get(one):
        network[one], network[many] = given[one], [given[one]]
    else:
        network.setdefault(one, default)
        network.setdefault(many, [network[one]])


def _tenth(cidr: str) -> str | None:
    """The service range's address number ten: the cluster DNS."""
    try:
        range_ = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None
    return str(range_.network_address + 10)


def _given(value: Json) -> Json:
    return {key: item for key, item in value.items() if item is not None}


def _object(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
