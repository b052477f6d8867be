"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386), pure.

Both return a new value and leave their inputs alone; what is unchanged is shared, so callers must not mutate
the result's parts in place without copying.
"""

from __future__ import annotations

import re
from typing import Any

from podloom.kube.api.schema.clone import clone

_INDEX = re.compile(r"0|[1-9][0-9]*")


class PatchError(Exception):
    """An operation that cannot be carried out on this document."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386 MergePatch(target, patch)."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


def json_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902: the document after all operations; raises PatchError at the first that fails."""
    document = clone(document)
    for operation in operations:
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    op = operation.get("op")
    path = _pointer(operation, "path")
    if op == "add":
        return _add(document, path, _operand(operation))
    if op == "remove":
        return _remove(document, path)[0]
    if op == "replace":
        _get(document, path)
        return _replace(document, path, _operand(operation))
    if op == "test":
        if not _same(_get(document, path), _operand(operation)):
            raise PatchError(f"testing value {operation['path']} failed")
        return document
    if op in {"move", "copy"}:
        return _transfer(document, operation, path)
    raise PatchError(f"Unexpected kind: {op}")


def _operand(operation: dict[str, Any]) -> Any:
    if "value" not in operation and operation.get("op") != "test":
        raise PatchError("missing value")
    return clone(operation.get("value"))


def _transfer(document: Any, operation: dict[str, Any], path: list[str]) -> Any:
    source = _pointer(operation, "from")
    if operation["op"] == "copy":
        return _add(document, path, clone(_get(document, source)))
    if path[: len(source)] == source and len(path) > len(source):
        raise PatchError("move into a part of itself")
    document, value = _remove(document, source)
    return _add(document, path, value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"bad {name}: {text}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        document = _step(document, part)
    return document


def _step(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        if part not in value:
            raise PatchError(f"no such key: {part}")
        return value[part]
    if isinstance(value, list):
        return value[_index(value, part, len(value) - 1)]
    raise PatchError(f"no such path: {part}")


def _index(value: list[Any], part: str, limit: int) -> int:
    if not _INDEX.fullmatch(part) or int(part) > limit:
        raise PatchError(f"bad index: {part}")
    return int(part)


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    last = path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, len(parent)), value)
    else:
        raise PatchError(f"no such path: {last}")
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent[_index(parent, path[-1], len(parent) - 1)] = value
    else:
        parent[path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        raise PatchError("cannot remove the whole document")
    parent = _get(document, path[:-1])
    value = _step(parent, path[-1])
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return document, value
