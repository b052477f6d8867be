"""Node pools: reading them, and the rules about names, counts, pods per node and sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from podloom.model.findings import Finding
from podloom.plan.address.modes import not_supported
from podloom.plan.address.names import check_pool_name

Json = dict[str, Any]

MAX_PODS_MIN, MAX_PODS_MAX = 10, 250  # OVL-15
POOL_NODES_MAX = 1000
CLUSTER_NODES_MAX = 5000  # OVL-09
_DCSV2 = re.compile(r"^Standard_DC\d+s_v2$", re.IGNORECASE)


@dataclass(frozen=True)
class Pool:
    """One node pool's wish, typed; `subnet` is "" when the service makes the network."""

    name: str
    count: int
    max_pods: int
    subnet: str
    pod_subnet: str
    os_type: str
    mode: str
    vm_size: str
    kind: str
    autoscale: bool


def read_pools(profiles: Any) -> tuple[list[Pool], list[Finding]]:
    """The pools of a cluster; values of a wrong type are findings and such a pool is left out."""
    if not isinstance(profiles, list) or not profiles:
        message = "Required parameter agentPoolProfiles is missing: a cluster needs at least one node pool."
        return [], [Finding("InvalidParameter", message, "agentPoolProfiles")]
    pools: list[Pool] = []
    findings: list[Finding] = []
    for profile in profiles:
        wrong = _wrong_types(profile)
        findings += wrong
        if not wrong:
            pools.append(_read(profile))
    return pools, findings


def check_pools(pools: list[Pool], *, overlay: bool) -> list[Finding]:
    """Every mistake of the pools themselves, and of the pools together."""
    findings = [finding for pool in pools for finding in _check_pool(pool, overlay=overlay)]
    names = [pool.name for pool in pools]
    findings += [
        Finding("DuplicateAgentPoolName", f"Agent pool name '{name}' is given more than once.", _target(name))
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if pools and not any(pool.mode == "System" for pool in pools):
        message = "A cluster must have at least one node pool of mode System."
        findings.append(Finding("InvalidParameter", message, "agentPoolProfiles", fix="use --mode System for one"))
    total = sum(pool.count for pool in pools)
    if total > CLUSTER_NODES_MAX:
        message = f"The cluster would have {total} nodes; at most {CLUSTER_NODES_MAX} are possible."
        findings.append(Finding("InvalidParameter", message, "agentPoolProfile.count", "OVL-09"))
    return findings


def _check_pool(pool: Pool, *, overlay: bool) -> list[Finding]:
    findings = check_pool_name(pool.name, pool.os_type == "Windows", _target(pool.name))
    findings += _count(pool) + _max_pods(pool) + _values(pool)
    if overlay:
        findings += _overlay_kinds(pool)
    return findings + _not_yet(pool)


def _count(pool: Pool) -> list[Finding]:
    least = 1 if pool.mode == "System" else 0
    if least <= pool.count <= POOL_NODES_MAX:
        return []
    message = (
        f"The AgentPoolProfile '{pool.name}' has an invalid count {pool.count}: a {pool.mode} pool has {least} to"
        f" {POOL_NODES_MAX} nodes."
    )
    return [Finding("InvalidParameter", message, f"agentPoolProfile.{pool.name}.count", "OVL-09")]


def _max_pods(pool: Pool) -> list[Finding]:
    target = f"agentPoolProfile.{pool.name}.maxPods"
    if pool.max_pods < MAX_PODS_MIN:
        message = (
            f"The AgentPoolProfile '{pool.name}' has an invalid maxPods, the maxPods({pool.max_pods}) should be larger"
            f" than {MAX_PODS_MIN}"
        )
        return [Finding("InsufficientMaxPods", message, target, "OVL-15", "use --max-pods 10 to 250")]
    if pool.max_pods > MAX_PODS_MAX:
        message = (
            f"The AgentPoolProfile '{pool.name}' has an invalid maxPods, the maxPods({pool.max_pods}) should not be"
            f" larger than {MAX_PODS_MAX}"
        )
        return [Finding("ExceededMaxPods", message, target, "OVL-15", "use --max-pods 10 to 250")]
    return []


def _values(pool: Pool) -> list[Finding]:
    allowed = {
        "mode": (pool.mode, ("System", "User")),
        "osType": (pool.os_type, ("Linux", "Windows")),
        "type": (pool.kind, ("VirtualMachineScaleSets", "AvailabilitySet")),
    }
    return [
        Finding(
            "InvalidParameter",
            f"The value of parameter agentPoolProfile.{key} '{value}' is invalid; it can be {', '.join(values)}.",
            f"agentPoolProfile.{pool.name}.{key}",
        )
        for key, (value, values) in allowed.items()
        if value not in values
    ]


def _overlay_kinds(pool: Pool) -> list[Finding]:
    """OVL-18: what overlay refuses."""
    findings = []
    if pool.kind == "AvailabilitySet":
        message = f"The AgentPoolProfile '{pool.name}' is an availability set, which overlay does not support."
        fix = "use type VirtualMachineScaleSets"
        findings.append(
            Finding("OverlayNotSupportedWithAvailabilitySet", message, _target(pool.name, "type"), "OVL-18", fix)
        )
    if _DCSV2.match(pool.vm_size):
        message = (
            f"The VM size '{pool.vm_size}' (DCsv2-series) of AgentPoolProfile '{pool.name}' is not supported with"
            " overlay. Use the DCasv5- or DCadsv5-series instead."
        )
        findings.append(
            Finding(
                "OverlayNotSupportedWithVMSize",
                message,
                _target(pool.name, "vmSize"),
                "OVL-18",
                "use the DCasv5- or DCadsv5-series for confidential computing",
            )
        )
    return findings


def _not_yet(pool: Pool) -> list[Finding]:
    findings = []
    if pool.os_type == "Windows":
        what = f"osType Windows (pool '{pool.name}')"
        findings.append(not_supported(what, _target(pool.name, "osType"), "OVL-13", "use Linux"))
    if pool.pod_subnet:
        what = f"podSubnetID (pool '{pool.name}')"
        findings.append(not_supported(what, _target(pool.name, "podSubnetID"), "VNET-11", "use overlay"))
    if pool.autoscale:
        what = f"The cluster autoscaler (pool '{pool.name}')"
        findings.append(not_supported(what, _target(pool.name, "enableAutoScaling"), "", "use `aks scale`"))
    return findings


def _wrong_types(profile: Any) -> list[Finding]:
    if not isinstance(profile, dict) or not isinstance(profile.get("name"), str):
        message = "Every entry of agentPoolProfiles must be an object with a name."
        return [Finding("InvalidParameter", message, "agentPoolProfiles")]
    wrong = [key for key in ("count", "maxPods") if type(profile.get(key)) is not int]
    wrong += [key for key in ("vmSize", "osType", "mode", "type") if not isinstance(profile.get(key), str)]
    wrong += [key for key in ("vnetSubnetID", "podSubnetID") if not isinstance(profile.get(key) or "", str)]
    return [
        Finding(
            "InvalidParameter",
            f"The value of parameter agentPoolProfile.{key} '{profile.get(key)}' has the wrong type.",
            _target(profile["name"], key),
        )
        for key in wrong
    ]


def _read(profile: Json) -> Pool:
    return Pool(
        name=profile["name"],
        count=profile["count"],
        max_pods=profile["maxPods"],
        subnet=profile.get("vnetSubnetID") or "",
        pod_subnet=profile.get("podSubnetID") or "",
        os_type=profile["osType"],
        mode=profile["mode"],
        vm_size=profile["vmSize"],
        kind=profile["type"],
        autoscale=bool(profile.get("enableAutoScaling")),
    )


def _target(name: str, key: str = "name") -> str:
    return f"agentPoolProfile.{name}.{key}"
