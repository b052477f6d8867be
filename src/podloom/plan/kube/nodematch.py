"""Whether a pod may and would like to be on a node: selectors, node affinity, taints.

Sources: Kubernetes "Assigning Pods to Nodes" and "Taints and Tolerations". Used by the scheduler, the DaemonSet
controller and eviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podloom.model.kube import Object
from podloom.model.kubeselector import Selector, from_expressions, from_map

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def term_matches(term: Object, node: Object) -> bool:
    """One NodeSelectorTerm: all its expressions and fields; an empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    names = {"metadata.name": node["metadata"]["name"]}
    labels = node["metadata"].get("labels") or {}
    return Selector(from_expressions(expressions)).matches(labels) and Selector(from_expressions(fields)).matches(names)


def _node_affinity(pod: Object) -> Object:
    affinity: Object = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return affinity


def wants_node(pod: Object, node: Object) -> bool:
    """nodeSelector and required node affinity hold."""
    selector = pod["spec"].get("nodeSelector")
    if selector and not from_map(selector).matches(node["metadata"].get("labels")):
        return False
    required = _node_affinity(pod).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(term_matches(t, node) for t in required.get("nodeSelectorTerms") or ())


def node_preference(pod: Object, node: Object) -> int:
    """The weights of the preferred node affinity terms that hold."""
    preferred = _node_affinity(pod).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(int(p["weight"]) for p in preferred if term_matches(p["preference"], node))


def tolerates(tolerations: Iterable[Object], taint: Mapping[str, str]) -> bool:
    """Whether some toleration matches the taint."""
    return any(_tolerates(t, taint) for t in tolerations)


def _tolerates(toleration: Object, taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def repelling_taint(pod: Object, node: Object) -> Object | None:
    """The first NoSchedule or NoExecute taint the pod does not tolerate."""
    tolerations = pod["spec"].get("tolerations") or ()
    for taint in taints_of(node):
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return dict(taint)
    return None


def taints_of(node: Object) -> list[Object]:
    """The node's taints; one whose Ready condition is not True counts as tainted before anyone wrote the taint."""
    taints = list(node.get("spec", {}).get("taints") or ())
    conditions = node.get("status", {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), "False")
    key = {"True": "", "Unknown": UNREACHABLE}.get(ready, NOT_READY)
    if key and not any(t["key"] in (NOT_READY, UNREACHABLE) for t in taints):
        taints.append({"key": key, "effect": "NoSchedule"})
    return taints


def soft_taints(pod: Object, node: Object) -> int:
    """How many PreferNoSchedule taints the pod does not tolerate."""
    tolerations = pod["spec"].get("tolerations") or ()
    taints = node.get("spec", {}).get("taints") or ()
    return sum(1 for t in taints if t.get("effect") == "PreferNoSchedule" and not tolerates(tolerations, t))


def eviction_in(
    pod: Object, taints: Iterable[Object], since: Mapping[tuple[str, str], float], now: float
) -> float | None:
    """Seconds until NoExecute taints evict the pod: 0 now, None never. `since` maps (key, value) to epoch seconds."""
    tolerations = pod["spec"].get("tolerations") or ()
    least: float | None = None
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        matching = [t for t in tolerations if _tolerates(t, taint)]
        if not matching:
            return 0.0
        limits = [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
        if not limits:
            continue
        start = since.get((taint["key"], taint.get("value", "")), now)
        left = max(0.0, start + max(0, min(limits)) - now)
        least = left if least is None else min(least, left)
    return least
