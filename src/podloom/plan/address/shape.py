"""The JSON shape of a wish: which known parts are text, lists or objects.

The problem: a client may send any JSON, and rules want to read `subnet["properties"]` without asking at each step
what it is. So a type says the shape of the parts its rules read; here a wish is compared with it, null counting as
absent. What the shape does not name is left as it is.
"""

from __future__ import annotations

from typing import Any

from podloom.model.findings import Finding

# A shape is a type (str, bool, int), {name: shape} for an object, or [shape] for a list. {} is any object.
Shape = Any

_WORDS = {str: "a text", bool: "true or false", int: "a whole number"}


def check_shape(value: Any, shape: Shape, target: str = "") -> tuple[Any, list[Finding]]:
    """`value` without nulls in its known parts, and a finding for each part of the wrong kind."""
    if isinstance(shape, dict):
        return _object(value, shape, target)
    if isinstance(shape, list):
        return _list(value, shape[0], target)
    right = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    return value, [] if right else [_wrong(value, _WORDS[shape], target)]


def _object(value: Any, shape: dict[str, Shape], target: str) -> tuple[Any, list[Finding]]:
    if not isinstance(value, dict):
        return value, [_wrong(value, "an object", target)]
    cleaned: dict[str, Any] = {}
    findings: list[Finding] = []
    for key, item in value.items():
        if key not in shape:
            cleaned[key] = item
        elif item is not None:
            cleaned[key], found = check_shape(item, shape[key], f"{target}.{key}" if target else key)
            findings += found
    return cleaned, findings


def _list(value: Any, shape: Shape, target: str) -> tuple[Any, list[Finding]]:
    if not isinstance(value, list):
        return value, [_wrong(value, "a list", target)]
    pairs = [check_shape(item, shape, f"{target}[{place}]") for place, item in enumerate(value)]
    return [item for item, _ in pairs], [finding for _, found in pairs for finding in found]


def _wrong(value: Any, wanted: str, target: str) -> Finding:
    text = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}..."
    message = f"The property '{target}' must be {wanted}, not {text}."
    return Finding("InvalidRequestContent", message, target)
