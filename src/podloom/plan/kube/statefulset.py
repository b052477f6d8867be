"""The next step of a StatefulSet: which ordinal to create, replace or remove.

Sources: Kubernetes "StatefulSets" page (stable names, ordered creation and deletion, rolling update from the
highest ordinal with a partition); apps/v1 StatefulSetStatus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from podloom.model.kube import STATEFULSETS, Object, owner_reference
from podloom.plan.kube.deployment import replicas_of
from podloom.plan.kube.pods import available_in, is_available, is_finished, is_ready, pod_from_template

HASH = "controller-revision-hash"
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


@dataclass
class StatefulPlan:
    """`create` maps ordinals to the revision name to make them of; `delete` are pods."""

    create: dict[int, str] = field(default_factory=dict)
    delete: list[Object] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    again_s: float | None = None


def ordinal_of(name: str, pod: str) -> int:
    """The ordinal in a pod's name, -1 when it is not one of `name`'s."""
    match = re.fullmatch(re.escape(name) + r"-(\d+)", pod)
    return int(match[1]) if match else -1


def stateful_pod(owner: Object, template: Object, ordinal: int, revision: str) -> Object:
    """The pod of an ordinal: its name is its hostname, its volumes are its own claims."""
    meta = owner["metadata"]
    name = f"{meta['name']}-{ordinal}"
    ref = owner_reference(STATEFULSETS, owner)
    pod = pod_from_template(template, meta["namespace"], ref, name, f"{meta['name']}-")
    pod["metadata"]["labels"] |= {HASH: revision, POD_NAME: name, POD_INDEX: str(ordinal)}
    pod["spec"]["hostname"] = name
    if owner["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = owner["spec"]["serviceName"]
    claims = [t["metadata"]["name"] for t in owner["spec"].get("volumeClaimTemplates") or ()]
    if claims:
        others = [v for v in pod["spec"].get("volumes") or () if v["name"] not in claims]
        own = [{"name": c, "persistentVolumeClaim": {"claimName": f"{c}-{name}"}} for c in claims]
        pod["spec"]["volumes"] = others + own
    return pod


def claims_of(owner: Object, ordinal: int) -> list[Object]:
    """The persistent volume claims an ordinal needs."""
    meta = owner["metadata"]
    labels = (owner["spec"]["selector"] or {}).get("matchLabels") or {}
    out = []
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        own = template["metadata"]
        body = {"name": f"{own['name']}-{meta['name']}-{ordinal}", "namespace": meta["namespace"]}
        body["labels"] = {**(own.get("labels") or {}), **labels}
        out.append({"metadata": body, "spec": template["spec"]})
    return out


class _Set:
    """A StatefulSet with its pods by ordinal, and the questions each step asks."""

    def __init__(self, owner: Object, pods: Iterable[Object], revisions: tuple[str, str], now: float) -> None:
        spec = owner["spec"]
        first = int((spec.get("ordinals") or {}).get("start") or 0)
        rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        self.now = now
        self.current, self.update = revisions
        self.wanted = range(first, first + replicas_of(owner))
        self.partition = first + int(rolling.get("partition") or 0)
        self.one_by_one = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        self.rolls = ((spec.get("updateStrategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"
        self.min_ready_s = int(spec.get("minReadySeconds") or 0)
        found = {ordinal_of(owner["metadata"]["name"], pod["metadata"]["name"]): pod for pod in pods}
        self.pods = {ordinal: pod for ordinal, pod in sorted(found.items()) if ordinal >= 0}

    def revision(self, ordinal: int) -> str:
        return self.update if ordinal >= self.partition else self.current

    def settled(self, ordinal: int) -> bool:
        pod = self.pods.get(ordinal)
        return pod is not None and not _leaving(pod) and is_available(pod, self.min_ready_s, self.now)

    def fill(self, plan: StatefulPlan) -> bool:
        """Create what is missing from below; whether every wanted pod is settled."""
        complete = True
        for ordinal in self.wanted:
            pod = self.pods.get(ordinal)
            if pod is None:
                plan.create[ordinal] = self.revision(ordinal)
            elif is_finished(pod) and not _leaving(pod):
                plan.delete.append(pod)
            if not self.settled(ordinal):
                complete = False
                if self.one_by_one:
                    return False
        return complete

    def shrink(self, plan: StatefulPlan) -> bool:
        """Remove surplus from above; whether there is none."""
        surplus = [ordinal for ordinal in reversed(self.pods) if ordinal not in self.wanted]
        for ordinal in surplus:
            if not _leaving(self.pods[ordinal]):
                plan.delete.append(self.pods[ordinal])
            if self.one_by_one:
                break
        return not surplus

    def roll(self, plan: StatefulPlan) -> None:
        """Replace the highest pod of another revision, once all above it are settled."""
        for ordinal in reversed(self.wanted):
            if ordinal < self.partition:
                return
            pod = self.pods.get(ordinal)
            if pod is not None and _hash(pod) != self.update:
                if not _leaving(pod) and pod not in plan.delete:
                    plan.delete.append(pod)
                return
            if not self.settled(ordinal):
                return


def plan_statefulset(owner: Object, pods: Iterable[Object], revisions: tuple[str, str], now: float) -> StatefulPlan:
    """The next writes; `revisions` are the hashes of the settled and of the wanted template."""
    one, plan = _Set(owner, pods, revisions, now), StatefulPlan()
    if not owner["metadata"].get("deletionTimestamp"):
        complete = one.fill(plan)
        if complete or not one.one_by_one:
            one.shrink(plan)
        if one.rolls and _may_roll(one, complete):
            one.roll(plan)
    plan.status = _status(owner, one)
    waits = [w for p in one.pods.values() if (w := available_in(p, one.min_ready_s, now))]
    plan.again_s = min(waits) + 0.05 if waits else None
    return plan


def _may_roll(one: _Set, complete: bool) -> bool:
    """An update goes on when all is well, or when what is not well is itself of another revision (a bad update)."""
    broken = [o for o in one.wanted if not one.settled(o)]
    stale = [o for o in broken if o in one.pods and o >= one.partition and _hash(one.pods[o]) != one.update]
    return complete or (bool(stale) and all(o in stale for o in broken))


def _leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _hash(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH, ""))


def _status(owner: Object, one: _Set) -> Object:
    alive = [p for p in one.pods.values() if not is_finished(p)]
    staying = [p for p in alive if not _leaving(p)]
    name, current = owner["metadata"]["name"], one.current
    updated = sum(1 for p in staying if _hash(p) == one.update)
    ready = sum(1 for p in alive if is_ready(p))
    if updated == ready == len(alive) == len(one.wanted) and one.partition <= one.wanted.start:
        current = one.update  # the update is done: it is the settled revision from now on
    counts = {
        "readyReplicas": ready,
        "currentReplicas": sum(1 for p in staying if _hash(p) == current),
        "updatedReplicas": updated,
        "collisionCount": int(owner.get("status", {}).get("collisionCount") or 0),
    }
    available = sum(1 for p in alive if is_available(p, one.min_ready_s, one.now))
    return {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "replicas": len(alive),
        "availableReplicas": available,
        "currentRevision": f"{name}-{current}",
        "updateRevision": f"{name}-{one.update}",
        **{key: count for key, count in counts.items() if count},
    }
