"""How many pods a ReplicaSet lacks, which of its pods are too many, and what its status says.

Sources: Kubernetes "ReplicaSet" page; apps/v1 ReplicaSetStatus. Pods are adopted and released by the selector
("Non-template Pod acquisitions").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podloom.model.kube import REPLICASETS, Object, owner_of, owner_reference
from podloom.model.kubeselector import from_label_selector
from podloom.plan.kube.pods import available_in, deletion_order, is_active, is_ready

_BURST = 200


@dataclass(frozen=True)
class ReplicaPlan:
    """What to do: `create` pods are missing, `delete`, `adopt` and `release` name pods; `status` is the new one."""

    create: int
    delete: tuple[Object, ...]
    adopt: tuple[Object, ...]
    release: tuple[Object, ...]
    status: Object
    again_s: float | None


def plan_replicaset(rs: Object, pods: Iterable[Object], now: float) -> ReplicaPlan:
    """The next steps of a ReplicaSet given the pods of its namespace that it owns or whose labels match."""
    uid, spec = rs["metadata"]["uid"], rs["spec"]
    selector = from_label_selector(spec["selector"])
    own: list[Object] = []
    adopt: list[Object] = []
    release: list[Object] = []
    leaving = bool(rs["metadata"].get("deletionTimestamp"))
    for pod in pods:
        ref = owner_of(pod)
        matches = selector is not None and selector.matches(pod["metadata"].get("labels"))
        if ref and ref["uid"] == uid:
            (own if matches else release).append(pod)
        elif not ref and matches and is_active(pod) and not leaving:
            adopt.append(pod)
    active = [pod for pod in [*own, *adopt] if is_active(pod)]
    wanted = spec.get("replicas", 1)
    surplus = 0 if leaving else max(0, len(active) - wanted)
    missing = 0 if leaving else max(0, wanted - len(active))
    status, again_s = _status(rs, active, now)
    return ReplicaPlan(
        create=min(missing, _BURST),
        delete=tuple(deletion_order(active)[: min(surplus, _BURST)]),
        adopt=tuple(adopt),
        release=tuple(pod for pod in release if not pod["metadata"].get("deletionTimestamp")),
        status=status,
        again_s=again_s,
    )


def _status(rs: Object, active: list[Object], now: float) -> tuple[Object, float | None]:
    spec = rs["spec"]
    template = (spec["template"].get("metadata") or {}).get("labels") or {}
    min_ready_s = spec.get("minReadySeconds", 0)
    waits = [available_in(pod, min_ready_s, now) for pod in active]
    later = [wait for wait in waits if wait]
    labelled = sum(1 for pod in active if template.items() <= (pod["metadata"].get("labels") or {}).items())
    counts = {
        "fullyLabeledReplicas": labelled,
        "readyReplicas": sum(1 for pod in active if is_ready(pod)),
        "availableReplicas": sum(1 for wait in waits if wait == 0.0),
    }
    status: Object = {"replicas": len(active), **{name: count for name, count in counts.items() if count}}
    status["observedGeneration"] = rs["metadata"].get("generation", 1)
    if conditions := rs.get("status", {}).get("conditions"):
        status["conditions"] = conditions
    return status, min(later) + 0.05 if later else None


def adoption(rs: Object, pod: Object) -> Object:
    """The merge patch that makes the pod this ReplicaSet's; the uid guards against a namesake."""
    refs = [*(pod["metadata"].get("ownerReferences") or ()), owner_reference(REPLICASETS, rs)]
    return {"metadata": {"uid": pod["metadata"]["uid"], "ownerReferences": refs}}


def disowning(owner: Object, pod: Object) -> Object:
    """The merge patch that lets the pod go."""
    refs = pod["metadata"].get("ownerReferences") or ()
    kept = [ref for ref in refs if ref["uid"] != owner["metadata"]["uid"]]
    return {"metadata": {"uid": pod["metadata"]["uid"], "ownerReferences": kept or None}}
