"""Structural schemas: what a CustomResourceDefinition says of its objects, as operations on them.

The problem: custom objects have no Go type; pruning, defaults, nulls and the shape for field ownership all come
from the OpenAPI v3 schema in the CRD (Kubernetes documentation, "Specifying a structural schema"). Validation is in
validation.py.
"""

from __future__ import annotations

from typing import Any, Literal

from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.decode import Decoder
from podloom.kube.api.schema.nodes import ANY, Field, Node
from podloom.kube.api.schema.registry import META, builtin

Schema = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
_TYPE_FIELDS = ("apiVersion", "kind", "metadata")
_SCALARS = {"string": "string", "integer": "integer", "number": "number", "boolean": "boolean"}


def to_node(schema: Schema, root: bool = False) -> Node:
    """The Node of a schema: how its values merge and who can own which part."""
    if schema.get(INT_OR_STRING):
        return Node("intorstring")
    kind = schema.get("type", "")
    if kind == "array":
        return _list_node(schema)
    if kind in _SCALARS:
        return Node(kind)
    if kind != "object" and not schema.get("properties"):
        return ANY
    extra = bool(schema.get(PRESERVE))
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        return Node("map", item=to_node(additional), atomic=atomic)
    if additional is True:
        return Node("map", item=ANY, atomic=atomic)
    node = Node("struct", atomic=atomic, extra=extra, item=ANY if extra else None)
    for name, part in (schema.get("properties") or {}).items():
        node.fields[name] = Field(name, to_node(part), "p", part.get("default"), "default" in part)
    if root or schema.get(EMBEDDED):
        for name in ("apiVersion", "kind"):
            node.fields[name] = Field(name, Node("string"))
        node.fields["metadata"] = Field("metadata", builtin().node(f"{META}.ObjectMeta"))
    return node


def _list_node(schema: Schema) -> Node:
    items = schema.get("items")
    relation: Literal["atomic", "set", "map"] = schema.get("x-kubernetes-list-type") or "atomic"
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return Node("list", item=to_node(items) if isinstance(items, dict) else ANY, relation=relation, keys=keys)


# -- pruning -----------------------------------------------------------------------------------------------


def prune(schema: Schema, obj: dict[str, Any]) -> list[str]:
    """Drop from obj (in place) the fields the schema does not have; returns their paths, sorted."""
    gone: list[str] = []
    _prune(schema, obj, "", gone, True)
    return sorted(gone)


def _prune(schema: Schema, value: Any, path: str, gone: list[str], resource: bool) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, part in enumerate(value):
                _prune(items, part, f"{path}[{index}]", gone, bool(items.get(EMBEDDED)))
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    preserve = schema.get(PRESERVE)
    for key in list(value):
        below = f"{path}.{key}" if path else key
        part = properties.get(key)
        if resource and key in _TYPE_FIELDS:
            if key == "metadata":
                _prune_meta(value, below, gone)
        elif part is not None:
            _prune(part, value[key], below, gone, bool(part.get(EMBEDDED)))
        elif isinstance(additional, dict):
            _prune(additional, value[key], below, gone, bool(additional.get(EMBEDDED)))
        elif not additional and not preserve:
            gone.append(below)
            del value[key]


def _prune_meta(value: dict[str, Any], path: str, gone: list[str]) -> None:
    decoder = Decoder()
    meta = value["metadata"]
    value["metadata"] = decoder.run(builtin().node(f"{META}.ObjectMeta"), {} if meta is None else meta)
    gone += [f"{path}.{name}" for name in decoder.unknown]


# -- nulls, numbers and defaults ---------------------------------------------------------------------------


def normalise(schema: Schema, value: Any) -> Any:
    """value without nulls for fields that may not be null, and whole floats as integers. In place."""
    if type(value) is float and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        items = schema.get("items")
        items = items if isinstance(items, dict) else {}
        for index, part in enumerate(value):
            if part is not None:
                value[index] = normalise(items, part)
    elif isinstance(value, dict):
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        for key in list(value):
            part = properties.get(key)
            if value[key] is None:
                if part is not None and not part.get("nullable"):
                    del value[key]
                continue
            inner = part if part is not None else additional
            value[key] = normalise(inner if isinstance(inner, dict) else {}, value[key])
    return value


def apply_defaults(schema: Schema, value: Any) -> None:
    """Fill in defaults below value, in place, all the way down."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for key, part in properties.items():
            if value.get(key) is None and "default" in part and not (key in value and part.get("nullable")):
                value[key] = clone(part["default"])
            if key in value:
                apply_defaults(part, value[key])
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            for key, inner in value.items():
                if key not in properties:
                    if inner is None and "default" in additional and not additional.get("nullable"):
                        value[key] = clone(additional["default"])
                    apply_defaults(additional, value[key])
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, inner in enumerate(value):
                if inner is None and "default" in items and not items.get("nullable"):
                    value[index] = clone(items["default"])
                apply_defaults(items, value[index])


def lacks_default(schema: Schema, value: Any) -> bool:
    """Whether `apply_defaults` would change value (a definition may gain defaults after objects were stored)."""
    if isinstance(value, dict):
        for key, part in (schema.get("properties") or {}).items():
            if key not in value:
                if "default" in part:
                    return True
            elif lacks_default(part, value[key]):
                return True
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            return any(lacks_default(additional, inner) for inner in value.values())
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        return any(lacks_default(schema["items"], inner) for inner in value)
    return False
