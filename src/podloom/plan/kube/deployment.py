"""The next step of a Deployment: which ReplicaSet to create, resize or delete.

The problem: a rollout must make progress from any state (paused half way, scaled half way, controller killed
between two writes) and never leave fewer than the allowed pods available or more than the allowed surge. So
nothing is remembered: each step is computed from the Deployment and its ReplicaSets alone, and is one of
"resize the new set", "resize old sets" or nothing.

Sources: Kubernetes "Deployments" page (strategy, maxSurge rounded up, maxUnavailable rounded down, proportional
scaling, revision annotations, progress deadline).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podloom.model.kube import DEPLOYMENTS, Object, owner_of, owner_reference
from podloom.plan.kube.pods import digest, without_empty

HASH = "pod-template-hash"
PREFIX = "deployment.kubernetes.io/"
REVISION = PREFIX + "revision"
HISTORY = PREFIX + "revision-history"
DESIRED = PREFIX + "desired-replicas"
MAXIMUM = PREFIX + "max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
}


@dataclass
class Rollout:
    """What to write now. `resize` maps a set's uid to its new size; `annotate` to annotations it lacks."""

    new: Object | None  # the existing set of the current template
    old: list[Object]
    create: Object | None = None
    resize: dict[str, int] = field(default_factory=dict)
    annotate: dict[str, dict[str, str]] = field(default_factory=dict)
    delete: list[Object] = field(default_factory=list)
    revision: str = ""

    @property
    def all(self) -> list[Object]:
        return [*self.old, self.new] if self.new else list(self.old)


def plan_deployment(deployment: Object, own: Iterable[Object], old_pods_run: bool) -> Rollout:
    """The next writes. `old_pods_run`: pods of older sets still exist and are not finished (Recreate waits)."""
    sets = sorted(own, key=_age)
    new = next((rs for rs in sets if _same_template(rs["spec"]["template"], deployment["spec"]["template"])), None)
    rollout = Rollout(new, [rs for rs in sets if rs is not new])
    spec = deployment["spec"]
    if deployment["metadata"].get("deletionTimestamp"):
        return rollout
    _plan_revision(deployment, rollout)
    if spec.get("paused") or _is_scaling(deployment, rollout):
        _plan_scaling(deployment, rollout)
    elif strategy(deployment) == "Recreate":
        _plan_recreate(deployment, rollout, old_pods_run)
    else:
        _plan_rolling(deployment, rollout)
    _plan_sizes_annotations(deployment, rollout)
    if not rollout.resize and rollout.create is None and _is_complete(deployment, rollout):
        rollout.delete = _history_surplus(deployment, rollout)
    return rollout


def strategy(deployment: Object) -> str:
    """RollingUpdate or Recreate."""
    return str((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate")


def replicas_of(obj: Object) -> int:
    """spec.replicas, 1 when absent."""
    count = obj["spec"].get("replicas")
    return 1 if count is None else int(count)


def limits(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: surge rounded up, unavailable down, never both 0."""
    replicas = replicas_of(deployment)
    if strategy(deployment) == "Recreate":
        return 0, replicas
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def scaled(value: int | str, of: int, *, up: bool) -> int:
    """An IntOrString as a count: `25%` of `of`, rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * of
        return -(-part // 100) if up else part // 100
    return int(value)


def _age(rs: Object) -> tuple[str, str]:
    return rs["metadata"].get("creationTimestamp", ""), rs["metadata"]["name"]


def _template_of(template: Object) -> Any:
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    return without_empty({**template, "metadata": {**meta, "labels": labels}})


def _same_template(one: Object, other: Object) -> bool:
    return bool(_template_of(one) == _template_of(other))


def _annotations(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def revision_of(obj: Object) -> int:
    """The revision annotation as a number, 0 when absent or wrong."""
    try:
        return int(_annotations(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def _plan_revision(deployment: Object, rollout: Rollout) -> None:
    """The new set's revision is one above all others'; a set brought back by undo moves up to that."""
    newest = max((revision_of(rs) for rs in rollout.old), default=0)
    if rollout.new is None:
        rollout.revision = str(newest + 1)
        return
    have = revision_of(rollout.new)
    wanted = {key: v for key, v in _annotations(deployment).items() if key not in _NOT_COPIED}
    if have <= newest:
        wanted[REVISION] = str(newest + 1)
        if have:
            history = _annotations(rollout.new).get(HISTORY)
            wanted[HISTORY] = f"{history},{have}" if history else str(have)
    rollout.revision = wanted.get(REVISION, str(have))
    _annotate(rollout, rollout.new, wanted)


def _annotate(rollout: Rollout, rs: Object, wanted: Mapping[str, str]) -> None:
    missing = {key: value for key, value in wanted.items() if _annotations(rs).get(key) != value}
    if missing:
        rollout.annotate.setdefault(rs["metadata"]["uid"], {}).update(missing)


def _plan_sizes_annotations(deployment: Object, rollout: Rollout) -> None:
    """Active sets say for which size they were last sized, so a later change of size is recognised as such."""
    surge, _ = limits(deployment)
    sizes = {DESIRED: str(replicas_of(deployment)), MAXIMUM: str(replicas_of(deployment) + surge)}
    for rs in rollout.all:
        if rollout.resize.get(rs["metadata"]["uid"], replicas_of(rs)) > 0 or rs is rollout.new:
            _annotate(rollout, rs, sizes)


def _is_scaling(deployment: Object, rollout: Rollout) -> bool:
    """Whether spec.replicas changed since the sets were last sized."""
    for rs in rollout.all:
        desired = _annotations(rs).get(DESIRED)
        if replicas_of(rs) > 0 and desired is not None and desired != str(replicas_of(deployment)):
            return True
    return False


def new_set(deployment: Object, size: int, revision: str) -> Object:
    """The ReplicaSet of the Deployment's current template; its name is a function of the template."""
    meta, spec = deployment["metadata"], deployment["spec"]
    collisions = deployment.get("status", {}).get("collisionCount") or 0
    name_hash = digest([_template_of(spec["template"]), collisions])
    template_meta = spec["template"].get("metadata") or {}
    labels = {**(template_meta.get("labels") or {}), HASH: name_hash}
    selector = dict(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: name_hash}
    surge, _ = limits(deployment)
    annotations = {key: value for key, value in _annotations(deployment).items() if key not in _NOT_COPIED}
    annotations[REVISION] = revision
    annotations[DESIRED] = str(replicas_of(deployment))
    annotations[MAXIMUM] = str(replicas_of(deployment) + surge)
    body = {
        "replicas": size,
        "selector": selector,
        "template": {**spec["template"], "metadata": {**template_meta, "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{name_hash}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner_reference(DEPLOYMENTS, deployment)],
        },
        "spec": body,
    }


def is_ours(deployment: Object, rs: Object) -> bool:
    """Whether a set met under the wanted name is this Deployment's with the same template (no hash collision)."""
    ref = owner_of(rs)
    ours = ref is not None and ref["uid"] == deployment["metadata"]["uid"]
    return ours and _same_template(rs["spec"]["template"], deployment["spec"]["template"])


def _total(sets: Iterable[Object]) -> int:
    return sum(replicas_of(rs) for rs in sets)


def _available(rs: Object) -> int:
    return int(rs.get("status", {}).get("availableReplicas") or 0)


def _set_size(rollout: Rollout, rs: Object, size: int) -> None:
    if size != replicas_of(rs):
        rollout.resize[rs["metadata"]["uid"]] = size


def _plan_rolling(deployment: Object, rollout: Rollout) -> None:
    """Grow the new set within the surge; when it cannot grow, shrink old ones within what may be unavailable."""
    replicas = replicas_of(deployment)
    surge, unavailable = limits(deployment)
    have = replicas_of(rollout.new) if rollout.new else 0
    room = max(0, replicas + surge - _total(rollout.all))
    size = replicas if have > replicas else have + min(room, replicas - have)
    if rollout.new is None:
        rollout.create = new_set(deployment, size, rollout.revision)
        return
    _set_size(rollout, rollout.new, size)
    if not rollout.resize:
        _shrink_old(rollout, rollout.new, replicas - unavailable)


def _shrink_old(rollout: Rollout, new: Object, least_available: int) -> None:
    not_ready_new = replicas_of(new) - _available(new)
    removable = _total(rollout.all) - least_available - not_ready_new
    if removable <= 0:
        return
    sizes = {rs["metadata"]["uid"]: replicas_of(rs) for rs in rollout.old}
    for rs in rollout.old:  # pods that do not serve go first: they cost nothing
        uid = rs["metadata"]["uid"]
        cut = min(removable, max(0, sizes[uid] - _available(rs)))
        sizes[uid] -= cut
        removable -= cut
    spare = min(removable, sum(_available(rs) for rs in rollout.all) - least_available)
    for rs in rollout.old:
        uid = rs["metadata"]["uid"]
        cut = min(max(0, spare), sizes[uid])
        sizes[uid] -= cut
        spare -= cut
    for rs in rollout.old:
        _set_size(rollout, rs, sizes[rs["metadata"]["uid"]])


def _plan_recreate(deployment: Object, rollout: Rollout, old_pods_run: bool) -> None:
    for rs in rollout.old:
        _set_size(rollout, rs, 0)
    if rollout.resize or old_pods_run:
        return
    if rollout.new is None:
        rollout.create = new_set(deployment, replicas_of(deployment), rollout.revision)
    else:
        _set_size(rollout, rollout.new, replicas_of(deployment))


def _plan_scaling(deployment: Object, rollout: Rollout) -> None:
    """Resize without rolling: one set takes all; several share in proportion to their sizes."""
    replicas = replicas_of(deployment)
    active = [rs for rs in rollout.all if replicas_of(rs) > 0]
    if len(active) <= 1:
        only = active[0] if active else (rollout.new or (rollout.old[-1] if rollout.old else None))
        if only is not None:
            _set_size(rollout, only, replicas)
        return
    new = rollout.new
    if new is not None and replicas_of(new) == replicas == _available(new):
        for rs in rollout.old:
            _set_size(rollout, rs, 0)
    elif strategy(deployment) == "RollingUpdate":
        _share(deployment, rollout, active)


def _share(deployment: Object, rollout: Rollout, active: list[Object]) -> None:
    replicas = replicas_of(deployment)
    surge, _ = limits(deployment)
    allowed = replicas + surge if replicas > 0 else 0
    to_add = allowed - _total(active)
    newest_first = to_add > 0
    by_age = sorted(active, key=_age, reverse=newest_first)
    order = sorted(by_age, key=replicas_of, reverse=True)
    sizes, added = {}, 0
    for rs in order:
        part = _fraction(rs, allowed, replicas + surge) if to_add else 0
        left = to_add - added
        part = max(0, min(part, left)) if to_add > 0 else min(0, max(part, left))
        sizes[rs["metadata"]["uid"]] = replicas_of(rs) + part
        added += part
    largest = order[0]["metadata"]["uid"]
    sizes[largest] = max(0, sizes[largest] + to_add - added)
    for rs in order:
        _set_size(rollout, rs, sizes[rs["metadata"]["uid"]])


def _fraction(rs: Object, allowed: int, most: int) -> int:
    """How much the set grows (or shrinks) when the whole goes from its annotated maximum to `most`."""
    if allowed == 0:
        return -replicas_of(rs)
    try:
        before = int(_annotations(rs).get(MAXIMUM, "0"))
    except ValueError:
        before = 0
    if before <= 0:
        return 0
    return (2 * replicas_of(rs) * most + before) // (2 * before) - replicas_of(rs)


def _is_complete(deployment: Object, rollout: Rollout) -> bool:
    new, replicas = rollout.new, replicas_of(deployment)
    if new is None or _total(rollout.old):
        return False
    status = new.get("status", {})
    return int(status.get("replicas") or 0) == replicas == _available(new)


def _history_surplus(deployment: Object, rollout: Rollout) -> list[Object]:
    """Old, empty sets beyond revisionHistoryLimit, oldest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    limit = 10 if limit is None else limit
    empty = [
        rs
        for rs in rollout.old
        if replicas_of(rs) == 0
        and not rs.get("status", {}).get("replicas")
        and rs.get("status", {}).get("observedGeneration", 0) >= rs["metadata"].get("generation", 0)
        and not rs["metadata"].get("deletionTimestamp")
    ]
    surplus = max(0, len(rollout.old) - limit)
    return sorted(empty, key=lambda rs: (revision_of(rs), _age(rs)))[:surplus]
