"""What the garbage collector does with one object, given what is known of its owners and dependents.

Sources: Kubernetes "Garbage Collection" and "Owners and Dependents" (foreground, background, orphan;
blockOwnerDeletion; namespaced owners must be in the same namespace).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podloom.model.kube import Object

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(frozen=True)
class OwnerState:
    """What is known of one owner reference: `exists`, and `waiting` for its dependents' deletion."""

    exists: bool
    waiting: bool = False


@dataclass(frozen=True)
class Verdict:
    """`delete` is a propagation policy or empty; `keep_refs` is the new ownerReferences when they change."""

    delete: str = ""
    keep_refs: list[Object] | None = None


def judge(obj: Object, owners: Mapping[str, OwnerState], has_dependents: bool) -> Verdict:
    """What follows from the object's owners, by uid: nothing while one lives, else deletion."""
    meta = obj["metadata"]
    refs = list(meta.get("ownerReferences") or ())
    if not refs or meta.get("deletionTimestamp"):
        return Verdict()
    solid = [r for r in refs if owners[r["uid"]].exists and not owners[r["uid"]].waiting]
    waiting = [r for r in refs if owners[r["uid"]].exists and owners[r["uid"]].waiting]
    if solid:
        return Verdict(keep_refs=solid) if len(solid) < len(refs) else Verdict()
    finalizers = meta.get("finalizers") or ()
    if waiting and has_dependents:
        return Verdict("Foreground")
    if ORPHAN in finalizers:
        return Verdict("Orphan")
    return Verdict("Foreground" if FOREGROUND in finalizers else "Background")


def blocks(dependent: Object, owner_uid: str) -> bool:
    """Whether the dependent holds up its owner's foreground deletion."""
    refs = dependent["metadata"].get("ownerReferences") or ()
    return any(ref["uid"] == owner_uid and ref.get("blockOwnerDeletion") for ref in refs)


def without_finalizer(obj: Object, name: str) -> Object:
    """The merge patch that removes one finalizer from the version read."""
    meta = obj["metadata"]
    left = [f for f in meta.get("finalizers") or () if f != name]
    return {"metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"], "finalizers": left or None}}


def owner_uids(obj: Object) -> Iterable[str]:
    """The uids of all owners."""
    return [ref["uid"] for ref in obj["metadata"].get("ownerReferences") or ()]
