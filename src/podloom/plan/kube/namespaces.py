"""What a namespace that cannot go yet says about why (core/v1 NamespaceStatus conditions)."""

from __future__ import annotations

from collections.abc import Mapping

from podloom.model.kube import Object
from podloom.plan.kube.pods import with_condition


def content_conditions(namespace: Object, remaining: Mapping[str, list[Object]], now: str) -> list[Object]:
    """The conditions of a terminating namespace in which `remaining` objects by resource are left."""
    held: dict[str, int] = {}
    for items in remaining.values():
        for item in items:
            for finalizer in item["metadata"].get("finalizers") or ():
                held[finalizer] = held.get(finalizer, 0) + 1
    listed = ", ".join(f"{name}. has {len(items)} resource instances" for name, items in sorted(remaining.items()))
    holders = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
    facts = (
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(listed),
            "SomeResourcesRemain" if listed else "ContentRemoved",
            f"Some resources are remaining: {listed}" if listed else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(holders),
            "SomeFinalizersRemain" if holders else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {holders}"
            if holders
            else "All content-preserving finalizers finished",
        ),
    )
    conditions = list(namespace.get("status", {}).get("conditions") or ())
    for kind, holds, reason, message in facts:
        new = {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}
        conditions = with_condition(conditions, new, now)
    return conditions
