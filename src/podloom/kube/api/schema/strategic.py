"""Strategic merge patch: merge patch that knows how lists merge.

The problem: kubectl edit, set and older apply send patches in which lists of containers, ports or volumes merge
by key, with directives ($patch, $retainKeys, $setElementOrder/x, $deleteFromPrimitiveList/x). The rules are those of
apimachinery's util/strategicpatch; the merge keys come from the schema (x-kubernetes-patch-strategy and -merge-key).
"""

from __future__ import annotations

from typing import Any

from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.nodes import ANY, Field, Node

_DELETE_FROM = "$deleteFromPrimitiveList/"
_SET_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"
_PATCH = "$patch"


class StrategicError(Exception):
    """The patch does not work; code is the HTTP status (400 for a malformed patch, else 500)."""

    def __init__(self, message: str, code: int = 500) -> None:
        super().__init__(message)
        self.code = code


def strategic_merge(node: Node, original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """original after patch; neither is mutated."""
    return _merge_map(node, clone(original), clone(patch))


def _merge_map(node: Node, original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if _PATCH in patch:
        return _directive(patch)
    _retain_keys(original, patch)
    _set_element_order(node, original, patch)
    for key, value in patch.items():
        if key.startswith(_SET_ORDER):
            continue
        deleting = key.startswith(_DELETE_FROM)
        name = key[len(_DELETE_FROM) :] if deleting else key
        if value is None:
            original.pop(name, None)
            continue
        current = original.get(name)
        if type(current) is not type(value):
            if not deleting:
                original[name] = _without_directives(value)
        elif isinstance(value, dict):
            original[name] = _merge_value(node, name, current, value)
        elif isinstance(value, list):
            field, item = _list_field(node, name)
            original[name] = _merge_list(field, item, current, value, deleting)
        else:
            original[name] = value
    return original


def _directive(patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch[_PATCH]
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _PATCH}
    if directive == "delete":
        return {}
    raise StrategicError(f"unknown patch type: {directive} in map: {go_map(patch)}")


def _merge_value(node: Node, name: str, current: Any, value: dict[str, Any]) -> Any:
    field = node.fields.get(name)
    if field is not None and "replace" in field.patch_strategy:
        return value
    return _merge_map(node.child(name) or ANY, current, value)


def _list_field(node: Node, name: str) -> tuple[Field | None, Node]:
    field = node.fields.get(name)
    item = field.node.item if field is not None else None
    return field, item or ANY


def _without_directives(value: Any) -> Any:
    """A part new to the object: no directives, no nulls."""
    if isinstance(value, dict):
        return {
            key: _without_directives(part)
            for key, part in value.items()
            if part is not None and not key.startswith((_DELETE_FROM, _SET_ORDER)) and key not in {_PATCH, _RETAIN}
        }
    if isinstance(value, list):
        return [
            _without_directives(part)
            for part in value
            if not (isinstance(part, dict) and part.get(_PATCH) in ("delete", "replace"))
        ]
    return value


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    if _RETAIN not in patch:
        return
    keys = patch.pop(_RETAIN)
    if not isinstance(keys, list):
        raise StrategicError("invalid patch format of retainKeys", 400)
    for key, value in patch.items():
        if value is not None and not key.startswith((_DELETE_FROM, _SET_ORDER)) and key not in keys:
            raise StrategicError("invalid patch format of retainKeys", 400)
    for key in [key for key in original if key not in keys]:
        del original[key]


# -- lists -------------------------------------------------------------------------------------------------


def _merge_list(field: Field | None, item: Node, original: Any, patch: list[Any], deleting: bool = False) -> list[Any]:
    if field is None or "merge" not in field.patch_strategy:
        return patch
    if not original and not patch:
        return list(original)
    sample = original[0] if original else patch[0]
    key = field.merge_key
    if not isinstance(sample, dict):
        if deleting:
            return [value for value in original if value not in patch]
        merged = list({_hashable(value): value for value in [*original, *patch]}.values())
        key = ""
    else:
        if not key:
            raise StrategicError(f"cannot merge lists without merge key for {field.name}")
        original, patch = _special_elements(original, patch, key)
        merged = _merge_items(item, list(original), patch, key)
    return _ordered(merged, patch, original, key)


def _special_elements(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    plain = []
    replace = False
    for element in patch:
        if not isinstance(element, dict):
            raise StrategicError("list element types are not identical", 422)
        directive = element.get(_PATCH)
        if directive is None:
            plain.append(element)
        elif directive == "delete":
            wanted = _key_of(element, key)
            original = [entry for entry in original if not isinstance(entry, dict) or entry.get(key) != wanted]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise StrategicError("merging lists cannot yet be specified in the patch")
        else:
            raise StrategicError(f"unknown patch type: {directive} in map: {go_map(element)}")
    return (plain, []) if replace else (original, plain)


def _key_of(element: dict[str, Any], key: str) -> Any:
    if key not in element:
        raise StrategicError(f"map: {go_map(element)} does not contain declared merge key: {key}")
    return element[key]


def _merge_items(item: Node, merged: list[Any], patch: list[Any], key: str) -> list[Any]:
    places: dict[Any, int] = {}
    for index, entry in enumerate(merged):
        places.setdefault(_hashable(entry.get(key)) if isinstance(entry, dict) else index, index)
    for element in patch:
        wanted = _hashable(_key_of(element, key))
        at = places.get(wanted)
        if at is None:
            places[wanted] = len(merged)
            merged.append(_without_directives(element))
        else:
            merged[at] = _merge_map(item, merged[at], element)
    return merged


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, (dict, list)) else value


def _ordered(items: list[Any], patch_order: list[Any], server_order: list[Any], key: str) -> list[Any]:
    """Items of the patch in its order, the server's others where they stood relative to them."""

    def identity(value: Any) -> Any:
        return _hashable(value.get(key) if key and isinstance(value, dict) else value)

    def places(order: list[Any]) -> dict[Any, int]:
        out: dict[Any, int] = {}
        for index, entry in enumerate(order):
            out.setdefault(identity(entry), index)
        return out

    in_patch, in_server = places(patch_order), places(server_order)
    patched = [i for i in items if identity(i) in in_patch]
    patched.sort(key=lambda i: in_patch[identity(i)])
    server = [i for i in items if identity(i) not in in_patch]
    server.sort(key=lambda i: in_server.get(identity(i), -1))
    out: list[Any] = []
    left = right = 0
    while left < len(server) and right < len(patched):
        a, b = in_server.get(identity(server[left]), -1), in_server.get(identity(patched[right]), -1)
        if 0 <= a < b:
            out.append(server[left])
            left += 1
        else:
            out.append(patched[right])
            right += 1
    return out + server[left:] + patched[right:]


def _set_element_order(node: Node, original: dict[str, Any], patch: dict[str, Any]) -> None:
    """Merge the lists that come with an order, and put them in it; they leave the patch."""
    for directive in [key for key in patch if key.startswith(_SET_ORDER)]:
        order = patch.pop(directive)
        name = directive[len(_SET_ORDER) :]
        if not isinstance(order, list):
            raise StrategicError("invalid patch format of setElementOrder list", 400)
        field, item = _list_field(node, name)
        current, change = original.get(name), patch.get(name)
        if not isinstance(current, list) and not isinstance(change, list):
            continue
        if isinstance(change, list):
            del patch[name]
        if not isinstance(current, list):
            merged = _without_directives(change)
        elif isinstance(change, list):
            merged = _merge_list(field, item, current, change)
        else:
            merged = current
        sample = merged[0] if merged else None
        key = field.merge_key if field is not None and isinstance(sample, dict) else ""
        original[name] = _ordered(merged, order, current or [], key)


# -- Go's way of printing ----------------------------------------------------------------------------------


def go_map(value: Any) -> str:
    """A value as fmt's %v prints it: map[a:1 b:[x y]]."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_map(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_map(part) for part in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
