"""Reads the protobuf field numbers of the Kubernetes API types out of an installed kubectl.

The published types carry compressed file descriptors, so any client binary holds them. `python
tests/kube/api/wire_facts.py OUT` writes the table that podloom.kube.api.protobuf uses.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

_MEMBER = re.compile(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff")
_SCALARS = {1: "d", 3: "i", 4: "i", 5: "i", 8: "b", 9: "s", 12: "y", 13: "i"}
_GROUPS = {
    "admissionregistration/v1", "apps/v1", "authentication/v1", "authorization/v1", "autoscaling/v1", "autoscaling/v2",
    "batch/v1", "certificates/v1", "coordination/v1", "core/v1", "discovery/v1", "events/v1", "flowcontrol/v1",
    "networking/v1", "node/v1", "policy/v1", "rbac/v1", "scheduling/v1", "storage/v1",
}  # fmt: skip


def descriptors(binary: Path) -> dict[str, Any]:
    """proto package -> FileDescriptorProto of every one found in the binary."""
    data = binary.read_bytes()
    found = {}
    for match in _MEMBER.finditer(data):
        try:
            raw = zlib.decompressobj(31).decompress(data[match.start() : match.start() + 1_000_000])
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        except Exception:  # the pattern is only a hint
            continue
        found[file.package] = file
    return found


def wanted(package: str) -> bool:
    if package.startswith("k8s.io.api."):
        return package.removeprefix("k8s.io.api.").replace(".", "/") in _GROUPS
    return package.startswith("k8s.io.apimachinery.") and "v1beta1" not in package


def table(binary: Path) -> dict[str, dict[str, list[str]]]:
    """message -> field number -> [JSON name, type]; type: a scalar letter or message, [] repeated, {} map."""
    found: dict[str, dict[str, list[str]]] = {}
    for package, file in descriptors(binary).items():
        if not wanted(package):
            continue
        for message in file.message_type:
            entries = {n.name: n for n in message.nested_type if n.options.map_entry}
            fields = {str(f.number): [f.json_name or f.name, _type(f, entries)] for f in message.field}
            found[_short(f".{package}.{message.name}")] = dict(sorted(fields.items(), key=lambda kv: int(kv[0])))
    return dict(sorted(found.items()))


def _short(name: str) -> str:
    name = name.removeprefix(".k8s.io.")
    return name.removeprefix("api.").replace("apimachinery.pkg.", "")


def _type(field: Any, entries: dict[str, Any]) -> str:
    name = field.type_name.rsplit(".", 1)[-1]
    if field.type == 11 and name in entries:
        value = next(f for f in entries[name].field if f.number == 2)
        return _type(value, {}) + "{}"
    base = _short(field.type_name) if field.type == 11 else _SCALARS[field.type]
    return base + ("[]" if field.label == 3 else "")


if __name__ == "__main__":
    kubectl = shutil.which("kubectl")
    if not kubectl:
        sys.exit("no kubectl")
    text = json.dumps(table(Path(kubectl)), separators=(",", ":"))
    Path(sys.argv[1]).write_text(text + "\n")
    print(len(text))
