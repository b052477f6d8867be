"""Which objects belong to a controller: owned and selected, to be adopted, to be let go.

Sources: Kubernetes "ReplicaSet" page ("Non-template Pod acquisitions"); the same rule for all workload kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from podloom.model.kube import Object, Resource, owner_of, owner_reference
from podloom.model.kubeselector import from_label_selector


@dataclass
class Claims:
    """`own` are owned and selected; `adopt` selected orphans; `release` owned but no longer selected."""

    own: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def claim(owner: Object, objects: Iterable[Object]) -> Claims:
    """Sort the namespace's objects by what `owner`'s spec.selector and their owner references say."""
    uid, selector = owner["metadata"]["uid"], from_label_selector(owner["spec"]["selector"])
    leaving, claims = bool(owner["metadata"].get("deletionTimestamp")), Claims()
    for obj in objects:
        ref, going = owner_of(obj), bool(obj["metadata"].get("deletionTimestamp"))
        matches = selector is not None and selector.matches(obj["metadata"].get("labels"))
        if ref and ref["uid"] == uid:
            if matches or going:
                claims.own.append(obj)
            else:
                claims.release.append(obj)
        elif not ref and matches and not going and not leaving:
            claims.adopt.append(obj)
    return claims


def adoption(res: Resource, owner: Object, obj: Object) -> Object:
    """The merge patch that makes `obj` the owner's; the uid guards against a namesake."""
    refs = [*(obj["metadata"].get("ownerReferences") or ()), owner_reference(res, owner)]
    return {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": refs}}


def disowning(owner_uid: str, obj: Object) -> Object:
    """The merge patch that removes the owner from `obj`."""
    refs = obj["metadata"].get("ownerReferences") or ()
    kept = [ref for ref in refs if ref["uid"] != owner_uid]
    return {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": kept or None}}
