"""OpenAPI documents of what is served: v3 per group version, v2 as a whole.

The problem: kubectl explain, client-side validation and the dry-run and field-validation probes of kubectl apply read
these documents. Schemas come from the published definitions (and from CRDs), paths from the types served; only
what clients look at is in them: operations, parameters and x-kubernetes-group-version-kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from podloom.kube.api.contract import Object, ResourceType
from podloom.kube.api.schema.custom import CustomKind
from podloom.kube.api.schema.registry import META, VERSION, Registry
from podloom.kube.api.schema.structural import Schema

_V3 = "#/components/schemas/"
_V2 = "#/definitions/"
_EXTRA = (".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version")
_KINDS_OF_DELETE = f"{META}.DeleteOptions"
_QUERY: dict[str, tuple[str, str]] = {
    "pretty": ("string", "If 'true', then the output is pretty printed."),
    "dryRun": ("string", "Whether modifications are persisted. Valid values are: - All: all stages, nothing stored"),
    "fieldManager": ("string", "The name associated with the actor or entity that is making these changes."),
    "fieldValidation": ("string", "What to do with unknown or duplicate fields: Ignore, Warn or Strict."),
    "force": ("boolean", "Whether an Apply takes over fields owned by others."),
    "labelSelector": ("string", "A selector to restrict the list of returned objects by their labels."),
    "fieldSelector": ("string", "A selector to restrict the list of returned objects by their fields."),
    "allowWatchBookmarks": ("boolean", "Whether the watch sends BOOKMARK events."),
    "limit": ("integer", "The maximum number of objects of a list."),
    "continue": ("string", "The token of a former list to go on from."),
    "resourceVersion": ("string", "What resource versions a request may be served from."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied to lists."),
    "timeoutSeconds": ("integer", "Timeout for the list/watch call."),
    "watch": ("boolean", "Watch for changes and return them as a stream of notifications."),
    "gracePeriodSeconds": ("integer", "The duration in seconds before the object should be deleted."),
    "propagationPolicy": ("string", "Whether and how garbage collection will be performed."),
}
_LIST = ("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
         "resourceVersionMatch", "timeoutSeconds", "watch")  # fmt: skip
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds", "propagationPolicy")
_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
                "application/apply-patch+yaml")  # fmt: skip


def index(types: Sequence[ResourceType], custom: Iterable[CustomKind]) -> Object:
    """Every path with a document; the hash changes when the document does."""
    paths = set(_EXTRA)
    for rtype in types:
        paths.add(document_path(rtype))
        if rtype.group and not rtype.custom:
            paths.add(f"apis/{rtype.group}")
    schemas = {(k.type.group, k.type.version, k.type.kind): k.schema for k in custom}
    out = {}
    for path in sorted(paths):
        seed: list[Any] = [VERSION, path]
        for rtype in types:
            if document_path(rtype) == path:
                seed.append([rtype.plural, rtype.kind, [s.name for s in rtype.subresources]])
                seed.append(schemas.get((rtype.group, rtype.version, rtype.kind)))
        digest = hashlib.sha512(orjson.dumps(seed, option=orjson.OPT_SORT_KEYS)).hexdigest().upper()
        out[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": out}


def document_path(rtype: ResourceType) -> str:
    """`api/v1` or `apis/apps/v1`."""
    return f"apis/{rtype.group_version}" if rtype.group else f"api/{rtype.version}"


class Documents:
    """Makes the documents from the built-in definitions, the types served and the custom kinds."""

    def __init__(self, registry: Registry, types: Sequence[ResourceType], custom: Sequence[CustomKind]) -> None:
        self._registry = registry
        self._types = types
        self._custom = {(k.type.group, k.type.version, k.type.kind): k for k in custom}

    def v3(self, path: str) -> Object | None:
        """The document of one path of the index; None for a path that has none."""
        types = [t for t in self._types if document_path(t) == path]
        if not types and path not in _EXTRA and not any(path == f"apis/{t.group}" for t in self._types):
            return None
        schemas = self._collect(types, _V3)
        paths: Object = {}
        for rtype in types:
            paths |= self._paths(rtype, _V3)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
            },
        }

    def v2(self) -> Object:
        """The swagger document of everything."""
        paths: Object = {}
        for rtype in self._types:
            paths |= self._paths(rtype, _V2)
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": paths,
            "definitions": self._collect(self._types, _V2),
        }

    # -- schemas -------------------------------------------------------------------------------------------

    def _name(self, rtype: ResourceType) -> str:
        if rtype.custom:
            return custom_name(rtype)
        return self._registry.name_of(rtype.group, rtype.version, rtype.kind) or ""

    def _collect(self, types: Sequence[ResourceType], prefix: str) -> Object:
        """The definitions of the types and all they refer to."""
        out: Object = {}
        wanted = [_KINDS_OF_DELETE, f"{META}.Status", f"{META}.Patch"] if types else []
        for rtype in types:
            kind = self._custom.get((rtype.group, rtype.version, rtype.kind))
            if kind is not None:
                out |= custom_schemas(kind, prefix)
                wanted += [f"{META}.ObjectMeta", f"{META}.ListMeta"]
            wanted += [name for name in self._names(rtype) if name]
        while wanted:
            name = wanted.pop()
            if name in out or name not in self._registry.definitions:
                continue
            found: set[str] = set()
            out[name] = convert(self._registry.definitions[name], prefix, found)
            wanted += found
        return dict(sorted(out.items()))

    def _names(self, rtype: ResourceType) -> Iterable[str]:
        for kind in (rtype.kind, rtype.list_kind or f"{rtype.kind}List"):
            yield self._registry.name_of(rtype.group, rtype.version, kind) or ""
        for sub in rtype.subresources:
            group = rtype.group if sub.group is None else sub.group
            yield self._registry.name_of(group, sub.version or rtype.version, sub.kind) or ""

    # -- paths ---------------------------------------------------------------------------------------------

    def _paths(self, rtype: ResourceType, prefix: str) -> Object:
        base = "/" + document_path(rtype)
        scoped = f"{base}/namespaces/{{namespace}}/{rtype.plural}" if rtype.namespaced else f"{base}/{rtype.plural}"
        place = [_in_path("namespace", prefix)] if rtype.namespaced else []
        named = [_in_path("name", prefix), *place]
        writer = _Operations(rtype, self._name(rtype), prefix)
        out: Object = {}
        collection = writer.collection()
        if collection:
            out[scoped] = {**collection, "parameters": [*place, _in_query("pretty", prefix)]}
        item = writer.item()
        if item:
            out[f"{scoped}/{{name}}"] = {**item, "parameters": [*named, _in_query("pretty", prefix)]}
        if rtype.namespaced and "list" in rtype.verbs:
            everywhere = writer.operation("list", "get", _LIST)
            out[f"{base}/{rtype.plural}"] = {"get": everywhere}
        for sub in rtype.subresources:
            group = rtype.group if sub.group is None else sub.group
            gvk = {"group": group, "kind": sub.kind, "version": sub.version or rtype.version}
            name = self._registry.name_of(gvk["group"], gvk["version"], gvk["kind"]) or self._name(rtype)
            operations = _Operations(rtype, name, prefix, gvk, sub.verbs).item()
            if operations:
                out[f"{scoped}/{{name}}/{sub.name}"] = {**operations, "parameters": named}
        return out


class _Operations:
    """The operations of one resource or subresource."""

    def __init__(
        self, rtype: ResourceType, name: str, prefix: str, gvk: Object | None = None, verbs: Sequence[str] = ()
    ) -> None:
        self._name = name
        self._prefix = prefix
        self._verbs = verbs or rtype.verbs
        self._patches = [kind for kind in _PATCH_TYPES if not (rtype.custom and "strategic" in kind)]
        self._gvk = gvk or {"group": rtype.group, "kind": rtype.kind, "version": rtype.version}

    def collection(self) -> Object:
        out: Object = {}
        if "list" in self._verbs:
            out["get"] = self.operation("list", "get", _LIST)
        if "create" in self._verbs:
            out["post"] = self.operation("post", "post", _WRITE, self._name)
        if "deletecollection" in self._verbs:
            out["delete"] = self.operation("deletecollection", "delete", (*_LIST[:-1], *_DELETE), _KINDS_OF_DELETE)
        return out

    def item(self) -> Object:
        out: Object = {}
        if "get" in self._verbs:
            out["get"] = self.operation("get", "get", ())
        if "update" in self._verbs:
            out["put"] = self.operation("put", "put", _WRITE, self._name)
        if "patch" in self._verbs:
            out["patch"] = self.operation("patch", "patch", (*_WRITE, "force"), f"{META}.Patch")
        if "delete" in self._verbs:
            out["delete"] = self.operation("delete", "delete", _DELETE, _KINDS_OF_DELETE)
        return out

    def operation(self, action: str, method: str, query: Sequence[str], body: str = "") -> Object:
        out: Object = {
            "parameters": [_in_query(name, self._prefix) for name in query if name in _QUERY],
            "responses": {"200": self._answer()},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self._gvk,
        }
        if body:
            kinds = self._patches if method == "patch" else ["application/json"]
            schema = {"$ref": self._prefix + body}
            if self._prefix == _V3:
                out["requestBody"] = {"content": {kind: {"schema": schema} for kind in kinds}, "required": True}
            else:
                out["consumes"] = kinds
                out["parameters"].append({"name": "body", "in": "body", "required": True, "schema": schema})
        return out

    def _answer(self) -> Object:
        if not self._name:
            return {"description": "OK"}
        schema = {"$ref": self._prefix + self._name}
        if self._prefix == _V2:
            return {"description": "OK", "schema": schema}
        return {"description": "OK", "content": {"application/json": {"schema": schema}}}


def _in_query(name: str, prefix: str) -> Object:
    kind, text = _QUERY[name]
    return _parameter(name, "query", kind, text, prefix)


def _in_path(name: str, prefix: str) -> Object:
    text = "object name and auth scope, such as for teams and projects" if name == "namespace" else "name of the object"
    return {**_parameter(name, "path", "string", text, prefix), "required": True}


def _parameter(name: str, where: str, kind: str, text: str, prefix: str) -> Object:
    typed: Object = (
        {"schema": {"type": kind, "uniqueItems": True}} if prefix == _V3 else {"type": kind, "uniqueItems": True}
    )
    return {"name": name, "in": where, "description": text, **typed}


# -- schemas of one definition -----------------------------------------------------------------------------


def convert(schema: Any, prefix: str, found: set[str]) -> Any:
    """A definition in the form of the document: no null types, references to where they are here."""
    if isinstance(schema, list):
        return [convert(part, prefix, found) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out: Object = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, list):
            out["type"] = value[0]
        elif key == "$ref":
            name = value.rpartition("/")[2]
            found.add(name)
            out["$ref"] = prefix + name
        elif key == "properties":
            out["properties"] = {name: convert(part, prefix, found) for name, part in value.items()}
        elif key in {"items", "additionalProperties", "oneOf", "allOf", "anyOf"}:
            out[key] = convert(value, prefix, found)
        elif key == "enum" and "x-kubernetes-group-version-kind" in schema:
            continue
        else:
            out[key] = value
    for name in ("apiVersion", "kind"):
        part = out.get("properties", {}).get(name)
        if part is not None and "x-kubernetes-group-version-kind" in schema:
            out["properties"][name] = {key: value for key, value in part.items() if key != "enum"}
    if prefix == _V3 and "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def custom_name(rtype: ResourceType) -> str:
    """The definition's name of a custom kind: com.example.crd.v1.Widget."""
    return ".".join([*reversed(rtype.group.split(".")), rtype.version, rtype.kind])


def custom_schemas(kind: CustomKind, prefix: str) -> Object:
    """The definitions of a custom kind and of its list."""
    builtin_type: Object = {"type": "string"}
    rtype = kind.type
    own: Schema = {**kind.schema}
    meta = {"$ref": f"{prefix}{META}.ObjectMeta"}
    own["properties"] = {
        **(kind.schema.get("properties") or {}),
        "apiVersion": builtin_type,
        "kind": builtin_type,
        "metadata": {"allOf": [meta]} if prefix == _V3 else meta,
    }
    gvk = {"group": rtype.group, "version": rtype.version}
    own["x-kubernetes-group-version-kind"] = [{**gvk, "kind": rtype.kind}]
    name = custom_name(rtype)
    list_kind = rtype.list_kind or f"{rtype.kind}List"
    listed = {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": builtin_type,
            "kind": builtin_type,
            "metadata": {"$ref": f"{prefix}{META}.ListMeta"},
            "items": {"type": "array", "items": {"$ref": prefix + name}},
        },
        "x-kubernetes-group-version-kind": [{**gvk, "kind": list_kind}],
    }
    return {name: own, f"{name}List": listed}
