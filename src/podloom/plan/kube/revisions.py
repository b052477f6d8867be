"""ControllerRevisions: the history of a DaemonSet's or StatefulSet's template.

`kubectl rollout history` and `undo` read them (apps/v1 ControllerRevision): data is a patch that restores the
template; the newest revision number is the current one; an undo moves an old revision to the top.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podloom.model.kube import Object, Resource, owner_reference
from podloom.plan.kube.pods import digest, without_empty

_CHANGE_CAUSE = "kubernetes.io/change-cause"


@dataclass(frozen=True)
class RevisionPlan:
    """`hash` labels pods of the current template; `create` or `renumber` (revision, number) make it current."""

    name: str
    hash: str
    create: Object | None
    renumber: tuple[Object, int] | None
    delete: tuple[Object, ...]


def revision_data(owner: Object) -> Object:
    """The patch a revision stores."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def _hash_of(revision: Object, label: str) -> str:
    meta = revision["metadata"]
    return str((meta.get("labels") or {}).get(label) or meta["name"])


def plan_revision(
    res: Resource, owner: Object, own: Iterable[Object], label: str, used: Iterable[str] = ()
) -> RevisionPlan:
    """The current revision of `owner` among its own; `used` are hashes pods still carry, whose revisions stay."""
    revisions = sorted(own, key=lambda r: (int(r.get("revision") or 0), str(r["metadata"]["name"])))
    data = revision_data(owner)
    plain = without_empty(data)
    newest = int(revisions[-1].get("revision") or 0) if revisions else 0
    current = next((r for r in reversed(revisions) if without_empty(r.get("data")) == plain), None)
    limit = owner["spec"].get("revisionHistoryLimit")
    keep = {*used, *([_hash_of(current, label)] if current else [])}
    old = [r for r in revisions if _hash_of(r, label) not in keep]
    surplus = tuple(old[: max(0, len(old) - (10 if limit is None else limit))])
    if current is not None:
        number = int(current.get("revision") or 0)
        renumber = None if number == newest else (current, newest + 1)
        return RevisionPlan(current["metadata"]["name"], _hash_of(current, label), None, renumber, surplus)
    meta, collisions = owner["metadata"], owner.get("status", {}).get("collisionCount") or 0
    name_hash = digest([data, collisions])
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k == _CHANGE_CAUSE}
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    body: Object = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta['name']}-{name_hash}",
            "namespace": meta["namespace"],
            "labels": {**labels, label: name_hash},
            "ownerReferences": [owner_reference(res, owner)],
            **({"annotations": annotations} if annotations else {}),
        },
        "data": data,
        "revision": newest + 1,
    }
    return RevisionPlan(body["metadata"]["name"], name_hash, body, None, surplus)
