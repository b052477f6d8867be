"""The schema of a value, as the machinery walks it.

The problem: built-in types come as OpenAPI definitions and custom types as structural schemas, yet decoding,
patching and field management are the same walk over both. So both compile to a `Node`: what a value is, how
its parts merge (structured merge, strategic merge) and what Go makes of zero values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "struct",  # named fields; unknown ones are mistakes
    "map",  # any keys, one type of value
    "list",
    "string",
    "integer",
    "number",
    "boolean",
    "time",
    "bytes",
    "quantity",
    "intorstring",
    "any",  # free JSON: parts are owned field by field, lists as a whole
    "opaque",  # free JSON object owned as a whole
    "union",  # an object of type `item`, or any other JSON
]

SCALARS = frozenset({"string", "integer", "number", "boolean", "time", "bytes", "quantity", "intorstring"})


@dataclass(slots=True, eq=False)
class Field:
    """A named part of a struct. letter: what Go does with its zero value (see go_facts)."""

    name: str
    node: Node
    letter: str = "p"
    default: Any = None
    has_default: bool = False
    patch_strategy: frozenset[str] = frozenset()
    merge_key: str = ""


@dataclass(slots=True, eq=False)
class Node:
    """The schema of one value.

    go names the Go type in messages. A list's relation is atomic, set or map (with keys, and their defaults in the
    item's fields). stored_binary: a real server keeps the type as protobuf. extra: a struct that also keeps fields it
    does not declare (preserve-unknown-fields).
    """

    kind: Kind
    go: str = ""
    fields: dict[str, Field] = field(default_factory=dict)
    item: Node | None = None
    atomic: bool = False
    relation: Literal["atomic", "set", "map"] = "atomic"
    keys: tuple[str, ...] = ()
    extra: bool = False
    micro: bool = False
    stored_binary: bool = False
    zero: Any = None  # cached: the value of a Go struct with nothing set
    always: tuple[Field, ...] | None = None  # cached: the fields Go always writes

    def child(self, name: str) -> Node | None:
        """The schema of the part called `name`; None if not declared."""
        found = self.fields.get(name)
        if found is not None:
            return found.node
        return self.item if self.kind == "map" or self.extra else None


ANY = Node("any", "interface {}")
ANY.item = ANY
ANY.extra = True


def key_default(node: Node, key: str) -> Any:
    """The value a list item's key has when left out (ports: protocol TCP); None if it has none."""
    found = node.fields.get(key)
    return found.default if found is not None and found.has_default else None
