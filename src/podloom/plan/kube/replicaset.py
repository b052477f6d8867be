"""How many pods a ReplicaSet lacks, which of its pods are too many, and what its status says.

Sources: Kubernetes "ReplicaSet" page; apps/v1 ReplicaSetStatus. Pods are adopted and released by the selector
("Non-template Pod acquisitions").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podloom.model.kube import Object
from podloom.plan.kube.claims import claim
from podloom.plan.kube.pods import available_in, deletion_order, is_active, is_finished, is_ready

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
    spec, claims = rs["spec"], claim(rs, pods)
    leaving = bool(rs["metadata"].get("deletionTimestamp"))
    active = [pod for pod in [*claims.own, *claims.adopt] if is_active(pod)]
    wanted = spec.get("replicas", 1)
    surplus = 0 if leaving else max(0, len(active) - wanted)
    missing = 0 if leaving else max(0, wanted - len(active))
    status, again_s = _status(rs, active, now)
    going = [pod for pod in claims.own if pod["metadata"].get("deletionTimestamp") and not is_finished(pod)]
    status["terminatingReplicas"] = len(going)
    return ReplicaPlan(
        create=min(missing, _BURST),
        delete=tuple(deletion_order(active)[: min(surplus, _BURST)]),
        adopt=tuple(pod for pod in claims.adopt if is_active(pod)),
        release=tuple(claims.release),
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


def failure_condition(message: str) -> Object:
    """The ReplicaFailure condition of a set whose pods the server refuses to create."""
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
