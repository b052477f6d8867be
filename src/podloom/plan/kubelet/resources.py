"""A pod's resources: quality of service, cgroup numbers, what a container sees as its limits.

The problem: requests and limits become CPU shares, quotas, memory limits and an OOM score the way every kubelet
computes them (kubelet cm helpers and qos policy), and the downward API shows them with defaults from the node.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from podloom.plan.kubelet.quantity import milli, parse_quantity, whole

_SHARES_MIN = 2
_SHARES_MAX = 262144
_QUOTA_PERIOD_US = 100_000
_QUOTA_MIN_US = 1000


def containers_of(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every container of the pod, init containers first."""
    spec = pod["spec"]
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def qos_class(pod: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort (Kubernetes docs, "Pod Quality of Service Classes")."""
    guaranteed, any_set = True, False
    for container in containers_of(pod):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            any_set = any_set or bool(_number(limit)) or bool(_number(request))
            if not _number(limit) or _number(limit) != _number(request):
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _number(text: object | None) -> float:
    return float(parse_quantity(text)) if text is not None else 0.0


def oom_score_adj(pod: Mapping[str, Any], container: Mapping[str, Any], node_memory_bytes: int) -> int:
    """-997 for Guaranteed, 1000 for BestEffort, between them by share of the node's memory (kubelet qos policy)."""
    quality = qos_class(pod)
    if pod["spec"].get("priorityClassName") == "system-node-critical":
        return -997
    if quality == "Guaranteed":
        return -997
    if quality == "BestEffort":
        return 1000
    requests = (container.get("resources") or {}).get("requests") or {}
    request = whole(requests.get("memory", 0))
    score = 1000 - (1000 * request) // max(node_memory_bytes, 1)
    return min(max(score, 3), 999)


def linux_resources(pod: Mapping[str, Any], container: Mapping[str, Any], node_memory_bytes: int) -> dict[str, Any]:
    """LinuxContainerResources of runtime v1; an absent limit is an absent key: its cgroup controller may be missing."""
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu_request = milli(requests.get("cpu", limits.get("cpu", 0)))
    out: dict[str, Any] = {
        "cpu_shares": min(max(cpu_request * 1024 // 1000, _SHARES_MIN), _SHARES_MAX),
        "oom_score_adj": oom_score_adj(pod, container, node_memory_bytes),
    }
    if limits.get("memory"):
        out["memory_limit_in_bytes"] = whole(limits["memory"])
    if limits.get("cpu"):
        out["cpu_period"] = _QUOTA_PERIOD_US
        out["cpu_quota"] = max(milli(limits["cpu"]) * _QUOTA_PERIOD_US // 1000, _QUOTA_MIN_US)
    return out


def resource_field(
    container: Mapping[str, Any], resource: str, divisor: str | None, allocatable: Mapping[str, str]
) -> str:
    """The value of resourceFieldRef, rounded up to the divisor; a missing limit is the node's allocatable."""
    kind, _, name = resource.partition(".")
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    value = (
        limits.get(name, allocatable.get(name, "0")) if kind == "limits" else requests.get(name, limits.get(name, "0"))
    )
    unit = parse_quantity(divisor or "1") or parse_quantity("1")
    return str(math.ceil(parse_quantity(value) / unit))
