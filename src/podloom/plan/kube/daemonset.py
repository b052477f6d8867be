"""On which nodes a DaemonSet's pod is missing, which of its pods must go, and what its status says.

Sources: Kubernetes "DaemonSet" page (tolerations it adds, node affinity by metadata.name) and "Perform a Rolling
Update on a DaemonSet" (maxUnavailable, maxSurge; both rounded up).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from podloom.model.kube import Object
from podloom.plan.kube.deployment import scaled
from podloom.plan.kube.nodematch import NOT_READY, UNREACHABLE, UNSCHEDULABLE, taints_of, tolerates, wants_node
from podloom.plan.kube.pods import available_in, is_available, is_finished, is_ready

HASH = "controller-revision-hash"
GENERATION = "pod-template-generation"
_TOLERATED = (
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
)


@dataclass
class DaemonPlan:
    """`create` names nodes that lack a pod; `delete` are pods."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    again_s: float | None = None


def daemon_spec(template: Object, node: str) -> Object:
    """The pod spec for one node: bound there by node affinity, with the DaemonSet tolerations."""
    spec = dict(template["spec"])
    affinity = dict(spec.get("affinity") or {})
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    pinned = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    terms = [{**term, "matchFields": pinned} for term in required.get("nodeSelectorTerms") or [{}]]
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    spec["affinity"] = {**affinity, "nodeAffinity": node_affinity}
    wanted = [
        *_TOLERATED,
        *([("node.kubernetes.io/network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []),
    ]
    have = list(spec.get("tolerations") or ())
    extra = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in wanted]
    spec["tolerations"] = have + [t for t in extra if t not in have]
    return spec


def node_of(pod: Object) -> str:
    """The node a daemon pod is bound or pinned to; empty when neither."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for entry in term.get("matchFields") or ():
            if entry["key"] == "metadata.name" and entry.get("values"):
                return str(entry["values"][0])
    return ""


def fate_on(template: Object, node: Object) -> tuple[bool, bool]:
    """(should a pod run there, may a running one stay): taints of effect NoSchedule only keep new pods off."""
    pod = {"metadata": {}, "spec": daemon_spec(template, node["metadata"]["name"])}
    if not wants_node(pod, node):
        return False, False
    tolerations = pod["spec"]["tolerations"]
    against = {t.get("effect") for t in taints_of(node) if not tolerates(tolerations, t)}
    return not against & {"NoSchedule", "NoExecute"}, "NoExecute" not in against


def plan_daemonset(
    ds: Object, nodes: Iterable[Object], pods: Iterable[Object], revision_hash: str, now: float
) -> DaemonPlan:
    """The next steps, given the DaemonSet's own pods and the hash of its current template's revision."""
    on_node: dict[str, list[Object]] = {}
    for pod in pods:
        on_node.setdefault(node_of(pod), []).append(pod)
    plan = DaemonPlan()
    states = []
    for node in sorted(nodes, key=lambda n: str(n["metadata"]["name"])):
        states.append(_NodeState(ds, node, on_node.pop(node["metadata"]["name"], []), revision_hash, now))
    for left in on_node.values():  # their node is gone
        plan.delete += [pod for pod in left if not pod["metadata"].get("deletionTimestamp")]
    if not ds["metadata"].get("deletionTimestamp"):
        for state in states:
            state.settle(plan)
        if ((ds["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate":
            _roll(ds, [s for s in states if s.should_run], plan)
    plan.status = _status(ds, states)
    waits = [w for s in states if s.pod and (w := available_in(s.pod, _min_ready_s(ds), now))]
    plan.again_s = min(waits) + 0.05 if waits else None
    return plan


def _min_ready_s(ds: Object) -> int:
    return int(ds["spec"].get("minReadySeconds") or 0)


class _NodeState:
    """What is on one node: the pods of the current and of older templates."""

    def __init__(self, ds: Object, node: Object, pods: list[Object], revision_hash: str, now: float) -> None:
        self.name = str(node["metadata"]["name"])
        self.should_run, self.may_stay = fate_on(ds["spec"]["template"], node)
        self._min_ready_s, self._now = _min_ready_s(ds), now
        self.finished = [p for p in pods if is_finished(p) and not p["metadata"].get("deletionTimestamp")]
        self.leaving = [p for p in pods if p["metadata"].get("deletionTimestamp")]
        alive = [p for p in pods if p not in self.finished and p not in self.leaving]
        alive.sort(key=lambda p: (not is_ready(p), p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]))
        new = [p for p in alive if (p["metadata"].get("labels") or {}).get(HASH) == revision_hash]
        old = [p for p in alive if p not in new]
        self.new, self.old = (new[0] if new else None), (old[0] if old else None)
        self.surplus = new[1:] + old[1:]

    @property
    def pod(self) -> Object | None:
        return self.new or self.old

    def available(self, pod: Object | None) -> bool:
        return pod is not None and is_available(pod, self._min_ready_s, self._now)

    def settle(self, plan: DaemonPlan) -> None:
        """One pod where one should run, none where none may stay; finished ones are replaced."""
        plan.delete += self.surplus + self.finished
        if not self.may_stay:
            plan.delete += [p for p in (self.new, self.old) if p is not None]
        elif self.should_run and self.pod is None and not self.leaving:
            plan.create.append(self.name)


def _roll(ds: Object, states: list[_NodeState], plan: DaemonPlan) -> None:
    rolling = (ds["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", 0), len(states), up=True)
    unavailable = scaled(rolling.get("maxUnavailable", 1), len(states), up=True)
    if surge:
        _roll_with_surge(states, plan, surge)
        return
    down = sum(1 for s in states if not s.available(s.pod))
    room = max(0, max(1, unavailable) - down)
    for state in states:
        if state.old is None or state.new is not None:
            if state.old is not None:
                plan.delete.append(state.old)
        elif not state.available(state.old):
            plan.delete.append(state.old)
        elif room > 0:
            plan.delete.append(state.old)
            room -= 1


def _roll_with_surge(states: list[_NodeState], plan: DaemonPlan, surge: int) -> None:
    room = surge - sum(1 for s in states if s.old is not None and s.new is not None)
    for state in states:
        if state.old is None:
            continue
        if state.new is not None:
            if state.available(state.new):
                plan.delete.append(state.old)
        elif not state.available(state.old):
            plan.delete.append(state.old)
        elif room > 0:
            plan.create.append(state.name)
            room -= 1


def _status(ds: Object, states: list[_NodeState]) -> Object:
    wanted = [s for s in states if s.should_run]
    available = sum(1 for s in wanted if s.available(s.new) or s.available(s.old))
    status: Object = {
        "currentNumberScheduled": sum(1 for s in wanted if s.pod),
        "numberMisscheduled": sum(1 for s in states if s.pod and not s.should_run),
        "desiredNumberScheduled": len(wanted),
        "numberReady": sum(1 for s in wanted if any(p and is_ready(p) for p in (s.new, s.old))),
        "observedGeneration": ds["metadata"].get("generation", 1),
    }
    more = {
        "updatedNumberScheduled": sum(1 for s in wanted if s.new),
        "numberAvailable": available,
        "numberUnavailable": len(wanted) - available,
        "collisionCount": ds.get("status", {}).get("collisionCount"),
    }
    return status | {name: count for name, count in more.items() if count}
