"""Request bodies in Kubernetes' protobuf form, decoded to the same objects as JSON.

The problem: kubectl's typed commands (create configmap, auth can-i, drain ...) send protobuf and do not fall back
when it is refused. Answers may stay JSON (clients accept both), so only decoding is needed: a table of field
numbers (protobuf.json, from the published API descriptors by tests/kube/api/wire_facts.py) and the wire format.
A body is the prefix `k8s\\0` and a runtime.Unknown that names the kind (Kubernetes "API concepts", "Protobuf
encoding").
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from typing import Any

from podloom.kube.api.contract import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
# Members that Go embeds: their fields appear one level higher in JSON.
_INLINE = (
    "volumeSource",
    "persistentVolumeSource",
    "handler",
    "ephemeralContainerCommon",
    "localObjectReference",
    "ingressRuleValue",
    "ruleWithOperations",
    "rule",
)
# Fields that are spelled otherwise in JSON.
_SPELLED = {"uID": "uid", "aPIGroup": "apiGroup", "Webhooks": "webhooks", "Expression": "expression", "Name": "name"}
_META = "apis.meta.v1."


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, list[str]]]:
    text = resources.files(__package__).joinpath("protobuf.json").read_text()
    found: dict[str, dict[str, list[str]]] = json.loads(text)
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(field number, int or bytes) of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value - (1 << 64) if value >= 1 << 63 else value
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("truncated field")
            yield number, data[at : at + size]
            at += size
        elif wire == 1:
            yield number, struct.unpack_from("<d", data, at)[0]
            at += 8
        elif wire == 5:
            yield number, struct.unpack_from("<f", data, at)[0]
            at += 4
        else:
            raise ValueError(f"wire type {wire}")


def _time(data: memoryview) -> str | None:
    found = dict(_fields(data))
    if not found:
        return None
    return datetime.fromtimestamp(found.get(1, 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(data: memoryview) -> str | None:
    found = dict(_fields(data))
    if not found:
        return None
    at = datetime.fromtimestamp(found.get(1, 0), UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{found.get(2, 0) // 1000:06d}Z"


def _int_or_string(data: memoryview) -> int | str:
    found = dict(_fields(data))
    return bytes(found.get(3, b"")).decode() if found.get(1) else int(found.get(2, 0))


def _text_member(data: memoryview) -> str:
    found = dict(_fields(data))
    return bytes(found.get(1, b"")).decode()


def _raw_member(data: memoryview) -> Any:
    raw = bytes(dict(_fields(data)).get(1, b""))
    return json.loads(raw) if raw else {}


def _items(data: memoryview) -> list[str]:
    return [bytes(v).decode() for _, v in _fields(data)]


_SPECIAL: dict[str, Callable[[memoryview], Any]] = {
    _META + "Time": _time,
    _META + "MicroTime": _micro_time,
    "util.intstr.IntOrString": _int_or_string,
    "api.resource.Quantity": _text_member,
    _META + "FieldsV1": _raw_member,
    "runtime.RawExtension": _raw_member,
    "authentication.v1.ExtraValue": _items,
    "authorization.v1.ExtraValue": _items,
    "certificates.v1.ExtraValue": _items,
}


def _value(kind: str, value: Any) -> Any:
    if kind == "s":
        return bytes(value).decode()
    if kind == "y":
        return base64.b64encode(bytes(value)).decode()
    if kind == "b":
        return bool(value)
    if kind in ("i", "d"):
        return value
    special = _SPECIAL.get(kind)
    return special(value) if special else _message(kind, value)


def _message(name: str, data: memoryview) -> Object:
    fields = _table()[name]
    found: Object = {}
    for number, raw in _fields(data):
        known = fields.get(str(number))
        if known is None:
            continue
        field, kind = _SPELLED.get(known[0], known[0]), known[1]
        if kind.endswith("[]"):
            found.setdefault(field, []).append(_value(kind[:-2], raw))
        elif kind.endswith("{}"):
            entry = dict(_fields(raw))
            key = bytes(entry.get(1, b"")).decode()
            found.setdefault(field, {})[key] = _value(kind[:-2], entry.get(2, memoryview(b"")))
        else:
            value = _value(kind, raw)
            if field in _INLINE and isinstance(value, dict):
                found.update(value)
            elif value is not None:
                found[field] = value
    return found


def _message_name(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    if kind in ("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "Status"):
        return _META + kind
    return f"{group.split('.', 1)[0] or 'core'}.{version}.{kind}"


def decode(body: bytes) -> Object:
    """The object in a protobuf body, with apiVersion and kind; raises ValueError for anything else."""
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        unknown = dict(_fields(memoryview(body)[4:]))
        type_meta = {n: bytes(v).decode() for n, v in _fields(unknown.get(1, memoryview(b"")))}
        api_version, kind = type_meta.get(1, ""), type_meta.get(2, "")
        name = _message_name(api_version, kind)
        if name not in _table():
            raise ValueError(f'no kind "{kind}" is registered for version "{api_version}"')
        obj = _message(name, unknown.get(2, memoryview(b"")))
    except (IndexError, struct.error, UnicodeDecodeError, AttributeError, TypeError) as exc:
        raise ValueError(f"malformed protobuf body: {exc}") from exc
    return {"kind": kind, "apiVersion": api_version, **obj}
