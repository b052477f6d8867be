"""Objects as the server's types hold them.

The problem: clients send fields that do not exist, values of the wrong type, nulls and empty values, and a real
server answers as Go's decoder does: unknown fields are dropped with a warning (or refused), a wrong type is a
400 that names the Go field, nulls and empty optional values vanish. `decode` walks the object once along its
schema and does all of that; `finish` adds what Go would write that nobody sent.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from typing import Any

from podloom.kube.api.schema.nodes import SCALARS, Field, Node
from podloom.kube.api.schema.quantity import canonical

_RFC3339 = re.compile(
    r"^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$"
)
_TIME = re.compile(r"^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$")
_MICRO_TIME = re.compile(_TIME.pattern.replace("Z$", r"\.\d{6}Z$"))
_QUANTITY_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_BOUNDS = {"int32": 2**31, "int64": 2**63}


class DecodeError(Exception):
    """The text Go's decoder gives; str(error) is the message."""


class Decoder:
    """One walk over one object; unknown holds the paths of fields the schema does not declare, in order."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def run(self, node: Node, value: Any) -> Any:
        """value as the type holds it. Raises DecodeError at the first wrong type. Mutates containers."""
        return self._walk(node, value, "", "", "")

    def _walk(self, node: Node, value: Any, path: str, owner: str, go_path: str) -> Any:
        kind = node.kind
        if kind == "struct":
            return self._struct(node, value, path, owner, go_path)
        if kind == "list":
            return self._list(node, value, path, owner, go_path)
        if kind == "map":
            return self._map(node, value, path, owner, go_path)
        if kind in SCALARS:
            return _scalar(node, value, owner, go_path)
        if kind == "union" and isinstance(value, dict) and node.item is not None:
            return self._struct(node.item, value, path, owner, go_path)
        if kind == "opaque" and not isinstance(value, dict):
            raise _mismatch(value, node, owner, go_path)
        return value

    def _struct(self, node: Node, value: Any, path: str, owner: str, go_path: str) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, node, owner, go_path)
        fields = node.fields
        name = node.go.rpartition(".")[2]
        dropped = None
        for key, sent in value.items():
            field = fields.get(key)
            below = f"{path}.{key}" if path else key
            if field is None:
                if not node.extra:
                    self.unknown.append(below)
                    dropped = [*dropped, key] if dropped else [key]
                continue
            if sent is None:
                dropped = [*dropped, key] if dropped else [key]
                continue
            part = self._walk(field.node, sent, below, name, f"{go_path}.{key}" if go_path else key)
            value[key] = part
            if part is None or (field.letter == "z" and not part):
                dropped = [*dropped, key] if dropped else [key]
        if dropped:
            for key in dropped:
                del value[key]
        return value

    def _list(self, node: Node, value: Any, path: str, owner: str, go_path: str) -> Any:
        if not isinstance(value, list):
            raise _mismatch(value, node, owner, go_path)
        item = node.item
        if item is None or item.kind == "any":
            return value
        for index, part in enumerate(value):
            if part is None:
                value[index] = zero(item)
            else:
                value[index] = self._walk(item, part, f"{path}[{index}]", owner, go_path)
        return value

    def _map(self, node: Node, value: Any, path: str, owner: str, go_path: str) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, node, owner, go_path)
        item = node.item
        if item is None or item.kind == "any":
            return value
        plain = item.kind == "string"
        for key, part in value.items():
            if plain and type(part) is str:
                continue
            value[key] = zero(item) if part is None else self._walk(item, part, f"{path}.{key}", owner, go_path)
        return value


_PLAIN: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "intorstring": (int, str),
}


def _scalar(node: Node, value: Any, owner: str, go_path: str) -> Any:
    kind = node.kind
    if type(value) in _PLAIN.get(kind, ()):
        return value
    if kind == "integer" and type(value) is int and -_BOUNDS[node.go] <= value < _BOUNDS[node.go]:
        return value
    if kind == "quantity":
        return _quantity(value)
    if kind == "time":
        return _time(node, value, owner, go_path)
    if kind == "bytes" and type(value) is str:
        return _base64(value)
    raise _mismatch(value, node, owner, go_path)


def _base64(value: str) -> str:
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except binascii.Error as error:
        bad = re.search(r"[^A-Za-z0-9+/=\r\n]", value)
        at = bad.start() if bad else len(value) // 4 * 4
        raise DecodeError(f"illegal base64 data at input byte {at}") from error
    return value


def _quantity(value: Any) -> Any:
    try:
        if type(value) is str:
            return canonical(value.strip())
        if type(value) in (int, float):
            return canonical(repr(value))
    except ValueError:
        pass
    raise DecodeError(_QUANTITY_MESSAGE)


def _time(node: Node, value: Any, owner: str, go_path: str) -> Any:
    if type(value) is not str:
        raise _mismatch(value, Node("string", "string"), owner, go_path)
    if (_MICRO_TIME if node.micro else _TIME).match(value):
        return value
    if _RFC3339.match(value):
        return _in_utc(value, node.micro)
    layout = "2006-01-02T15:04:05.000000Z07:00" if node.micro else "2006-01-02T15:04:05Z07:00"
    rest, element = _time_mismatch(value)
    raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as "{element}"')


def _in_utc(value: str, micro: bool) -> str:
    """A time as Go writes it back: UTC, whole seconds or microseconds."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", value.replace("Z", "+00:00"))
    found = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _time_mismatch(value: str) -> tuple[str, str]:
    """The rest of the text and the layout element where Go's time.Parse gives up."""
    elements = [
        (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
        (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d(?:\.\d+)?", "05"),
    ]  # fmt: skip
    rest = value
    for pattern, element in elements:
        match = re.match(pattern, rest)
        if not match:
            return rest, element
        rest = rest[match.end() :]
    return rest, "Z07:00"


def _mismatch(value: Any, node: Node, owner: str, go_path: str) -> DecodeError:
    names = {bool: "bool", str: "string", list: "array", dict: "object"}
    what = names.get(type(value), "number")
    if what == "number" and node.kind == "integer":
        what = f"number {value}"
    if not owner:
        return DecodeError(f"json: cannot unmarshal {what} into Go value of type {node.go}")
    return DecodeError(f"json: cannot unmarshal {what} into Go struct field {owner}.{go_path} of type {node.go}")


# -- the other direction: what Go writes that nobody sent -------------------------------------------------


def zero(node: Node) -> Any:
    """What the zero value of the type looks like when written: {} with its always-present parts, "" or 0."""
    kind = node.kind
    if kind == "struct":
        return finish(node, {})
    if kind in {"string", "bytes"}:
        return ""
    if kind in {"integer", "number", "intorstring"}:
        return 0
    if kind == "quantity":
        return "0"
    return False if kind == "boolean" else None


def finish(node: Node, value: dict[str, Any]) -> dict[str, Any]:
    """Drop what Go drops from a struct and add what it always writes, all the way down. In place, idempotent.

    A required list that is empty becomes null where objects are stored in a binary form that knows no empty lists.
    """
    fields = node.fields
    dropped = None
    for name, part in value.items():
        field = fields.get(name)
        if field is None:
            continue
        if (part is None and field.letter in "pz") or (field.letter == "z" and not part):
            dropped = [*dropped, name] if dropped else [name]
        elif field.letter == "n" and not part and node.stored_binary:
            value[name] = None
        elif type(part) is dict or type(part) is list:
            _finish_part(field.node, part)
    if dropped:
        for name in dropped:
            del value[name]
    for field in _always(node):
        if value.get(field.name) is None:
            value[field.name] = _written(field)
    return value


def _always(node: Node) -> tuple[Field, ...]:
    if node.always is None:
        node.always = tuple(field for field in node.fields.values() if field.letter in "sntr")
    return node.always


def _written(field: Field) -> Any:
    if field.letter == "s":
        return finish(field.node, {})
    return zero(field.node) if field.letter == "r" else None


def _finish_part(node: Node, value: Any) -> None:
    kind = node.kind
    if kind == "struct":
        if type(value) is dict:
            finish(node, value)
    elif kind == "list":
        if node.item is not None and node.item.kind not in SCALARS:
            for part in value:
                _finish_part(node.item, part)
    elif kind == "map":
        if node.item is not None and node.item.kind not in SCALARS:
            for part in value.values():
                _finish_part(node.item, part)
    elif kind == "union" and node.item is not None:
        _finish_part(node.item, value)
