"""From objects to response bodies: JSON, YAML, Tables and metadata-only forms.

The problem: a list of a thousand pods is megabytes, and encoding it per request would dominate. Stored objects
keep their JSON, so a list is a join of bytes; only Tables and other transforms look inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podloom.kube.api import errors
from podloom.kube.api.contract import Object
from podloom.kube.api.core import encode_item, view
from podloom.kube.api.meta import now_text
from podloom.kube.api.negotiate import Format
from podloom.kube.api.registry import Served
from podloom.kube.api.state import Record


@dataclass(frozen=True)
class ListMeta:
    """metadata of a list."""

    revision: int
    continue_: str = ""
    remaining: int | None = None

    def obj(self, *, custom: bool = False) -> Object:
        meta: Object = {"resourceVersion": str(self.revision)}
        if self.continue_ or custom:
            meta["continue"] = self.continue_
        if self.remaining:
            meta["remainingItemCount"] = self.remaining
        return meta


def dump(obj: Any, fmt: Format) -> bytes:
    """A body in the asked media type."""
    if fmt.yaml:
        import yaml

        return yaml.dump(obj, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=True).encode()
    if fmt.pretty:
        return orjson.dumps(obj, option=orjson.OPT_INDENT_2) + b"\n"
    return orjson.dumps(obj)


def partial(obj: Object, version: str = "v1") -> Object:
    """The PartialObjectMetadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def include_policy(query_value: str) -> str:
    """The includeObject parameter: Metadata (default), Object or None; raises 400."""
    if query_value in ("", "Metadata", "Object", "None"):
        return query_value or "Metadata"
    raise errors.bad_request(
        f'Unable to convert to Table as requested: includeObject: Invalid value: "{query_value}": '
        "must be 'Metadata', 'Object', 'None', or empty"
    )


def columns(served: Served) -> list[Object]:
    """columnDefinitions of a type's Table."""
    return [
        {
            "name": c.name,
            "type": c.type,
            "format": c.format,
            "description": c.description,
            "priority": c.priority,
        }
        for c in served.kind.columns()
    ]


def row(served: Served, obj: Object, include: str, fmt: Format, now: str) -> Object:
    """One row: cells and what includeObject asks for."""
    found: Object = {"cells": served.kind.cells(obj, now)}
    if include == "Object":
        found["object"] = {"kind": served.type.kind, "apiVersion": served.type.group_version, **obj}
        found["object"]["kind"] = served.type.kind
        found["object"]["apiVersion"] = served.type.group_version
    elif include == "Metadata":
        found["object"] = partial(obj, fmt.version)
    else:
        found["object"] = None
    return found


def table(
    served: Served, objects: Sequence[Object], meta: Object, include: str, fmt: Format, *, with_columns: bool = True
) -> Object:
    """A meta.k8s.io Table of objects."""
    now = now_text()
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{fmt.version}",
        "metadata": meta,
        "columnDefinitions": columns(served) if with_columns else None,
        "rows": [row(served, o, include, fmt, now) for o in objects],
    }


def render_list(served: Served, records: Sequence[Record], meta: ListMeta, fmt: Format, include_object: str) -> bytes:
    """The body of a list in the asked format."""
    info = meta.obj(custom=served.type.custom)
    if fmt.transform == "Table":
        include = include_policy(include_object)
        return dump(table(served, [view(served, r) for r in records], info, include, fmt), fmt)
    if fmt.transform:
        items = [partial(r.obj, fmt.version) for r in records]
        return dump(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": f"meta.k8s.io/{fmt.version}",
                "metadata": info,
                "items": items or None,
            },
            fmt,
        )
    head = {"kind": served.list_kind, "apiVersion": served.type.group_version, "metadata": info}
    body = orjson.dumps(head)[:-1] + b',"items":[' + b",".join(encode_item(served, r) for r in records) + b"]}"
    return body if not (fmt.yaml or fmt.pretty) else dump(orjson.loads(body), fmt)


def render_object(served: Served, obj: Object, fmt: Format, include_object: str) -> bytes:
    """The body of one object (with kind and apiVersion) in the asked format."""
    if fmt.transform == "Table":
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return dump(table(served, [obj], meta, include_policy(include_object), fmt), fmt)
    if fmt.transform:
        return dump(partial(obj, fmt.version), fmt)
    return dump(obj, fmt)
