"""The built-in types, read from the published OpenAPI definitions of Kubernetes 1.36.

The problem: 771 definitions are needed now and then, a dozen all the time, and the server should start at
once. So the file (of the package kubernetes-validate, found without importing it) is parsed once, in 10 ms, and
a definition becomes a `Node` when first asked for. What the file lacks is in go_facts.json.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from podloom.kube.api.schema.nodes import ANY, Field, Node
from podloom.model.errors import Unavailable

VERSION = "v1.36.0"
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_SPECIAL = {
    f"{META}.Time": Node("time", "v1.Time"),
    f"{META}.MicroTime": Node("time", "v1.MicroTime", micro=True),
    f"{META}.FieldsV1": Node("opaque", "v1.FieldsV1", atomic=True),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": Node("intorstring", "intstr.IntOrString"),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": Node("quantity", "resource.Quantity"),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": ANY,
}
_JSON_STORED = ("io.k8s.apiextensions-apiserver.", "io.k8s.kube-aggregator.")
_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_INTEGERS = {"int32": "int32", "int64": "int64", "": "int64"}


def definitions_path() -> Path:
    """Where the definitions file is; raises Unavailable when the package is not installed."""
    spec = find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "load the Kubernetes schemas", "package kubernetes-validate is not installed", "run `make install`"
        )
    folder = Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema" / f"{VERSION}-local"
    return folder / "_definitions.json"


@cache
def builtin() -> Registry:
    """The registry of the built-in types, read on first use (10 ms)."""
    definitions = orjson.loads(definitions_path().read_bytes())["$defs"]
    facts = orjson.loads((Path(__file__).parent / "go_facts.json").read_bytes())
    return Registry(definitions, facts["fields"], facts["defaults"])


class Registry:
    """Definitions by name and by group, version, kind; Nodes made when first asked for."""

    def __init__(
        self,
        definitions: dict[str, Any],
        letters: dict[str, dict[str, str]],
        defaults: dict[str, dict[str, Any]],
    ) -> None:
        self.definitions = definitions
        self._letters = letters
        self._defaults = defaults
        self._nodes: dict[str, Node] = {}
        self._by_kind: dict[tuple[str, str, str], str] = {}
        for name, definition in definitions.items():
            for gvk in definition.get("x-kubernetes-group-version-kind", ()):
                self._by_kind.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        """The definition's name of a kind, e.g. io.k8s.api.core.v1.Pod."""
        return self._by_kind.get((group, version, kind))

    def kind(self, group: str, version: str, kind: str) -> Node | None:
        """The Node of a kind; None for a kind this file does not know."""
        name = self.name_of(group, version, kind)
        return self.node(name) if name else None

    def node(self, name: str) -> Node:
        """The Node of the definition called `name`."""
        if name in _SPECIAL:
            return _SPECIAL[name]
        if name.startswith(_SCHEMA + "Or"):
            return Node("union", _go_name(name), item=self.node(_SCHEMA))
        if name not in self._nodes:
            definition = self.definitions[name]
            node = Node("struct", _go_name(name), stored_binary=not name.startswith(_JSON_STORED))
            self._nodes[name] = node  # before its fields: definitions refer to themselves
            if "properties" in definition:
                self._fill(node, name, definition)
            elif definition.get("type"):
                node.kind = "struct"  # a struct without fields, e.g. CustomResourceSubresourceStatus
            else:
                node = self._nodes[name] = ANY
            node.atomic = node is not ANY and definition.get("x-kubernetes-map-type") == "atomic"
        return self._nodes[name]

    def _fill(self, node: Node, name: str, definition: dict[str, Any]) -> None:
        letters = self._letters.get(name)
        defaults = self._defaults.get(name, {})
        for field_name, schema in definition["properties"].items():
            part = self._schema(schema)
            letter = letters.get(field_name, "p") if letters is not None else _guess(part)
            strategy = schema.get("x-kubernetes-patch-strategy", "")
            node.fields[field_name] = Field(
                field_name,
                part,
                letter,
                defaults.get(field_name),
                field_name in defaults,
                frozenset(strategy.split(",")) if strategy else frozenset(),
                schema.get("x-kubernetes-patch-merge-key", ""),
            )

    def _schema(self, schema: dict[str, Any]) -> Node:
        if "$ref" in schema:
            return self._reference(schema)
        kind = schema.get("type", "")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "array":
            return self._list(schema)
        if kind == "object":
            return self._map(schema)
        if kind == "integer":
            return Node("integer", _INTEGERS.get(schema.get("format", ""), "int64"))
        if kind == "string":
            return Node("bytes", "[]uint8") if schema.get("format") == "byte" else Node("string", "string")
        if kind == "boolean":
            return Node("boolean", "bool")
        if kind == "number":
            return Node("number", "float64")
        return ANY

    def _reference(self, schema: dict[str, Any]) -> Node:
        node = self.node(schema["$ref"].rpartition("/")[2])
        map_type = schema.get("x-kubernetes-map-type")
        if map_type and node.atomic != (map_type == "atomic"):
            node = replace(node, atomic=map_type == "atomic")
        return node

    def _list(self, schema: dict[str, Any]) -> Node:
        item = self._schema(schema.get("items", {}))
        node = Node("list", "[]" + item.go, item=item)
        relation = schema.get("x-kubernetes-list-type")
        if relation:
            node.relation = relation
            node.keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
        elif "merge" in schema.get("x-kubernetes-patch-strategy", ""):
            key = schema.get("x-kubernetes-patch-merge-key")
            node.relation = "map" if key else "set"
            node.keys = (key,) if key else ()
        return node

    def _map(self, schema: dict[str, Any]) -> Node:
        if "additionalProperties" not in schema:
            return Node("opaque", "map[string]interface {}", atomic=True)
        item = self._schema(schema["additionalProperties"])
        return Node("map", "map[string]" + item.go, item=item, atomic=schema.get("x-kubernetes-map-type") == "atomic")


def _go_name(name: str) -> str:
    package, _, base = name.rpartition(".")
    return f"{package.rpartition('.')[2]}.{base}"


def _guess(node: Node) -> str:
    """The letter of a field the facts do not know: newer API fields are omitempty."""
    return "z" if node.kind in {"list", "map"} else "p"
