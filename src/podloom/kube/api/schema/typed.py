"""Structured merge: objects compared, merged and cut along their schema.

The problem: server-side apply and managed fields speak of fields, list items by key and set members, where JSON
has nested dicts and lists. These functions walk values along their `Node` as structured-merge-diff does
(kubernetes-sigs/structured-merge-diff: typed/{compare,merge,remove,tofieldset,validate}.go describe the rules):
maps and structs part by part, lists by their relation, atomic values as one leaf.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podloom.kube.api.schema.fieldset import Trie, is_member, key_element, path_text, value_element
from podloom.kube.api.schema.nodes import ANY, Node, key_default

Changes = tuple[Trie | None, Trie | None]  # removed; modified or added
_NOTHING: Changes = (None, None)
_MISSING = object()


def shape(node: Node, value: Any) -> str:
    """How a value is walked: map, list (by relation) or leaf (atomic values and scalars)."""
    kind = node.kind
    if kind in {"struct", "map"}:
        return "leaf" if node.atomic else "map"
    if kind == "list":
        return "leaf" if node.relation == "atomic" else "list"
    if kind == "any" and type(value) is dict:
        return "map"
    return "leaf"


def item_element(node: Node, item: Any, index: int) -> str:
    """The path element of an item of a list with relation set or map."""
    if node.relation == "set":
        return value_element(item)
    if not isinstance(item, dict):
        return f"i:{index}"
    keys = {}
    for key in node.keys:
        value = item.get(key)
        if value is None and node.item is not None:
            value = key_default(node.item, key)
        if value is not None:
            keys[key] = value
    return key_element(keys) if keys else f"i:{index}"


def index_items(node: Node, items: Iterable[Any]) -> dict[str, list[Any]]:
    """Items by path element; duplicates share one."""
    out: dict[str, list[Any]] = {}
    for index, item in enumerate(items):
        out.setdefault(item_element(node, item, index), []).append(item)
    return out


# -- sets of a value ---------------------------------------------------------------------------------------


def all_paths(node: Node, value: Any) -> Trie:
    """Every path at and below value, containers included: what is new when value is added."""
    what = shape(node, value)
    if what == "map" and type(value) is dict and value:
        out: Trie = {".": {}}
        for key, part in value.items():
            out["f:" + key] = all_paths(node.child(key) or ANY, part)
        return out
    if what == "list" and type(value) is list and value:
        out = {".": {}}
        item_node = node.item or ANY
        for element, items in index_items(node, value).items():
            out[element] = all_paths(item_node, items[0]) if len(items) == 1 else {}
        return out
    return {}


def field_set(node: Node, value: Any) -> Trie:
    """The set of fields an applied configuration owns (ToFieldSet); the root of a set."""
    out: Trie = {}
    what = shape(node, value)
    if what == "map" and type(value) is dict:
        for key, part in value.items():
            below = field_set(node.child(key) or ANY, part)
            leaf = part is None or part == {} or key not in node.fields
            if leaf or shape(node.child(key) or ANY, part) == "leaf":
                out["f:" + key] = {".": {}, **below} if below else {}
            elif below:
                out["f:" + key] = below
    elif what == "list" and type(value) is list:
        for element, items in index_items(node, value).items():
            below = field_set(node.item or ANY, items[0]) if len(items) == 1 else {}
            out[element] = {".": {}, **below} if below else {}
    return out


# -- compare -----------------------------------------------------------------------------------------------


def compare(node: Node, old: Any, new: Any) -> Changes:
    """What an update removes, and what it modifies or adds, below (and at) one path."""
    if old is new or (old == new and type(old) is type(new)):
        return _NOTHING
    what = shape(node, new)
    if what != shape(node, old) and node.kind == "any":
        return _retyped(node, old, new)
    if what == "map" and (old or new) and _are(dict, old, new):
        return _compare_maps(node, old or {}, new or {})
    if what == "list" and (old or new) and _are(list, old, new):
        return _compare_lists(node, old or [], new or [])
    return None, {}


def _are(kind: type, *values: Any) -> bool:
    return all(isinstance(value, kind) for value in values if value is not None)


def _retyped(node: Node, old: Any, new: Any) -> Changes:
    removed = all_paths(node, old)
    removed.pop(".", None)
    return removed or None, all_paths(node, new)


def _compare_maps(node: Node, old: dict[str, Any], new: dict[str, Any]) -> Changes:
    removed: Trie = {}
    changed: Trie = {}
    for key, part in new.items():
        before = old.get(key, _MISSING)
        if before is part:
            continue
        child = node.child(key) or ANY
        if before is _MISSING:
            changed["f:" + key] = all_paths(child, part)
            continue
        gone, touched = compare(child, before, part)
        if gone is not None:
            removed["f:" + key] = gone
        if touched is not None:
            changed["f:" + key] = touched
    for key, part in old.items():
        if key not in new:
            removed["f:" + key] = all_paths(node.child(key) or ANY, part)
    return removed or None, changed or None


def _compare_lists(node: Node, old: list[Any], new: list[Any]) -> Changes:
    removed: Trie = {}
    changed: Trie = {}
    item_node = node.item or ANY
    before = index_items(node, old)
    after = index_items(node, new)
    for element, items in after.items():
        was = before.get(element)
        if was is None:
            changed[element] = all_paths(item_node, items[0]) if len(items) == 1 else {}
        elif len(was) == 1 and len(items) == 1:
            gone, touched = compare(item_node, was[0], items[0])
            if gone is not None:
                removed[element] = gone
            if touched is not None:
                changed[element] = touched
        elif was != items:
            changed[element] = {}
    for element, items in before.items():
        if element not in after:
            removed[element] = all_paths(item_node, items[0]) if len(items) == 1 else {}
    return removed or None, changed or None


# -- merge -------------------------------------------------------------------------------------------------


def merge(node: Node, live: Any, config: Any) -> Any:
    """live with config laid over it; config wins, nothing is removed. Shares unchanged parts with both."""
    if config is None and live is None:
        return None
    what = shape(node, config)
    if what == "map" and isinstance(live, dict) and isinstance(config, dict):
        out = dict(live)
        for key, part in config.items():
            out[key] = merge(node.child(key) or ANY, live[key], part) if live.get(key) is not None else part
        return out
    if what == "list" and isinstance(live, list) and isinstance(config, list):
        return _merge_lists(node, live, config)
    return config


def _merge_lists(node: Node, live: list[Any], config: list[Any]) -> list[Any]:
    """Items of both, config's order for its own, live's other items kept near where they were."""
    item_node = node.item or ANY
    l_order = [item_element(node, item, i) for i, item in enumerate(live)]
    r_order = [item_element(node, item, i) for i, item in enumerate(config)]
    l_items = dict(zip(l_order, live, strict=True))
    r_items = dict(zip(r_order, config, strict=True))
    shared = [element for element in r_order if element in l_items]
    out: list[Any] = []
    merged: set[str] = set()
    li = ri = 0

    def take(element: str) -> None:
        mine = r_items[element]
        out.append(merge(item_node, l_items[element], mine) if element in l_items else mine)
        merged.add(element)
        if shared and shared[0] == element:
            shared.pop(0)

    while li < len(l_order) or ri < len(r_order):
        if li < len(l_order):
            element = l_order[li]
            if ri < len(r_order) and element == r_order[ri]:
                take(element)
                li, ri = li + 1, ri + 1
                continue
            if ri < len(r_order) and element in r_items and shared and shared[0] != element:
                li += 1
                continue
            if element not in r_items:
                out.append(live[li])
                li += 1
                continue
            if element in merged:
                li += 1
        if ri < len(r_order):
            take(r_order[ri])
            ri += 1
    return out


# -- remove ------------------------------------------------------------------------------------------------


def remove(node: Node, value: Any, gone: Trie) -> Any:
    """value without the fields and items in the set; a container that ends empty becomes None."""
    what = shape(node, value)
    if what == "map" and isinstance(value, dict):
        return _remove_from_map(node, value, gone) or None
    if what == "list" and isinstance(value, list):
        out = []
        for index, item in enumerate(value):
            below = gone.get(item_element(node, item, index))
            if below is None:
                out.append(item)
            elif not is_member(below):
                out.append(remove(node.item or ANY, item, below))
        return out or None
    return value


def _remove_from_map(node: Node, value: dict[str, Any], gone: Trie) -> dict[str, Any]:
    out = {}
    for key, part in value.items():
        below = gone.get("f:" + key)
        if below is None:
            out[key] = part
        elif not is_member(below):
            out[key] = remove(node.child(key) or ANY, part, below)
    return out


# -- validate ----------------------------------------------------------------------------------------------


def check(node: Node, value: Any, path: str = "") -> list[str]:
    """The mistakes that make value no valid applied configuration, as `.spec.bogus: field not declared`."""
    if value is None:
        return []
    kind = node.kind
    if kind in {"struct", "map"}:
        return _check_map(node, value, path)
    if kind == "list":
        return _check_list(node, value, path)
    good: dict[str, tuple[type, ...]] = {
        "string": (str,), "time": (str,), "bytes": (str,), "boolean": (bool,), "integer": (int,),
        "number": (int, float), "quantity": (int, float, str), "intorstring": (int, str),
    }  # fmt: skip
    wanted = good.get(kind)
    if wanted is None or (isinstance(value, wanted) and (kind == "boolean" or not isinstance(value, bool))):
        return []
    name = {"boolean": "boolean", "integer": "numeric (int or float)", "number": "numeric (int or float)"}.get(
        kind, "string"
    )
    return [f"{path}: expected {name}, got {go_unstructured(value)}"]


def _check_map(node: Node, value: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: expected map, got {go_unstructured(value)}"]
    out = []
    for key, part in value.items():
        child = node.child(key)
        if child is None:
            out.append(f"{path}.{key}: field not declared in schema")
        else:
            out += check(child, part, f"{path}.{key}")
    return out


def _check_list(node: Node, value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: expected list, got {go_unstructured(value)}"]
    out = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = f"i:{index}"
        if node.relation != "atomic":
            missing = _missing_key(node, item)
            if missing:
                out.append(f"{path}: element {index}: {missing}")
                continue
            element = item_element(node, item, index)
            if element in seen:
                out.append(f"{path}: duplicate entries for key {path_text((element,))}")
            seen.add(element)
        out += check(node.item or ANY, item, path + path_text((element,)))
    return out


def _missing_key(node: Node, item: Any) -> str:
    if node.relation != "map":
        return "associative list without keys has an element that's an explicit null" if item is None else ""
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    for key in node.keys:
        if item.get(key) is None and (node.item is None or key_default(node.item, key) is None):
            text = f'associative list with keys has an element that omits key field "{key}"'
            return text + " (and doesn't have default value)"
    return ""


def go_unstructured(value: Any) -> str:
    """How Go prints the value in these messages: &value.valueUnstructured{Value:true}."""
    if value is True or value is False:
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, dict):
        text = "map[string]interface {}{...}"
    else:
        text = "[]interface {}{...}" if isinstance(value, list) else str(value)
    return f"&value.valueUnstructured{{Value:{text}}}"
