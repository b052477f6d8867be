"""What a Deployment's status says: counts, Available, Progressing with its deadline.

`kubectl rollout status` and `kubectl wait` read exactly this (apps/v1 DeploymentStatus; "Deployment status" on the
Kubernetes "Deployments" page). lastUpdateTime of Progressing is the time of the last progress: the deadline counts
from there, also across restarts of the controller.
"""

from __future__ import annotations

from collections.abc import Iterable

from podloom.model.kube import Object
from podloom.plan.kube.deployment import Rollout, limits, replicas_of
from podloom.plan.kube.pods import condition, with_condition
from podloom.plan.kube.times import format_time, parse_time

_NO_DEADLINE = 2**31 - 1


def plan_status(deployment: Object, rollout: Rollout, now: float) -> tuple[Object, float | None]:
    """(new status, seconds until the progress deadline has to be judged again)."""
    status = _counts(deployment, rollout)
    conditions = list(deployment.get("status", {}).get("conditions") or ())
    conditions = with_condition(conditions, _available_condition(deployment, status, now), format_time(now))
    conditions, again_s = _progressing(deployment, rollout, {**status, "conditions": conditions}, now)
    failures = [condition(rs, "ReplicaFailure") for rs in rollout.all]
    conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
    conditions += [c for c in failures if c][:1]
    status["conditions"] = conditions
    return status, again_s


def _sum(sets: Iterable[Object], name: str) -> int:
    return sum(int(rs.get("status", {}).get(name) or 0) for rs in sets)


def _counts(deployment: Object, rollout: Rollout) -> Object:
    available = _sum(rollout.all, "availableReplicas")
    total = sum(replicas_of(rs) for rs in rollout.all)
    counts = {
        "replicas": _sum(rollout.all, "replicas"),
        "updatedReplicas": _sum([rollout.new] if rollout.new else [], "replicas"),
        "readyReplicas": _sum(rollout.all, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total - available),
        "collisionCount": int(deployment.get("status", {}).get("collisionCount") or 0),
    }
    status: Object = {name: count for name, count in counts.items() if count}
    status["terminatingReplicas"] = _sum(rollout.all, "terminatingReplicas")
    status["observedGeneration"] = deployment["metadata"].get("generation", 1)
    return status


def _available_condition(deployment: Object, status: Object, now: float) -> Object:
    _, unavailable = limits(deployment)
    enough = status.get("availableReplicas", 0) >= replicas_of(deployment) - unavailable
    return {
        "type": "Available",
        "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        "lastUpdateTime": format_time(now),
    }


def is_complete(deployment: Object, status: Object) -> bool:
    """All replicas are of the new template and available, and no others are left."""
    wanted = replicas_of(deployment)
    return all(status.get(name, 0) == wanted for name in ("updatedReplicas", "replicas", "availableReplicas"))


def _moved(old: Object, new: Object) -> bool:
    """Whether the counts show progress: more updated, ready or available, or fewer old ones."""
    grew = any(new.get(n, 0) > old.get(n, 0) for n in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    older = [s.get("replicas", 0) - s.get("updatedReplicas", 0) for s in (old, new)]
    return grew or older[1] < older[0]


def _progressing(deployment: Object, rollout: Rollout, status: Object, now: float) -> tuple[list[Object], float | None]:
    conditions, spec = status["conditions"], deployment["spec"]
    deadline_s = spec.get("progressDeadlineSeconds")
    deadline_s = 600 if deadline_s is None else deadline_s
    old = condition(deployment, "Progressing")
    if deadline_s >= _NO_DEADLINE:
        return [c for c in conditions if c["type"] != "Progressing"], None
    if spec.get("paused"):
        return _with(conditions, "Unknown", "DeploymentPaused", "Deployment is paused", now), None
    if old.get("reason") == "DeploymentPaused":
        return _with(conditions, "Unknown", "DeploymentResumed", "Deployment is resumed", now), 0.01
    if rollout.new is None:
        if rollout.create is not None:
            name = rollout.create["metadata"]["name"]
            conditions = _with(conditions, "True", "NewReplicaSetCreated", f'Created new replica set "{name}"', now)
        return conditions, 1.0
    name = rollout.new["metadata"]["name"]
    before = deployment.get("status", {})
    if is_complete(deployment, status):
        text = f'ReplicaSet "{name}" has successfully progressed.'
        if old.get("reason") == "NewReplicaSetAvailable" and old.get("message") == text:
            return conditions, None
        return _with(conditions, "True", "NewReplicaSetAvailable", text, now), None
    settled = old.get("reason") == "NewReplicaSetAvailable" and f'"{name}"' in old.get("message", "")
    if not old or _moved(before, status) or (old.get("reason") == "NewReplicaSetAvailable" and not settled):
        text = f'ReplicaSet "{name}" is progressing.'
        return _with(conditions, "True", "ReplicaSetUpdated", text, now), deadline_s + 0.1
    if settled:  # a finished rollout that lost a pod is not a rollout again
        return conditions, None
    left_s = parse_time(old.get("lastUpdateTime")) + deadline_s - now
    if left_s > 0 or old.get("reason") == "ProgressDeadlineExceeded":
        return conditions, left_s + 0.1 if left_s > 0 else None
    text = f'ReplicaSet "{name}" has timed out progressing.'
    return _with(conditions, "False", "ProgressDeadlineExceeded", text, now), None


def _with(conditions: list[Object], status: str, reason: str, message: str, now: float) -> list[Object]:
    """Progressing with lastUpdateTime now, also when it says the same as before."""
    new = {"type": "Progressing", "status": status, "reason": reason, "message": message}
    changed = with_condition(conditions, new, format_time(now))
    return [{**c, "lastUpdateTime": format_time(now)} if c["type"] == "Progressing" else c for c in changed]
