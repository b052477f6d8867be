"""Is this a CustomResourceDefinition that can be served? All mistakes, in a real server's words.

The problem: a definition that is accepted must be structural (every value has one type), have names and versions
that make sense, defaults that fit, and rules that compile and cannot cost too much. Paths follow the internal form of
the real server: what all versions share is said of spec.validation, else of spec.versions[i].schema.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from podloom.kube.api.contract import Cause, Object
from podloom.kube.api.schema.celcheck import check_rules
from podloom.kube.api.schema.jsonpath import steps
from podloom.kube.api.schema.structural import EMBEDDED, INT_OR_STRING, PRESERVE, Schema
from podloom.kube.api.schema.validation import invalid, show, validate

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_LABEL = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LABEL_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")


def required(path: str, text: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {text}" if text else "Required value", path)


def forbidden(path: str, text: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {text}", path)


def unsupported(path: str, value: Any, allowed: Iterable[str]) -> Cause:
    shown = ", ".join(f'"{name}"' for name in allowed)
    return Cause("FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {shown}", path)


def validate_crd(crd: Object) -> list[Cause]:
    """Every mistake of a new definition."""
    spec, meta = crd["spec"], crd["metadata"]
    names = spec.get("names") or {}
    group = spec.get("group", "")
    out: list[Cause] = []
    if meta.get("name") != f"{names.get('plural', '')}.{group}":
        out.append(invalid("metadata.name", meta.get("name", ""), 'must be spec.names.plural+"."+spec.group'))
    out += _spec(spec)
    out += _stored_versions(crd)
    out += _approval(crd)
    return out


def validate_crd_update(crd: Object, old: Object) -> list[Cause]:
    """Every mistake of a changed definition: as for a new one, and what may not change."""
    out = validate_crd(crd)
    established = any(
        c["type"] == "Established" and c["status"] == "True" for c in (old.get("status") or {}).get("conditions") or ()
    )
    spec, before = crd["spec"], old["spec"]
    if established:
        for field in ("scope",):
            if spec.get(field) != before.get(field):
                out.append(invalid(f"spec.{field}", spec.get(field), "field is immutable"))
        if spec["names"].get("kind") != before["names"].get("kind"):
            out.append(invalid("spec.names.kind", spec["names"].get("kind"), "field is immutable"))
    for field, now, then in (
        ("spec.group", spec.get("group"), before.get("group")),
        ("spec.names.plural", spec["names"].get("plural"), before["names"].get("plural")),
    ):
        if now != then:
            out.append(invalid(field, now, "field is immutable"))
    return out


def _stored_versions(crd: Object) -> Iterable[Cause]:
    stored = (crd.get("status") or {}).get("storedVersions")
    if not stored:
        yield invalid("status.storedVersions", None, "must have at least one stored version")
        return
    known = {v.get("name") for v in crd["spec"].get("versions") or ()}
    for index, name in enumerate(stored):
        if name not in known:
            yield invalid(
                f"status.storedVersions[{index}]",
                name,
                "missing from spec.versions; all versions that were previously a storage version must remain in "
                "spec.versions until they are no longer referenced from status.storedVersions",
            )


def _approval(crd: Object) -> Iterable[Cause]:
    group = crd["spec"].get("group", "")
    if not (group.endswith((".k8s.io", ".kubernetes.io")) or group in {"k8s.io", "kubernetes.io"}):
        return
    key = "api-approved.kubernetes.io"
    path = f"metadata.annotations[{key}]"
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    annotations = crd["metadata"].get("annotations") or {}
    value = annotations.get(key)
    if not value:
        yield required(path, f'protected groups must have approval annotation "{key}", {see}')
    elif not value.startswith(("unapproved", "http://", "https://")):
        text = f'protected groups must have approval annotation "{key}" with either a URL or a reason starting with '
        yield invalid(path, value, f'{text}"unapproved", {see}')


# -- spec --------------------------------------------------------------------------------------------------


def _spec(spec: Object) -> Iterable[Cause]:
    group, scope = spec.get("group", ""), spec.get("scope", "")
    if not group:
        yield required("spec.group")
    elif not _SUBDOMAIN.fullmatch(group) or len(group) > 253:
        yield invalid("spec.group", group, _SUBDOMAIN_TEXT)
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    if not scope:
        yield required("spec.scope")
    elif scope not in {"Cluster", "Namespaced"}:
        yield unsupported("spec.scope", scope, ("Cluster", "Namespaced"))
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid("spec.preserveUnknownFields", True, text)
    versions = spec.get("versions") or []
    shared = _shared(versions)
    yield from _versions(versions, shared)
    yield from _names(spec.get("names") or {})
    for index, version in enumerate(versions):
        if index == 0 or not shared["schema"]:
            path = "spec.validation" if shared["schema"] else f"spec.versions[{index}].schema"
            yield from _schema(version, path, index)
        if index == 0 or not shared["subresources"]:
            path = "spec" if shared["subresources"] else f"spec.versions[{index}]"
            yield from _subresources(version, f"{path}.subresources")
        if index == 0 or not shared["additionalPrinterColumns"]:
            path = "spec" if shared["additionalPrinterColumns"] else f"spec.versions[{index}]"
            yield from _columns(version, f"{path}.additionalPrinterColumns")
    yield from _conversion(spec.get("conversion") or {})


def _shared(versions: list[Object]) -> dict[str, bool]:
    """Which parts all versions have in common."""
    keys = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
    return {key: all(v.get(key) == versions[0].get(key) for v in versions) for key in keys}


def _versions(versions: list[Object], shared: dict[str, bool]) -> Iterable[Cause]:
    counts = Counter(version.get("name", "") for version in versions)
    for index, version in enumerate(versions):
        name = version.get("name", "")
        if not _LABEL.fullmatch(name) or len(name) > 63:
            yield invalid(f"spec.versions[{index}].name", name, _LABEL_TEXT)
        if version.get("deprecationWarning") and not version.get("deprecated"):
            text = "can only be set for deprecated versions"
            yield invalid(f"spec.versions[{index}].deprecationWarning", version["deprecationWarning"], text)
    if any(count > 1 for count in counts.values()):
        yield _versions_invalid(versions, shared, "must contain unique version names")
    if sum(1 for version in versions if version.get("storage")) != 1:
        yield _versions_invalid(versions, shared, "must have exactly one version marked as storage version")


def _versions_invalid(versions: list[Object], shared: dict[str, bool], text: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {_show_versions(versions, shared)}: {text}", "spec.versions")


def _show_versions(versions: list[Object], shared: dict[str, bool]) -> str:
    """The versions as the internal Go type prints them."""
    parts = []
    for version in versions:
        kept = {key: None if shared[key] else version.get(key) for key in shared}
        parts.append(
            f'{{"Name":{show(version.get("name", ""))},"Served":{show(bool(version.get("served")))},'
            f'"Storage":{show(bool(version.get("storage")))},"Deprecated":{show(bool(version.get("deprecated")))},'
            f'"DeprecationWarning":{show(version.get("deprecationWarning"))},"Schema":{show(kept["schema"])},'
            f'"Subresources":{show(kept["subresources"])},'
            f'"AdditionalPrinterColumns":{show(kept["additionalPrinterColumns"])},'
            f'"SelectableFields":{show(kept["selectableFields"])}}}'
        )
    return "[" + ",".join(parts) + "]"


def _names(names: Object) -> Iterable[Cause]:
    for key in ("plural", "singular", "kind", "listKind"):
        value = names.get(key, "")
        path = f"spec.names.{key}"
        if not value:
            yield required(path)
        else:
            text = value.lower() if key in {"kind", "listKind"} else value
            if not _LABEL.fullmatch(text) or len(text) > 63:
                yield invalid(
                    path,
                    value,
                    ("may have mixed case, but should otherwise match: " if text != value else "") + _LABEL_TEXT,
                )
    for key in ("shortNames", "categories"):
        for index, value in enumerate(names.get(key) or ()):
            if not _LABEL.fullmatch(value):
                yield invalid(f"spec.names.{key}[{index}]", value, _LABEL_TEXT)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")


def _conversion(conversion: Object) -> Iterable[Cause]:
    strategy = conversion.get("strategy", "")
    if strategy not in {"None", "Webhook"}:
        if not strategy:
            yield required("spec.conversion.strategy")
        else:
            yield unsupported("spec.conversion.strategy", strategy, ("None", "Webhook"))
    if strategy == "Webhook" and not (conversion.get("webhook") or {}).get("clientConfig"):
        yield required("spec.conversion.webhookClientConfig", "required when strategy is set to Webhook")


def _columns(version: Object, path: str) -> Iterable[Cause]:
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{path}[{index}]"
        if not column.get("name"):
            yield required(f"{where}.name")
        kind = column.get("type", "")
        if not kind:
            yield required(f"{where}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
        elif kind not in _COLUMN_TYPES:
            yield invalid(f"{where}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}")
        jsonpath = column.get("jsonPath", "")
        if not jsonpath:
            yield required(f"{where}.JSONPath")
            continue
        try:
            steps(jsonpath)
        except ValueError as error:
            yield invalid(f"{where}.JSONPath", jsonpath, str(error))


def _subresources(version: Object, path: str) -> Iterable[Cause]:
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return
    for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(key, "")
        if not value:
            yield required(f"{path}.scale.{key}")
        elif not value.startswith(root):
            yield invalid(f"{path}.scale.{key}", value, f"should be a json path under {root.rstrip('.')}")


# -- schema ------------------------------------------------------------------------------------------------


def _schema(version: Object, path: str, index: int) -> Iterable[Cause]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        yield required(f"spec.versions[{index}].schema.openAPIV3Schema")
        return
    where = f"{path}.openAPIV3Schema"
    structural = [*_structural(schema, where, "root"), *_metadata(schema, where)]
    yield from _defaults(schema, where)
    yield from structural
    if not structural:
        yield from check_rules(schema, where)


def _metadata(schema: Schema, path: str) -> Iterable[Cause]:
    """The root's metadata may only be restricted by name and generateName."""
    meta = (schema.get("properties") or {}).get("metadata") or {}
    extra = set(meta) - {"type", "properties", "description"}
    extra |= set(meta.get("properties") or {}) - {"name", "generateName"}
    if extra:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden(f"{path}.properties[metadata]", text)


def _children(schema: Schema, path: str) -> Iterable[tuple[Schema, str, str]]:
    for name, part in (schema.get("properties") or {}).items():
        yield part, f"{path}.properties[{name}]", "object fields"
    if isinstance(schema.get("items"), dict):
        yield schema["items"], f"{path}.items", "array items"
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"], f"{path}.additionalProperties", "object fields"


def _structural(schema: Schema, path: str, level: str) -> Iterable[Cause]:
    for part, below, kind in _children(schema, path):
        yield from _structural(part, below, kind)
    kind = schema.get("type", "")
    if level == "root":
        if not kind:
            yield required(f"{path}.type", "must not be empty at the root")
        elif kind != "object":
            yield invalid(f"{path}.type", kind, "must be object at the root")
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{path}.type", f"must not be empty for specified {level}")
    if kind and kind not in TYPES:
        yield unsupported(f"{path}.type", kind, TYPES)
    if kind == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    if isinstance(schema.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if schema.get("properties") and isinstance(schema.get("additionalProperties"), dict):
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if schema.get(INT_OR_STRING) and kind:
        yield forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    if schema.get(EMBEDDED) and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object if x-kubernetes-embedded-resource is true")
    yield from _unsupported_parts(schema, path)
    yield from _combinations(schema, path)
    yield from _list_type(schema, path, kind)


def _unsupported_parts(schema: Schema, path: str) -> Iterable[Cause]:
    for key in ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"):
        if schema.get(key):
            yield forbidden(f"{path}.{key}", f"{key} is not supported")
    if schema.get("uniqueItems"):
        yield forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )


def _combinations(schema: Schema, path: str) -> Iterable[Cause]:
    parts = [
        (f"{path}.{key}[{i}]", part)
        for key in ("allOf", "anyOf", "oneOf")
        for i, part in enumerate(schema.get(key) or ())
    ]
    if schema.get("not"):
        parts.append((f"{path}.not", schema["not"]))
    for below, part in parts:
        if part.get("type") and not schema.get(INT_OR_STRING):
            yield forbidden(f"{below}.type", "must be empty to be structural")
        for key in ("default", "nullable", "description", "title", "additionalProperties"):
            if part.get(key):
                text = "must be undefined to be structural" if key == "default" else "must be empty to be structural"
                yield forbidden(f"{below}.{key}", text if key != "nullable" else "must be false to be structural")
        for name in part.get("properties") or {}:
            if name not in (schema.get("properties") or {}):
                yield required(
                    f"{path}.properties[{name}]",
                    f"because it is defined in {below.removeprefix(path + '.')}.properties[{name}]",
                )


def _list_type(schema: Schema, path: str, kind: str) -> Iterable[Cause]:
    relation = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    if relation is not None and kind != "array":
        yield invalid(f"{path}.type", kind, "must be array if x-kubernetes-list-type is specified")
    if relation is not None and relation not in {"atomic", "set", "map"}:
        yield unsupported(f"{path}.x-kubernetes-list-type", relation, ("atomic", "map", "set"))
    if keys and relation != "map":
        yield invalid(
            f"{path}.x-kubernetes-list-type", relation, "must be map if x-kubernetes-list-map-keys is non-empty"
        )
    if relation != "map":
        return
    items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
    if not keys:
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    properties = (items or {}).get("properties") or {}
    for index, key in enumerate(keys):
        part = properties.get(key)
        if part is None:
            text = "entries must all be names of item properties"
            yield invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, text)
            continue
        if part.get("type") in {"array", "object"}:
            yield invalid(
                f"{path}.items.properties[{key}].type",
                part["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )
        if "default" not in part and key not in ((items or {}).get("required") or ()):
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", text)


def _defaults(schema: Schema, path: str) -> Iterable[Cause]:
    for part, below, _ in _children(schema, path):
        yield from _defaults(part, below)
        if part.get("default") is not None:
            for cause in validate(part, part["default"]):
                inner = f".{cause.field}" if cause.field and cause.field != "<nil>" else ""
                yield Cause(cause.reason, cause.message, f"{below}.default{inner}")
