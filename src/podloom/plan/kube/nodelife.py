"""What becomes of a node that is silent or not ready: conditions, taints, and its pods.

Sources: Kubernetes "Nodes" page (heartbeats by Lease, 40 s grace) and "Taints and Tolerations" (taints by
condition, taint-based evictions with timeAdded).
"""

from __future__ import annotations

from podloom.model.kube import Object
from podloom.plan.kube.nodematch import NOT_READY, UNREACHABLE, UNSCHEDULABLE
from podloom.plan.kube.pods import condition
from podloom.plan.kube.times import format_time

_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURES.values()}
_LOST = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def heartbeat_of(node: Object, lease: Object | None) -> tuple[str, str]:
    """What changes when the kubelet is alive: its lease's renewTime, its Ready condition's heartbeat."""
    renewed = (lease or {}).get("spec", {}).get("renewTime") or ""
    return renewed, condition(node, "Ready").get("lastHeartbeatTime") or ""


def lost_conditions(node: Object, now: float) -> list[Object] | None:
    """The conditions of a node that fell silent, all Unknown; None when they already are."""
    conditions = {c["type"]: c for c in node.get("status", {}).get("conditions") or ()}
    changed = False
    for kind in _LOST:
        old = conditions.get(kind)
        if old and old.get("status") == "Unknown":
            continue
        changed = True
        conditions[kind] = {
            "type": kind,
            "status": "Unknown",
            "reason": "NodeStatusUnknown" if old else "NodeStatusNeverUpdated",
            "message": "Kubelet stopped posting node status." if old else "Kubelet never posted node status.",
            "lastHeartbeatTime": (old or {}).get("lastHeartbeatTime") or node["metadata"].get("creationTimestamp"),
            "lastTransitionTime": format_time(now),
        }
    return list(conditions.values()) if changed else None


def plan_taints(node: Object, now: float) -> list[Object] | None:
    """The node's taints by its conditions and spec.unschedulable; None when they are right already."""
    have = list(node.get("spec", {}).get("taints") or ())
    wanted = _wanted(node)
    kept = [t for t in have if t["key"] not in _OURS or (t["key"], t["effect"]) in wanted]
    present = {(t["key"], t["effect"]) for t in kept}
    added = []
    for key, effect in wanted:
        if (key, effect) not in present:
            taint = {"key": key, "effect": effect}
            if effect == "NoExecute":
                taint["timeAdded"] = format_time(now)
            added.append(taint)
    return kept + added if added or kept != have else None


def _wanted(node: Object) -> list[tuple[str, str]]:
    wanted = []
    ready = condition(node, "Ready").get("status", "False")
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    for kind, key in _PRESSURES.items():
        if condition(node, kind).get("status") == "True":
            wanted.append((key, "NoSchedule"))
    if node.get("spec", {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    return wanted
