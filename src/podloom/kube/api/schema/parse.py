"""Request bodies as objects, with the texts a Go server answers to bodies that are none.

The problem: bodies come as JSON or YAML 1.1; duplicate keys must be noticed (fieldValidation), and a body that
does not parse is answered with the exact words of Go's decoders, which scripts and tests match on.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import orjson
import yaml

_LITERALS = (b"true", b"false", b"null")
_NUMBER = re.compile(rb"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_MAX_NODES = 400_000
_SPACE = re.compile(rb"[ \t\r\n]*")


class SyntaxError_(Exception):
    """A body that does not parse; the text is Go's."""


class _Found(Exception):
    """A duplicate key was seen: look closer."""


# -- JSON --------------------------------------------------------------------------------------------------


def load_json(body: bytes) -> tuple[Any, list[str]]:
    """The value and the paths of keys that occur twice (the last wins). Raises SyntaxError_."""
    try:
        return json.loads(body, object_pairs_hook=_strict_pairs, parse_constant=_no_constant, parse_int=_int), []
    except _Found:
        return json.loads(body, parse_int=_int), _duplicates(body)
    except RecursionError as error:
        raise SyntaxError_("exceeded max depth") from error
    except ValueError as error:
        raise SyntaxError_(go_json_error(body)) from error


def _int(text: str) -> int | float:
    """Integers beyond 64 bits become floats, as in Go's unstructured values."""
    value = int(text) if len(text) < 24 else 2**64
    return value if -(2**63) <= value < 2**63 else float(text)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _strict_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise _Found
    return out


def _duplicates(body: bytes) -> list[str]:
    pairs = json.loads(body, object_pairs_hook=lambda found: found)
    out: list[str] = []
    _walk_pairs(pairs, "", out)
    return out


def _walk_pairs(value: Any, path: str, out: list[str]) -> None:
    if not isinstance(value, list):
        return
    if value and all(isinstance(pair, tuple) for pair in value):
        seen: set[str] = set()
        for key, part in value:
            below = f"{path}.{key}" if path else key
            if key in seen:
                out.append(below)
            seen.add(key)
            _walk_pairs(part, below, out)
    else:
        for index, part in enumerate(value):
            _walk_pairs(part, f"{path}[{index}]", out)


def go_json_error(body: bytes) -> str:
    """What encoding/json says of a body that is no JSON."""
    try:
        end = _value(body, _skip(body, 0), "looking for beginning of value")
        end = _skip(body, end)
        if end < len(body):
            raise _bad(body, end, "after top-level value")
    except SyntaxError_ as error:
        return str(error)
    return "invalid JSON document"


def _bad(body: bytes, at: int, context: str) -> SyntaxError_:
    if at >= len(body):
        return SyntaxError_("unexpected end of JSON input")
    char = body[at : at + 1].decode("latin-1")
    shown = {"'": "'\\''", '"': "'\"'"}.get(char, f"'{char}'" if char.isprintable() else repr(char))
    return SyntaxError_(f"invalid character {shown} {context}")


def _skip(body: bytes, at: int) -> int:
    match = _SPACE.match(body, at)
    return match.end() if match else at


def _value(body: bytes, at: int, context: str) -> int:
    start = body[at : at + 1]
    if start == b"{":
        return _members(body, at + 1)
    if start == b"[":
        return _elements(body, at + 1)
    if start == b'"':
        return _text(body, at)
    if start and start in b"-0123456789":
        match = _NUMBER.match(body, at)
        if not match:
            raise _bad(body, at + 1, "in numeric literal")
        return match.end()
    for literal in _LITERALS:
        if start and literal.startswith(start):
            return _literal(body, at, literal)
    raise _bad(body, at, context)


def _literal(body: bytes, at: int, literal: bytes) -> int:
    for offset in range(1, len(literal)):
        if body[at + offset : at + offset + 1] != literal[offset : offset + 1]:
            wanted = literal[offset : offset + 1].decode()
            raise _bad(body, at + offset, f"in literal {literal.decode()} (expecting '{wanted}')")
    return at + len(literal)


def _text(body: bytes, at: int) -> int:
    match = _STRING.match(body, at)
    if match:
        return match.end()
    good = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*').match(body, at)
    end = good.end() if good else at + 1
    if body[end : end + 1] == b"\\":
        raise _bad(body, end + 1, "in string escape code")
    raise _bad(body, end, "in string literal")


def _members(body: bytes, at: int) -> int:
    at = _skip(body, at)
    if body[at : at + 1] == b"}":
        return at + 1
    while True:
        if body[at : at + 1] != b'"':
            raise _bad(body, at, "looking for beginning of object key string")
        at = _skip(body, _text(body, at))
        if body[at : at + 1] != b":":
            raise _bad(body, at, "after object key")
        at = _skip(body, _value(body, _skip(body, at + 1), "looking for beginning of value"))
        if body[at : at + 1] == b"}":
            return at + 1
        if body[at : at + 1] != b",":
            raise _bad(body, at, "after object key:value pair")
        at = _skip(body, at + 1)


def _elements(body: bytes, at: int) -> int:
    at = _skip(body, at)
    if body[at : at + 1] == b"]":
        return at + 1
    while True:
        at = _skip(body, _value(body, at, "looking for beginning of value"))
        if body[at : at + 1] == b"]":
            return at + 1
        if body[at : at + 1] != b",":
            raise _bad(body, at, "after array element")
        at = _skip(body, at + 1)


# -- YAML --------------------------------------------------------------------------------------------------


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 scalars as Go's yaml.v2 resolves them: y and n are booleans, times are strings."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}
    doubled: list[tuple[int, str]]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _json_key(self.construct_object(key_node, deep=True))
            if key in out:
                self.doubled.append((key_node.start_mark.line + 1, key))
            out[key] = self.construct_object(value_node, deep=True)
        return out


def _json_key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    return loader.construct_mapping(node, deep=True)


def _construct_bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return node.value[0] in "yYtT" or node.value.lower() == "on"


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = node.value.replace("_", "")
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-")
    if text.startswith(("0x", "0b", "0o")):
        value = sign * int(text, 0)
    else:
        octal = len(text) > 1 and text[0] == "0" and not re.search("[89]", text)
        value = sign * int(text, 8 if octal else 10)
    return value if -(2**63) <= value < 2**63 else float(value)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
for _tag, _pattern, _first in (
    ("bool", r"^(?:y|Y|yes|Yes|YES|on|On|ON|true|True|TRUE|n|N|no|No|NO|off|Off|OFF|false|False|FALSE)$", "yYnNtTfFoO"),
    ("int", r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), ["" if c == "\0" else c for c in _first]
    )


def load_yaml(body: bytes) -> tuple[Any, str]:
    """The value as JSON types, and what a strict decoder says of duplicate keys ("" if there are none).

    Raises SyntaxError_ with yaml.v2's text.
    """
    loader = _Loader(body)
    loader.doubled = []
    try:
        value = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise SyntaxError_(_go_yaml_error(error)) from error
    except yaml.YAMLError as error:
        raise SyntaxError_(f"yaml: {error}") from error
    except RecursionError as error:
        raise SyntaxError_("yaml: exceeded max depth") from error
    finally:
        loader.dispose()
    if b"*" in body and _nodes(value) > _MAX_NODES:
        raise SyntaxError_("yaml: document contains excessive aliasing")
    lines = "\n".join(f'  line {line}: key "{key}" already set in map' for line, key in loader.doubled)
    return value, f"yaml: unmarshal errors:\n{lines}" if lines else ""


def _nodes(value: Any) -> int:
    """How many values there are once aliases are written out; counting stops past the limit."""
    count = 0
    left = [value]
    while left and count <= _MAX_NODES:
        part = left.pop()
        count += 1
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list):
            left += part
    return count


def _go_yaml_error(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    if isinstance(error, yaml.scanner.ScannerError) or line == 0:
        line += 1
    return f"yaml: line {line}: {error.problem}"


# -- whole bodies ------------------------------------------------------------------------------------------


def summary(body: bytes) -> str:
    """How messages show a body that was not understood."""
    if not body:
        return "<empty>"
    head, more = body[:30], " ..." if len(body) > 30 else ""
    return (head.decode(errors="replace") if body[:1] == b"{" else head.hex()) + more


def dumps(value: Any) -> str:
    """Compact JSON with sorted keys, as Go marshals a map."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
