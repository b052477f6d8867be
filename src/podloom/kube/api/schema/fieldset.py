"""Sets of field paths, in the form they are written in.

The problem: managed fields are sets of paths, read and written with every request, and converting them to a set
type and back would cost more than the set operations. So a set *is* its FieldsV1 form: a trie of dicts whose keys
are path elements (`f:name`, `k:{"name":"main"}`, `v:"x"`, `i:0`), where an empty dict is a member, and `.` marks a
member that also has members below it (meta/v1 FieldsV1, structured-merge-diff serialisation). Sets are never
mutated once built, so parts may be shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from podloom.kube.api.schema.nodes import Node

Trie = dict[str, Any]
EMPTY: Trie = {}
_SORTED = orjson.OPT_SORT_KEYS


def is_member(trie: Mapping[str, Any]) -> bool:
    """Whether the path that leads to this (non-root) trie is in the set."""
    return not trie or "." in trie


def value_element(value: Any) -> str:
    """The path element of a set member: v:"x"."""
    return "v:" + orjson.dumps(value).decode()


def key_element(keys: Mapping[str, Any]) -> str:
    """The path element of a list map's item: k:{"name":"main"}, keys sorted."""
    return "k:" + orjson.dumps(keys, option=_SORTED).decode()


def union(a: Trie | None, b: Trie | None) -> Trie | None:
    """Paths in a or b; None stands for no set at all (nothing below)."""
    if a is None or a is b:
        return b
    if b is None:
        return a
    member = is_member(a) or is_member(b)
    if not a or not b:
        other = a or b
        return other if member and "." in other else ({".": {}, **other} if other else other)
    out = dict(a)
    for element, below in b.items():
        if element != ".":
            mine = out.get(element)
            out[element] = below if mine is None else union(mine, below)
    if member and "." not in out:
        return {".": {}, **out}
    return out


def root_union(a: Trie, b: Trie) -> Trie:
    """`union` of whole sets; an empty dict at the root is the empty set, not a member."""
    if not a or not b:
        return a or b
    return union(a, b) or {}


def difference(a: Trie, b: Trie | None) -> Trie | None:
    """Paths in a and not in b (path by path: what lies below a path in b stays)."""
    if b is None:
        return a
    member = is_member(a) and not is_member(b)
    return _rebuilt(member, _children_difference(a, b))


def root_difference(a: Trie, b: Trie) -> Trie:
    """`difference` of whole sets."""
    return _children_difference(a, b) if b else a


def _children_difference(a: Trie, b: Trie) -> Trie:
    out: Trie = {}
    for element, below in a.items():
        if element == ".":
            continue
        other = b.get(element)
        rest = below if other is None else difference(below, other)
        if rest is not None:
            out[element] = rest
    return out


def intersection(a: Trie, b: Trie) -> Trie | None:
    """Paths in both; None when there is none at or below here."""
    member = is_member(a) and is_member(b)
    return _rebuilt(member, root_intersection(a, b))


def root_intersection(a: Trie, b: Trie) -> Trie:
    """`intersection` of whole sets."""
    out: Trie = {}
    for element, below in a.items():
        if element == ".":
            continue
        other = b.get(element)
        if other is not None:
            both = intersection(below, other)
            if both is not None:
                out[element] = both
    return out


def _rebuilt(member: bool, children: Trie) -> Trie | None:
    if children:
        return {".": {}, **children} if member else children
    return {} if member else None


def recursive_difference(a: Trie, b: Trie) -> Trie:
    """Paths of set a that are neither in set b nor below a path in b."""
    if not b:
        return a
    out: Trie = {}
    for element, below in a.items():
        if element == ".":
            continue
        other = b.get(element)
        if other is None:
            out[element] = below
        elif not is_member(other):
            rest = _rebuilt(is_member(below), recursive_difference(below, other))
            if rest is not None:
                out[element] = rest
    return out


def paths(trie: Trie) -> Iterator[tuple[str, ...]]:
    """The members, those of a level before what lies below them, sorted as structured-merge-diff sorts."""
    elements = sorted((e for e in trie if e != "."), key=_order)
    for element in elements:
        if is_member(trie[element]):
            yield (element,)
    for element in elements:
        for rest in paths(trie[element]):
            yield (element, *rest)


def _order(element: str) -> tuple[int, str]:
    return ("fkvi".index(element[0]), element[2:])


def path_text(path: tuple[str, ...]) -> str:
    """`.spec.ports[port=80,protocol="TCP"].name`."""
    return "".join(_element_text(element) for element in path)


def _element_text(element: str) -> str:
    body = element[2:]
    if element[0] == "f":
        return "." + body
    if element[0] == "k":
        return keys_text(orjson.loads(body))
    return f"[={body}]" if element[0] == "v" else f"[{body}]"


def keys_text(keys: Mapping[str, Any]) -> str:
    """`[port=80,protocol="TCP"]`."""
    return "[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in sorted(keys.items())) + "]"


def with_named_fields(trie: Trie, node: Node | None) -> Trie:
    """The set with the declared fields on the way to members as members too ("a.b.c" owns "a")."""
    out: Trie = {}
    for element, below in trie.items():
        if element == ".":
            out["."] = below
            continue
        inner = child_node(node, element)
        if not below:
            out[element] = below
            continue
        rest = with_named_fields(below, inner)
        named = element[0] == "f" and node is not None and element[2:] in node.fields
        out[element] = {".": {}, **rest} if named and "." not in rest else rest
    return out


def child_node(node: Node | None, element: str) -> Node | None:
    """The schema one path element down."""
    if node is None:
        return None
    return node.child(element[2:]) if element[0] == "f" else node.item
