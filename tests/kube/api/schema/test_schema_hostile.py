"""Whatever a client sends is answered with an object or a Status, not with a crash; nothing is changed in place."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podloom.kube.api.contract import Object, ResourceType, StatusError, Subresource
from podloom.kube.api.schema import Schemas

NOW = "2026-01-01T00:00:00Z"
STATUS = (Subresource("status", "Pod", ("get", "patch", "update")),)
PODS = ResourceType("", "v1", "pods", "pod", "Pod", True, subresources=STATUS)
_DIRECTIVES = ["$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"]
_NAMES = ["metadata", "spec", "status", "containers", "name", "image", "ports", "labels", "finalizers"]
_NAMES += ["containerPort", "managedFields"]
KEYS = st.sampled_from(
    [*_DIRECTIVES, *_NAMES, "conditions", "type", "kind", "apiVersion", "size", "tags", "nested", "x"]
)
LEAVES = st.sampled_from([None, 1, -1, 1.5, "", "a", "replace", "delete", True, [], {}, [{}], 10**25, NOW])
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=4), max_leaves=15)
PATHS = st.sampled_from(
    ["", "/spec", "/spec/containers/0", "/spec/containers/-", "/metadata/labels/a", "/x/y", "/status"]
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "test", "copy", "move", "z"]), "path": PATHS},
    optional={"value": VALUES, "from": PATHS},
)
WIDGET_SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "nested": {"type": "object", "default": {}, "properties": {"name": {"type": "string", "default": "n"}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
            "x-kubernetes-validations": [{"rule": "!has(self.size) || self.size < 9"}],
        }
    },
}


def served() -> tuple[Schemas, ResourceType]:
    """Schemas with one custom type."""
    schemas = Schemas()
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": WIDGET_SCHEMA}}
    crd: Object = {
        "metadata": {"name": "widgets.e.com"},
        "spec": {"group": "e.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    settled = schemas.settle_crd(crd, [], NOW)
    assert settled is not None
    return schemas, schemas.add_crd(settled)[0].type


SCHEMAS, WIDGETS = served()
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "uid": "u", "labels": {"a": "b"}, "finalizers": ["x"]},
    "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]},
}
WIDGET: Object = {
    "apiVersion": "e.com/v1",
    "kind": "Widget",
    "metadata": {"name": "w", "uid": "u"},
    "spec": {"tags": ["a"]},
}
for _type, _obj in ((PODS, POD), (WIDGETS, WIDGET)):
    SCHEMAS.update_managed_fields(_type, _obj, None, manager="m", now=NOW)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.booleans(),
    st.integers(0, 3),
    st.lists(OPERATIONS, max_size=3),
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.sampled_from(["Strict", "Warn", "Ignore"]),
)
def test_any_patch_is_answered(
    custom: bool, which: int, operations: list[Any], body: dict[str, Any], validation: str
) -> None:
    """All patch types on a built-in and a custom object; ownership is tracked whatever came out."""
    rtype, current = (WIDGETS, WIDGET) if custom else (PODS, POD)
    kinds = SCHEMAS.patch_media_types(rtype)
    content_type = kinds[which % len(kinds)]
    patch: Any = operations if "json-patch" in content_type else body
    if "apply" in content_type:
        patch = {**body, "apiVersion": rtype.group_version, "kind": rtype.kind}
    before = orjson.dumps(current)
    try:
        done = SCHEMAS.apply_patch(
            content_type, rtype, current, _json(patch), manager="kubectl", now=NOW, field_validation=validation
        )
        if isinstance(done.obj.get("metadata"), dict) and not done.applied:
            SCHEMAS.update_managed_fields(rtype, done.obj, current, manager="z", now=NOW)
        SCHEMAS.finish(rtype, done.obj)
    except StatusError as error:
        assert 400 <= error.code <= 500
    assert orjson.dumps(current) == before


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_body_is_answered(custom: bool, body: dict[str, Any]) -> None:
    """Parse and decode of anything that is a JSON object."""
    rtype = WIDGETS if custom else PODS
    try:
        parsed = SCHEMAS.parse(_json(body), "application/json", rtype.kind, custom=custom)
        obj, _ = SCHEMAS.decode(rtype, parsed.obj, duplicates=parsed.duplicates)
        SCHEMAS.finish(rtype, obj)
    except StatusError as error:
        assert error.code in {400, 422}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
