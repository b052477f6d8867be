"""Derive go_facts.json, the facts of the Go types that the OpenAPI definitions leave out.

The problem: a real server answers with what its Go structs marshal to: an optional string that is empty
disappears, a nested struct is always there, a required list that is missing is null. OpenAPI does not say which
field is which. This developer's tool reads the published type declarations (k8s.io/api and k8s.io/apimachinery
source trees given as arguments) and keeps one letter per field:

    z  dropped when zero or empty        r  always there, zero when missing
    n  always there, null when missing   s  struct, always there
    t  time, null when missing           p  pointer: dropped when null only (not listed in the file)

    python -m podloom.kube.api.schema.go_facts API_TREE APIMACHINERY_TREE > go_facts.json
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import orjson

from podloom.kube.api.schema.registry import definitions_path

_STRUCT = re.compile(r"^type (\w+) struct \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^type (\w+) (?!struct\b)([\w.\[\]*]+)", re.MULTILINE)
_FIELD = re.compile(r"^\s+(?:(\w+)\s+)?(\*?(?:\[\]|map\[[\w.]+\])?[\w.*\[\]]+)\s+`(.*?)`")
_DEFAULT = re.compile(r"//\s*\+default=(.*)$")
_SCALARS = {"string", "bool", "int32", "int64", "int", "float64", "int16", "uint8", "uint32", "uint64"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_TIMES = {f"{_META}.Time", f"{_META}.MicroTime"}
_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
# Not among the trees read: facts of apiextensions v1 as its API reference documents them.
_HAND: dict[str, dict[str, str]] = {
    f"{_CRD}.CustomResourceDefinition": {"metadata": "s", "spec": "s", "status": "s"},
    f"{_CRD}.CustomResourceDefinitionSpec": {
        "group": "r",
        "names": "s",
        "scope": "r",
        "versions": "n",
        "preserveUnknownFields": "z",
    },
    f"{_CRD}.CustomResourceDefinitionNames": {
        "plural": "r",
        "kind": "r",
        "singular": "z",
        "shortNames": "z",
        "listKind": "z",
        "categories": "z",
    },
    f"{_CRD}.CustomResourceDefinitionVersion": {
        "name": "r",
        "served": "r",
        "storage": "r",
        "deprecated": "z",
        "additionalPrinterColumns": "z",
        "selectableFields": "z",
    },
    f"{_CRD}.CustomResourceDefinitionStatus": {"conditions": "n", "acceptedNames": "s", "storedVersions": "n"},
    f"{_CRD}.CustomResourceDefinitionCondition": {
        "type": "r",
        "status": "r",
        "lastTransitionTime": "t",
        "reason": "z",
        "message": "z",
        "observedGeneration": "z",
    },
    f"{_CRD}.CustomResourceColumnDefinition": {
        "name": "r",
        "type": "r",
        "jsonPath": "r",
        "format": "z",
        "description": "z",
        "priority": "z",
    },
    f"{_CRD}.CustomResourceConversion": {"strategy": "r"},
    f"{_CRD}.CustomResourceSubresourceScale": {"specReplicasPath": "r", "statusReplicasPath": "r"},
    f"{_CRD}.SelectableField": {"jsonPath": "r"},
    f"{_CRD}.ValidationRule": {"rule": "r", "message": "z", "messageExpression": "z", "fieldPath": "z"},
    f"{_CRD}.JSONSchemaProps": {
        "id": "z",
        "$schema": "z",
        "description": "z",
        "type": "z",
        "format": "z",
        "title": "z",
        "exclusiveMaximum": "z",
        "exclusiveMinimum": "z",
        "pattern": "z",
        "uniqueItems": "z",
        "enum": "z",
        "required": "z",
        "allOf": "z",
        "oneOf": "z",
        "anyOf": "z",
        "properties": "z",
        "patternProperties": "z",
        "dependencies": "z",
        "definitions": "z",
        "nullable": "z",
        "x-kubernetes-embedded-resource": "z",
        "x-kubernetes-int-or-string": "z",
        "x-kubernetes-list-map-keys": "z",
        "x-kubernetes-validations": "z",
    },
}
_ODD = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "r",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "p",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "n",
}


def main(api: str, machinery: str) -> None:
    sources: dict[str, str] = {}
    for path in Path(api).glob("*/*/types.go"):
        sources[f"io.k8s.api.{path.parent.parent.name}.{path.parent.name}"] = path.read_text()
    meta = Path(machinery) / "pkg/apis/meta/v1/types.go"
    sources[_META] = meta.read_text()
    named = {f"{package}.{m[1]}": m[2] for package, text in sources.items() for m in _NAMED.finditer(text)}
    structs = {f"{package}.{m[1]}": m[2] for package, text in sources.items() for m in _STRUCT.finditer(text)}
    facts = {}
    defaults: dict[str, dict[str, object]] = {}
    for name, body in sorted(structs.items()):
        fields, given = _fields(name, body, structs, named)
        facts[name] = {k: v for k, v in sorted(fields.items()) if v != "p"}
        if "protocol" in given:  # the one default that is part of a list map's key
            defaults[name] = given
    facts |= _HAND
    facts[f"{_META}.ObjectMeta"].pop("creationTimestamp")  # omitzero since 1.34
    known = orjson.loads(definitions_path().read_bytes())["$defs"]
    facts = {name: fields for name, fields in facts.items() if fields and name in known}
    defaults = {name: fields for name, fields in defaults.items() if name in known}
    sys.stdout.buffer.write(orjson.dumps({"fields": facts, "defaults": defaults}))


def _fields(
    name: str, body: str, structs: dict[str, str], named: dict[str, str]
) -> tuple[dict[str, str], dict[str, object]]:
    package = name.rpartition(".")[0]
    out: dict[str, str] = {}
    defaults: dict[str, object] = {}
    default: object = None
    for line in body.splitlines():
        if found := _DEFAULT.search(line):
            default = _literal(found[1].strip())
        match = _FIELD.match(line)
        if not match:
            continue
        tag = re.search(r'json:"([^"]*)"', match[3])
        json_name, *options = (tag[1] if tag else "-").split(",")
        if "inline" in options or (match[1] is None and not json_name):
            inner, inner_defaults = _fields(
                _qualify(match[2], package), structs.get(_qualify(match[2], package), ""), structs, named
            )
            out |= inner
            defaults |= inner_defaults
        elif json_name != "-":
            out[json_name] = _letter(match[2], options, package, named)
            if default is not None:
                defaults[json_name] = default
        default = None
    return out, defaults


def _literal(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _qualify(go_type: str, package: str) -> str:
    go_type = go_type.lstrip("*")
    if "." not in go_type:
        return f"{package}.{go_type}"
    module, _, base = go_type.rpartition(".")
    known = {"metav1": _META, "v1": "io.k8s.api.core.v1", "corev1": "io.k8s.api.core.v1", "core": "io.k8s.api.core.v1"}
    known |= {
        "intstr": "io.k8s.apimachinery.pkg.util.intstr",
        "resource": "io.k8s.apimachinery.pkg.api.resource",
        "runtime": "io.k8s.apimachinery.pkg.runtime",
        "types": "types",
    }
    return f"{known.get(module, module)}.{base}"


def _letter(go_type: str, options: list[str], package: str, named: dict[str, str]) -> str:
    omit = "omitempty" in options
    if "omitzero" in options:
        return "p"
    if go_type.startswith("*"):
        return "p" if omit else "n"
    if go_type.startswith(("[]", "map[")):
        return "z" if omit else "n"
    if go_type in _SCALARS:
        return "z" if omit else "r"
    full = _qualify(go_type, package)
    if full in _TIMES:
        return "t"
    if full in _ODD:
        return _ODD[full]
    if full.startswith("types."):
        return "z" if omit else "r"
    if full in named:
        target = named[full]
        return _letter(target, options, full.rpartition(".")[0], named)
    return "s"


if __name__ == "__main__":
    main(*sys.argv[1:])
