"""PATCH bodies turned into the object that is wanted, with kube-apiserver's errors.

The problem: four patch types share one outcome but fail in their own words: a JSON patch that does not apply is
a bare 422, a merge patch whose result does not decode shows the whole result, a strategic patch error is a 500.
The recordings hold those words; the algorithms are in jsonpatch, strategic and managed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from podloom.kube.api.contract import Cause, Object, StatusError
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.decode import DecodeError
from podloom.kube.api.schema.jsonpatch import PatchError, json_patch, merge_patch
from podloom.kube.api.schema.nodes import Node
from podloom.kube.api.schema.parse import SyntaxError_, dumps, load_json, load_yaml
from podloom.kube.api.schema.strategic import StrategicError, go_map, strategic_merge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
MAX_OPERATIONS = 10000
_META_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip
_ENTRY_ORDER = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")
# Decodes an object: returns it and the paths of unknown fields.
Decode = Callable[[Object], tuple[Object, list[str]]]


def changed_object(
    content_type: str, node: Node, current: Object, body: bytes, *, field_validation: str, decode: Decode
) -> tuple[Object, list[str]]:
    """The outcome of a JSON, merge or strategic patch of current, and warnings."""
    patch, doubled = _load(body, content_type)
    if content_type == JSON_PATCH:
        result = _json_patched(current, patch)
        shown: Callable[[], str] = lambda: _document(result)  # noqa: E731
    elif content_type == MERGE_PATCH:
        result = clone(merge_patch(current, patch))
        shown = lambda: _document(result)  # noqa: E731
    else:
        result = _strategic(node, current, patch)
        shown = lambda: go_map(patch)  # noqa: E731
    before = shown() if field_validation == "Strict" else ""
    kept = clone(result) if not before else None
    try:
        obj, unknown = decode(result)
    except DecodeError as error:
        text = before or (go_map(patch) if content_type == STRATEGIC_PATCH else _document(kept))
        raise _invalid(text, str(error)) from error
    complaints = [f'duplicate field "{path}"' for path in doubled]
    complaints += [f'unknown field "{path}"' for path in unknown]
    if complaints and field_validation == "Strict":
        raise _invalid(before, "strict decoding error: " + ", ".join(complaints))
    return obj, complaints if field_validation == "Warn" else []


def _load(body: bytes, content_type: str) -> tuple[Any, list[str]]:
    try:
        patch, doubled = load_json(body)
    except SyntaxError_ as error:
        prefix = "" if content_type == STRATEGIC_PATCH else "error decoding patch: "
        raise StatusError(400, "BadRequest", f"{prefix}{error}") from error
    wanted, go_type = (
        (list, "[]handlers.jsonPatchOp") if content_type == JSON_PATCH else (dict, "map[string]interface {}")
    )
    if not isinstance(patch, wanted):
        names = {dict: "object", list: "array", str: "string", bool: "bool"}
        what = names.get(type(patch), "number")
        prefix = "" if content_type == STRATEGIC_PATCH else "error decoding patch: "
        raise StatusError(400, "BadRequest", f"{prefix}json: cannot unmarshal {what} into Go value of type {go_type}")
    return patch, doubled


def _json_patched(current: Object, patch: list[Any]) -> Object:
    if len(patch) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        raise StatusError(413, "RequestEntityTooLarge", text)
    for operation in patch:
        if not isinstance(operation, dict):
            text = "error decoding patch: json: cannot unmarshal into Go value of type handlers.jsonPatchOp"
            raise StatusError(400, "BadRequest", text)
    try:
        result = json_patch(current, patch)
    except PatchError as error:
        text = "the server rejected our request due to an error in our request"
        raise StatusError(422, "Invalid", text, details={}) from error
    if not isinstance(result, dict):
        raise StatusError(422, "Invalid", "the server rejected our request due to an error in our request", details={})
    return result


def _strategic(node: Node, current: Object, patch: dict[str, Any]) -> Object:
    try:
        return strategic_merge(node, current, patch)
    except StrategicError as error:
        reason = {400: "BadRequest", 422: "Invalid"}.get(error.code, "")
        raise StatusError(error.code, reason, str(error)) from error


def _invalid(shown: str, mistake: str) -> StatusError:
    text = f"Invalid value: {go_quote(shown)}: {mistake}"
    cause = Cause("FieldValueInvalid", text, "patch")
    return StatusError(422, "Invalid", f' "" is invalid: patch: {text}', causes=[cause])


def go_quote(text: str) -> str:
    """The text as %q prints it."""
    return json.dumps(text, ensure_ascii=False)


def _document(obj: Any) -> str:
    """The patched document as the Go library leaves it: sorted keys, metadata in the order of its type."""
    if not isinstance(obj, dict):
        return dumps(obj)
    parts = []
    for key in sorted(obj):
        value = obj[key]
        text = _metadata(value) if key == "metadata" and isinstance(value, dict) else dumps(value)
        parts.append(f"{json.dumps(key)}:{text}")
    return "{" + ",".join(parts) + "}"


def _metadata(meta: dict[str, Any]) -> str:
    parts = []
    for key in [*(k for k in _META_ORDER if k in meta), *sorted(k for k in meta if k not in _META_ORDER)]:
        value = meta[key]
        if key == "managedFields" and isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            text = "[" + ",".join(_ordered(entry, _ENTRY_ORDER) for entry in value) + "]"
        else:
            text = dumps(value)
        parts.append(f"{json.dumps(key)}:{text}")
    return "{" + ",".join(parts) + "}"


def _ordered(entry: dict[str, Any], order: Sequence[str]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}:{dumps(entry[key])}" for key in order if key in entry) + "}"


# -- apply -------------------------------------------------------------------------------------------------


def load_configuration(body: bytes, field_validation: str) -> tuple[Object, list[str]]:
    """The applied configuration and warnings; 400 when it is no YAML object, or (Strict) has doubled keys."""
    config: Any
    try:
        config, doubled = _load_json_or_yaml(body)
    except SyntaxError_ as error:
        text = f"error decoding YAML: error converting YAML to JSON: {error}"
        raise StatusError(400, "BadRequest", text) from error
    if not isinstance(config, dict):
        text = "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
        names = {list: "array", str: "string", bool: "bool"}
        raise StatusError(
            400,
            "BadRequest",
            f"{text}{names.get(type(config), 'number')} into Go value of type map[string]interface {{}}",
        )
    if config.get("metadata") is None:
        config["metadata"] = {}
    if doubled:
        text = f"error converting YAML to JSON: {doubled}"
        if field_validation == "Strict":
            raise StatusError(400, "BadRequest", f"error strict decoding YAML: {text}")
        return config, [text] if field_validation == "Warn" else []
    return config, []


def _load_json_or_yaml(body: bytes) -> tuple[Any, str]:
    """JSON is YAML, and twenty times faster to read; YAML's reader is for what is not, or has doubled keys."""
    if body[:1] == b"{":
        try:
            config, doubled = load_json(body)
        except SyntaxError_:
            doubled = ["?"]
        if not doubled:
            return config, ""
    return load_yaml(body)


def check_identity(config: Object, version: str, kind: str) -> str:
    """The configuration's group, version and kind as messages show them; 400 when they are not the type's."""
    api_version = config.get("apiVersion") or ""
    own_kind = config.get("kind") or ""
    group, _, own_version = str(api_version).rpartition("/")
    gvk = f"{group}/{own_version}, Kind={own_kind}"
    if api_version != version or own_kind != kind:
        raise StatusError(400, "BadRequest", f"invalid object type: {gvk}")
    meta = config.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise StatusError(400, "BadRequest", "metadata.managedFields must be nil")
    return gvk
