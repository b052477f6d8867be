"""How many pods a PodDisruptionBudget lets go (Kubernetes "Specifying a Disruption Budget"; policy/v1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podloom.model.kube import Object
from podloom.plan.kube.deployment import scaled
from podloom.plan.kube.pods import is_active, is_ready, with_condition
from podloom.plan.kube.times import format_time, parse_time

_EVICTION_S = 120.0  # an eviction the server allowed counts as a disruption until the pod is seen going


def plan_budget(budget: Object, pods: Iterable[Object], scales: Mapping[str, int], now: float) -> Object:
    """The budget's status. `scales` are the wanted replicas of the pods' controllers, by the controllers' uid."""
    spec, old = budget["spec"], budget.get("status", {})
    counted = [pod for pod in pods if not _finished(pod)]
    disrupted = _disrupted(old.get("disruptedPods") or {}, counted, now)
    healthy = sum(1 for p in counted if is_active(p) and is_ready(p) and p["metadata"]["name"] not in disrupted)
    expected = sum(scales.values()) if "maxUnavailable" in spec or _is_share(spec) else len(counted)
    if "maxUnavailable" in spec:
        desired = max(0, expected - scaled(spec["maxUnavailable"], expected, up=True))
    else:
        desired = scaled(spec.get("minAvailable", 1), expected, up=True)
    allowed = max(0, healthy - desired) if expected else 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if allowed else "False",
        "reason": reason,
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 1),
    }
    status: Object = {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": with_condition(old.get("conditions"), condition, format_time(now)),
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    return status


def _is_share(spec: Object) -> bool:
    return isinstance(spec.get("minAvailable"), str)


def _finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _disrupted(noted: Mapping[str, str], pods: list[Object], now: float) -> dict[str, str]:
    """Evictions under way: noted by the server, the pod not yet marked, not too long ago."""
    waiting = {p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp")}
    return {name: at for name, at in noted.items() if name in waiting and now - parse_time(at) < _EVICTION_S}
