"""ConfigMaps and Secrets: data that pods use (kubernetes apis/core/validation)."""

from __future__ import annotations

import base64
import binascii
import json

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import text

MAX_BYTES = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"
_REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _size(obj: Object) -> int:
    total = 0
    for field in ("data", "binaryData"):
        for value in (obj.get(field) or {}).values():
            total += len(str(value).encode())
    return total


def _frozen(report: Report, obj: Object, old: Object, *fields: str) -> None:
    """What an immutable object may not change."""
    if not old.get("immutable"):
        return
    if not obj.get("immutable"):
        report.forbidden("immutable", _FROZEN)
    for field in fields:
        if (obj.get(field) or {}) != (old.get(field) or {}):
            report.forbidden(field, _FROZEN)


class ConfigMapKind(BuiltIn):
    """Text and bytes by key, at most 1 MiB, immutable when it says so."""

    printed = (
        (
            text("Data", "configmap-v1.data"),
            lambda obj, _: len(obj.get("data") or {}) + len(obj.get("binaryData") or {}),
        ),
    )

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        for key in data:
            report.format(f"data[{key}]", key, formats.config_key)
            if key in binary:
                report.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        for key in binary:
            report.format(f"binaryData[{key}]", key, formats.config_key)
        if _size(obj) > MAX_BYTES:
            report.too_long("[]", MAX_BYTES)

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        _frozen(report, obj, old, "data", "binaryData")


class SecretKind(BuiltIn):
    """Bytes by key, with a type that may demand keys; stringData is folded into data."""

    printed = (
        (text("Type", "secret-v1.type"), lambda obj, _: obj.get("type", "")),
        (text("Data", "secret-v1.data"), lambda obj, _: len(obj.get("data") or {})),
    )
    field_labels = ("type",)

    def default(self, obj: Object, ctx: Context) -> None:
        plain = obj.pop("stringData", None) or {}
        if plain:
            data = obj.get("data") or {}
            for key, value in plain.items():
                data[key] = base64.b64encode(str(value).encode()).decode()
            obj["data"] = data
        obj["type"] = obj.get("type") or "Opaque"

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        data = obj.get("data") or {}
        for key in data:
            report.format(f"data[{key}]", key, formats.config_key)
        if sum(_decoded_size(value) for value in data.values()) > MAX_BYTES:
            report.too_long("data", MAX_BYTES)
        kind = obj.get("type", "")
        for key in _REQUIRED_KEYS.get(kind, ()):
            if key not in data:
                report.required(f"data[{key}]")
        if kind == "kubernetes.io/dockerconfigjson" and ".dockerconfigjson" in data:
            _check_json(report, "data[.dockerconfigjson]", data[".dockerconfigjson"])
        if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
            report.required("data[username]")
            report.required("data[password]")
        if kind == "kubernetes.io/service-account-token":
            notes = obj["metadata"].get("annotations") or {}
            if not notes.get("kubernetes.io/service-account.name"):
                report.required("metadata.annotations[kubernetes.io/service-account.name]")

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        report.immutable("type", obj.get("type", ""), old.get("type", ""))
        _frozen(report, obj, old, "data")

    def field_values(self, obj: Object) -> dict[str, str]:
        return {"type": obj.get("type", "")}


def _decoded_size(value: str) -> int:
    return len(value) * 3 // 4


def _check_json(report: Report, path: str, encoded: str) -> None:
    try:
        json.loads(base64.b64decode(encoded))
    except (ValueError, binascii.Error) as error:
        report.invalid(path, "<secret contents redacted>", str(error))
