"""ARM JSON: error bodies, merge patches, and the two views a resource has.

The problem: a resource is one document to its readers but has two authors: the user owns the wish, the system owns
what became of it. So both are kept apart and joined only here (`overlay`), a wish that repeats what the system said
is cleaned of it (`without`), and lists of named things (subnets, ipConfigurations, agentPoolProfiles) join by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from podloom.model.findings import Finding

Json = dict[str, Any]


def error_body(findings: Sequence[Finding]) -> Json:
    """ARM's error document with every finding in `details`; code and message on top are the first one's.

    The first alone is what the real service says, so scripts that compare error.code keep working.
    """
    first = findings[0]
    error: Json = {"code": first.code, "message": first.message}
    if first.target:
        error["target"] = first.target
    error["details"] = [_detail(finding) for finding in findings]
    return {"error": error}


def _detail(finding: Finding) -> Json:
    detail: Json = {"code": finding.code, "message": finding.message}
    if finding.target:
        detail["target"] = finding.target
    info = {"requirement": finding.requirement, "fix": finding.fix}
    info = {key: value for key, value in info.items() if value}
    if info:
        detail["additionalInfo"] = [{"type": "Podloom.Finding", "info": info}]
    return detail


def overlay(wish: Any, said: Any) -> Any:
    """`wish` with what the system said over it; a dict said over a list of named objects joins by name."""
    if isinstance(said, dict):
        if isinstance(wish, list):
            return [overlay(item, said[name]) if (name := _name(item)) in said else item for item in wish]
        base = wish if isinstance(wish, dict) else {}
        return {**base, **{key: overlay(base.get(key), value) for key, value in said.items()}}
    return said


def without(wish: Any, said: Any, before: Any = None) -> Any:
    """`wish` without the fields the system owns (those in `said`): what a client sent back unchanged.

    An object that holds nothing else goes too, unless the earlier wish `before` had it.
    """
    if not isinstance(said, dict):
        return wish
    if isinstance(wish, list):
        old = {_name(item): item for item in before} if isinstance(before, list) else {}
        return [without(item, said[name], old.get(name)) if (name := _name(item)) in said else item for item in wish]
    if not isinstance(wish, dict):
        return wish
    earlier = before if isinstance(before, dict) else {}
    kept = {}
    for key, value in wish.items():
        if key not in said:
            kept[key] = value
        elif isinstance(said[key], dict) and isinstance(value, dict | list):
            rest = without(value, said[key], earlier.get(key))
            if rest or key in earlier:
                kept[key] = rest
    return kept


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): null removes, objects merge, all else replaces. Never changes `target`."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def named(items: Iterable[Json]) -> dict[str, Json]:
    """Named objects by name: how reports about list members are stored."""
    return {str(item["name"]): {key: value for key, value in item.items() if key != "name"} for item in items}


def is_named_list(value: Any) -> bool:
    """Whether `value` is a non-empty list of objects that each have a name."""
    return isinstance(value, list) and bool(value) and all(_name(item) is not None for item in value)


def pick(value: Any, *path: str, default: Any = None) -> Any:
    """The value at `path` inside nested objects; `default` when any step is missing or null."""
    for step in path:
        if not isinstance(value, dict):
            return default
        value = value.get(step)
    return default if value is None else value


def _name(item: Any) -> str | None:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else None
