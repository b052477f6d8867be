"""The three patch formats, as pure functions on JSON values.

The problem: the API server in memory must answer patches as a real one does, so that tests of controllers mean
something. Merge patch is RFC 7386, JSON patch RFC 6902; strategic merge knows the merge keys of the lists our
doors patch (Kubernetes "Update API Objects in Place Using kubectl patch").
"""

from __future__ import annotations

import copy
from typing import Any

from podloom.drivers.kube.api import KubeError

_MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "ownerReferences": "uid",
    "addresses": "type",
    "imagePullSecrets": "name",
}


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null deletes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


def strategic(target: Any, patch: Any, field: str = "") -> Any:
    """Merge patch whose lists with a known merge key merge by that key; `$patch: delete` removes an entry."""
    if isinstance(patch, dict):
        if patch.get("$patch") == "replace":
            return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
        out = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if value is None:
                out.pop(key, None)
            elif not key.startswith("$"):
                out[key] = strategic(out.get(key), value, key)
        return out
    if isinstance(patch, list) and field == "finalizers":
        return list(dict.fromkeys([*(target or ()), *patch]))
    if isinstance(patch, list) and field in _MERGE_KEYS:
        return _merge_list(target or [], patch, _MERGE_KEYS[field])
    return copy.deepcopy(patch)


def _merge_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    out = list(target)
    for entry in patch:
        at = next((i for i, have in enumerate(out) if have.get(key) == entry.get(key)), None)
        if entry.get("$patch") == "delete":
            out = [have for have in out if have.get(key) != entry.get(key)]
        elif at is None:
            out.append(strategic({}, entry))
        else:
            out[at] = strategic(out[at], entry)
    return out


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902; raises KubeError 422 when a path or test does not hold."""
    out = copy.deepcopy(target)
    for op in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in op["path"].split("/")[1:]]
        try:
            out = _apply(out, op, parts)
        except (KeyError, IndexError, ValueError, TypeError) as e:
            raise KubeError(422, "Invalid", f"the server rejected our request: {op}: {e}") from e
    return out


def _apply(document: Any, op: dict[str, Any], parts: list[str]) -> Any:
    if op["op"] in ("move", "copy"):
        source = [p.replace("~1", "/").replace("~0", "~") for p in op["from"].split("/")[1:]]
        value = copy.deepcopy(_find(document, source))
        if op["op"] == "move":
            document = _apply(document, {"op": "remove"}, source)
        return _apply(document, {"op": "add", "value": value}, parts)
    if not parts:
        return copy.deepcopy(op.get("value"))
    parent, last = _find(document, parts[:-1]), parts[-1]
    if op["op"] == "test":
        if _find(document, parts) != op["value"]:
            raise ValueError("test failed")
    elif isinstance(parent, list):
        _apply_list(parent, op, last)
    elif op["op"] == "remove":
        del parent[last]
    elif op["op"] == "replace" and last not in parent:
        raise KeyError(last)
    else:
        parent[last] = copy.deepcopy(op["value"])
    return document


def _apply_list(parent: list[Any], op: dict[str, Any], last: str) -> None:
    at = len(parent) if last == "-" else int(last)
    if op["op"] == "remove":
        del parent[at]
    elif op["op"] == "add":
        parent.insert(at, copy.deepcopy(op["value"]))
    else:
        parent[at] = copy.deepcopy(op["value"])


def _find(document: Any, parts: list[str]) -> Any:
    for part in parts:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document
