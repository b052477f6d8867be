"""Custom objects held to their schema, in the words of a real server.

The problem: what a value breaks must come back as one cause per mistake with kube-openapi's texts, and on updates
a field that did not change may keep breaking the rules (ratcheting, KEP-4008): values are compared with the old
object's along the way, list maps item by item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import orjson

from podloom.kube.api.contract import Cause
from podloom.kube.api.schema.formats import matches_format
from podloom.kube.api.schema.structural import EMBEDDED, INT_OR_STRING, Schema

MISSING: Any = object()
BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueDuplicate",
        "FieldValueTypeInvalid",
    }
)
NOT_CHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)


def show(value: Any) -> str:
    """A value as field errors show it: strings quoted, the rest as JSON."""
    if value is None:
        return "null"
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def invalid(path: str, value: Any, text: str) -> Cause:
    """`Invalid value: <value>: <text>`."""
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}: {text}", path)


def type_name(value: Any) -> str:
    """The JSON type of a value as messages name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    names: dict[type, str] = {float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def validate(schema: Schema, value: Any, old: Any = MISSING, path: str = "") -> list[Cause]:
    """Everything value breaks; nothing for parts that equal the corresponding part of old."""
    if old is not MISSING and old == value:
        return []
    out: list[Cause] = []
    if value is None and schema.get("nullable"):
        return out
    if not _type_fits(schema, value):
        wanted = "integer,string" if schema.get(INT_OR_STRING) else schema["type"]
        name = type_name(value)
        text = f"{path} in body must be of type {wanted}: {show(name)}"
        out.append(Cause("FieldValueTypeInvalid", f"Invalid value: {show(name)}: {text}", path))
    out += _combinations(schema, value, path)
    if isinstance(value, str):
        out += _string(schema, value, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        out += _number(schema, value, path)
    elif isinstance(value, list):
        out += _array(schema, value, old, path)
    elif isinstance(value, dict):
        out += _object(schema, value, old, path)
    if "enum" in schema and schema["enum"] is not None and value not in schema["enum"]:
        allowed = ", ".join(show(v) for v in schema["enum"])
        out.append(
            Cause("FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {allowed}", path)
        )
    return out


def _type_fits(schema: Schema, value: Any) -> bool:
    if schema.get(INT_OR_STRING):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    wanted = schema.get("type")
    if not wanted:
        return True
    name = type_name(value)
    if name == "number" and wanted == "integer":
        return bool(value == int(value))
    return name == wanted or (wanted == "number" and name == "integer")


# -- scalars -----------------------------------------------------------------------------------------------


@cache
def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text.replace(r"\z", r"\Z"))
    except re.error:
        return None


def _string(schema: Schema, value: str, path: str) -> Iterable[Cause]:
    mistake = _length_or_pattern(schema, value, path)
    if mistake is not None:
        yield mistake
    wanted = schema.get("format")
    if wanted and not matches_format(wanted, value):
        text = f"{path} in body must be of type {wanted}: {show(value)}"
        yield Cause("FieldValueTypeInvalid", f"Invalid value: {show(value)}: {text}", path)


def _length_or_pattern(schema: Schema, value: str, path: str) -> Cause | None:
    """The first of these that is broken; a real server says no more than that."""
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None and len(value) > longest:
        return Cause("FieldValueTooLong", f"Too long: may not be more than {longest} bytes", path)
    if shortest is not None and len(value) < shortest:
        return invalid(path, value, f"{path} in body should be at least {shortest} chars long")
    compiled = _pattern(pattern) if pattern else None
    if compiled is not None and not compiled.search(value):
        return invalid(path, value, f"{path} in body should match '{pattern}'")
    return None


def _number(schema: Schema, value: float, path: str) -> Iterable[Cause]:
    bounded = any(schema.get(key) is not None for key in ("minimum", "maximum", "multipleOf"))
    if bounded and schema.get("type") == "integer" and value != int(value):
        kind = f"integer ({schema.get('format') or 'default'} format)"
        yield invalid("<nil>", "", f"Checked value must be of type {kind} in {path}")
        return
    step = schema.get("multipleOf")
    if step and value % step:
        yield invalid(path, value, f"{path} in body should be a multiple of {show(step)}")
    top, bottom = schema.get("maximum"), schema.get("minimum")
    if top is not None and (value > top or (schema.get("exclusiveMaximum") and value == top)):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield invalid(path, value, f"{path} in body should be {words} {show(top)}")
    if bottom is not None and (value < bottom or (schema.get("exclusiveMinimum") and value == bottom)):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid(path, value, f"{path} in body should be {words} {show(bottom)}")


# -- containers --------------------------------------------------------------------------------------------


def _many(count: int, limit: int, path: str) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} items", path)


def _array(schema: Schema, value: list[Any], old: Any, path: str) -> Iterable[Cause]:
    most, fewest = schema.get("maxItems"), schema.get("minItems")
    if fewest is not None and len(value) < fewest:
        yield invalid(path, len(value), f"{path} in body should have at least {fewest} items")
    if most is not None and len(value) > most:
        yield _many(len(value), most, path)
    if schema.get("uniqueItems") and len({show(v) for v in value}) < len(value):
        yield invalid(path, value, f"{path} in body shouldn't contain duplicates")
    items = schema.get("items")
    if isinstance(items, dict):
        before = correlate(schema, old)
        for index, part in enumerate(value):
            yield from validate(items, part, before(index, part), f"{path}[{index}]")


def _object(schema: Schema, value: dict[str, Any], old: Any, path: str) -> Iterable[Cause]:
    most, fewest = schema.get("maxProperties"), schema.get("minProperties")
    if fewest is not None and len(value) < fewest:
        yield invalid(path, len(value), f"{path} in body should have at least {fewest} properties")
    if most is not None and len(value) > most:
        yield _many(len(value), most, path)
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    was = old if isinstance(old, dict) else {}
    for key, part in value.items():
        below = f"{path}.{key}" if path else key
        inner = properties.get(key, additional)
        if isinstance(inner, dict):
            yield from validate(inner, part, was.get(key, MISSING), below)
    for key in schema.get("required") or ():
        if key not in value:
            yield Cause("FieldValueRequired", "Required value", f"{path}.{key}" if path else key)
    if schema.get(EMBEDDED):
        for key in ("apiVersion", "kind"):
            if not value.get(key):
                yield Cause("FieldValueRequired", "Required value: must not be empty", f"{path}.{key}")


def correlate(schema: Schema, old: Any) -> Callable[[int, Any], Any]:
    """Which item of the old list an item of a list map continues; MISSING where nothing can be said."""
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return lambda _index, _item: MISSING
    defaults = ((schema.get("items") or {}).get("properties")) or {}

    def key(item: Any) -> str:
        found = item if isinstance(item, dict) else {}
        return show([found.get(k, (defaults.get(k) or {}).get("default")) for k in keys])

    by_key = {key(item): item for item in old}
    return lambda _index, item: by_key.get(key(item), MISSING)


# -- allOf, anyOf, oneOf, not ------------------------------------------------------------------------------


def _combinations(schema: Schema, value: Any, path: str) -> Iterable[Cause]:
    def fits(part: Schema) -> bool:
        return not validate(part, value, MISSING, path)

    shown = show(path)
    if schema.get("anyOf") and not any(fits(part) for part in schema["anyOf"]):
        yield invalid("<nil>", "", f"{shown} must validate at least one schema (anyOf)")
    if schema.get("oneOf"):
        good = sum(fits(part) for part in schema["oneOf"])
        if good != 1:
            found = "Found none valid" if good == 0 else f"Found {good} valid alternatives"
            yield invalid("<nil>", "", f"{shown} must validate one and only one schema (oneOf). {found}")
    if schema.get("allOf"):
        good = sum(fits(part) for part in schema["allOf"])
        if good != len(schema["allOf"]):
            none = ". None validated" if good == 0 else ""
            yield invalid("<nil>", "", f"{shown} must validate all the schemas (allOf){none}")
    if schema.get("not") and fits(schema["not"]):
        yield invalid("<nil>", "", f"{shown} must not validate the schema (not)")


# -- list types --------------------------------------------------------------------------------------------


def validate_lists(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """Items that occur twice in lists of type set or map."""
    out: list[Cause] = []
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
        out += _twice(schema, items or {}, value, path)
        for index, part in enumerate(value):
            out += validate_lists(items or {}, part, f"{path}[{index}]")
    elif isinstance(value, dict):
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        for key, part in value.items():
            inner = properties.get(key, additional)
            if isinstance(inner, dict):
                out += validate_lists(inner, part, f"{path}.{key}" if path else key)
    return out


def _twice(schema: Schema, items: Schema, value: list[Any], path: str) -> Iterable[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in {"set", "map"}:
        return
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: set[str] = set()
    for index, item in enumerate(value):
        identity = item
        if kind == "map":
            if not isinstance(item, dict):
                continue
            identity = {k: item[k] for k in keys if k in item}
        text = show(identity)
        if text in seen:
            yield Cause("FieldValueDuplicate", f"Duplicate value: {text}", f"{path}[{index}]")
        seen.add(text)
