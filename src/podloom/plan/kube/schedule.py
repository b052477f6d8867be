"""Which node a pod goes to, or why none: filters, then scores.

The problem: the answer must be explainable (`0/3 nodes are available: ...`), fast (a batch of pods against nodes
whose sums are kept) and spread pods evenly. Each filter is one function that returns the scheduler's words or
nothing; the scores are one tuple per node, compared in order of importance.

Sources: Kubernetes "Scheduling Framework" page and the reference scheduler's plugin names; messages as the
reference scheduler writes them, since people search for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from podloom.model.kube import Object, owner_of
from podloom.plan.kube.nodematch import (
    UNSCHEDULABLE,
    node_preference,
    repelling_taint,
    soft_taints,
    tolerates,
    wants_node,
)
from podloom.plan.kube.pods import is_finished
from podloom.plan.kube.podtopology import AffinityRules, Namespaces, SpreadRules, has_affinity
from podloom.plan.kube.quantity import milli

SCHEDULER = "default-scheduler"
_DEFAULT_CPU, _DEFAULT_MEMORY = milli("100m"), milli("200Mi")  # what a pod without requests is taken for in scores
HostPort = tuple[str, str, int]  # (protocol, address, port)


@dataclass
class NodeRoom:
    """A node with the pods on it and their sums; `add` keeps the sums."""

    node: Object
    pods: list[Object] = field(default_factory=list)
    requested: dict[str, int] = field(default_factory=dict)  # milli-units
    likely: dict[str, int] = field(default_factory=dict)  # the same with defaults for pods without requests
    ports: set[HostPort] = field(default_factory=set)
    owners: dict[str, int] = field(default_factory=dict)
    affine: int = 0

    @property
    def name(self) -> str:
        return str(self.node["metadata"]["name"])

    @property
    def allocatable(self) -> Mapping[str, str]:
        status = self.node.get("status", {})
        room: Mapping[str, str] = status.get("allocatable") or status.get("capacity") or {}
        return room

    def add(self, pod: Object) -> None:
        """Count a pod in; finished pods take no room."""
        if is_finished(pod):
            return
        self.pods.append(pod)
        for name, amount in requests(pod).items():
            self.requested[name] = self.requested.get(name, 0) + amount
        for name, amount in _likely(pod).items():
            self.likely[name] = self.likely.get(name, 0) + amount
        self.ports |= host_ports(pod)
        self.affine += has_affinity(pod)
        if ref := owner_of(pod):
            self.owners[ref["uid"]] = self.owners.get(ref["uid"], 0) + 1


def node_room(node: Object, pods: Iterable[Object]) -> NodeRoom:
    """The room of a node with these pods on it."""
    room = NodeRoom(node)
    for pod in pods:
        room.add(pod)
    return room


@dataclass(frozen=True)
class Choice:
    """`node` is the name chosen, or empty with `message` saying why none fits."""

    node: str
    message: str = ""


def requests(pod: Object) -> dict[str, int]:
    """The pod's resource requests in milli-units: containers' sum, at least each init container, plus overhead."""
    spec = pod["spec"]
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _plus(total, _requests_of(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        own = _requests_of(container)
        if container.get("restartPolicy") == "Always":
            _plus(sidecars, own)
            own = {}
        together = dict(sidecars)
        _plus(together, own)
        peak = {n: max(peak.get(n, 0), together.get(n, 0)) for n in peak.keys() | together.keys()}
    _plus(total, sidecars)
    total = {name: max(total.get(name, 0), peak.get(name, 0)) for name in total.keys() | peak.keys()}
    _plus(total, {name: milli(text) for name, text in (spec.get("overhead") or {}).items()})
    return total


def _requests_of(container: Object) -> dict[str, int]:
    resources = container.get("resources") or {}
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: milli(text) for name, text in wanted.items()}


def _plus(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _likely(pod: Object) -> dict[str, int]:
    own = requests(pod)
    return {"cpu": own.get("cpu") or _DEFAULT_CPU, "memory": own.get("memory") or _DEFAULT_MEMORY}


def host_ports(pod: Object) -> set[HostPort]:
    """The host ports its containers ask for."""
    return {
        (port.get("protocol", "TCP"), port.get("hostIP") or "0.0.0.0", int(port["hostPort"]))
        for container in (*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ()))
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def claims_of(pod: Object) -> list[str]:
    """The persistent volume claims its volumes name."""
    volumes = pod["spec"].get("volumes") or ()
    return [v["persistentVolumeClaim"]["claimName"] for v in volumes if v.get("persistentVolumeClaim")]


def is_social(pod: Object) -> bool:
    """Whether its place depends on where other pods are."""
    return has_affinity(pod) or bool(pod["spec"].get("topologySpreadConstraints"))


def ports_clash(wanted: Iterable[HostPort], used: Iterable[HostPort]) -> bool:
    """Whether a wanted host port is taken; 0.0.0.0 meets every address."""
    used = list(used)
    return any(
        protocol == other_protocol and port == other_port and (address == other or "0.0.0.0" in (address, other))
        for protocol, address, port in wanted
        for other_protocol, other, other_port in used
    )


def obstacles(pod: Object, room: NodeRoom) -> list[str]:
    """Why the pod does not fit on the node by itself (without regard to other nodes); empty when it does."""
    spec = pod["spec"]
    if room.node.get("spec", {}).get("unschedulable") and not _tolerates_unschedulable(pod):
        return ["node(s) were unschedulable"]
    if taint := repelling_taint(pod, room.node):
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    if spec.get("nodeName") and spec["nodeName"] != room.name:
        return ["node(s) didn't match the requested node name"]
    if not wants_node(pod, room.node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    wanted = host_ports(pod)
    if wanted and ports_clash(wanted, room.ports):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return _shortages(pod, room)


def _tolerates_unschedulable(pod: Object) -> bool:
    return tolerates(pod["spec"].get("tolerations") or (), {"key": UNSCHEDULABLE, "effect": "NoSchedule"})


def _shortages(pod: Object, room: NodeRoom) -> list[str]:
    allocatable, out = room.allocatable, []
    if "pods" in allocatable and (len(room.pods) + 1) * 1000 > milli(allocatable["pods"]):
        out.append("Too many pods")
    for name, amount in sorted(requests(pod).items()):
        if amount and room.requested.get(name, 0) + amount > milli(allocatable.get(name, "0")):
            out.append(f"Insufficient {name}")
    return out


def choose_node(pod: Object, rooms: Sequence[NodeRoom], namespaces: Namespaces, turn: int = 0) -> Choice:
    """The node for the pod. `turn` rotates which of equally good nodes is taken."""
    if not rooms:
        return Choice("", "no nodes available to schedule pods")
    spread = SpreadRules(pod, list(rooms)) if pod["spec"].get("topologySpreadConstraints") else None
    affine = has_affinity(pod) or any(room.affine for room in rooms)
    affinity = AffinityRules(pod, list(rooms), namespaces) if affine else None
    reasons: dict[str, int] = {}
    best: tuple[tuple[float, ...], str] | None = None
    for at in range(len(rooms)):
        room = rooms[(at + turn) % len(rooms)]
        against = obstacles(pod, room)
        for rules in (spread, affinity):
            if not against and rules and (found := rules.obstacle(room.node)):
                against = [found]
        for reason in against:
            reasons[reason] = reasons.get(reason, 0) + 1
        if not against:
            score = _score(pod, room, spread, affinity)
            if best is None or score > best[0]:
                best = (score, room.name)
    if best is not None:
        return Choice(best[1])
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return Choice("", f"0/{len(rooms)} nodes are available: {listed}.")


def _score(
    pod: Object, room: NodeRoom, spread: SpreadRules | None, affinity: AffinityRules | None
) -> tuple[float, ...]:
    """Higher is better, compared from the left: wishes, siblings on the node, free share, pods on the node."""
    ref = owner_of(pod)
    siblings = room.owners.get(ref["uid"], 0) if ref else 0
    wishes = node_preference(pod, room.node) + (affinity.preference(room.node) if affinity else 0)
    return (
        -soft_taints(pod, room.node),
        wishes,
        -(spread.crowd(room.node) if spread else 0),
        -siblings,
        -round(_used_share(pod, room), 2),
        -len(room.pods),
    )


def _used_share(pod: Object, room: NodeRoom) -> float:
    """The fuller of cpu and memory after placing the pod, 0 to 1."""
    shares = [0.0]
    for name, amount in _likely(pod).items():
        if size := milli(room.allocatable.get(name, "0")):
            shares.append((room.likely.get(name, 0) + amount) / size)
    return max(shares)
