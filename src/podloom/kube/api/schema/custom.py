"""Custom resources as kinds: what a served version of a CustomResourceDefinition does to its objects.

The problem: the server treats custom types like built-in ones, through a `Kind`. This one is made from the CRD:
defaults and validation from the schema, status and scale from the subresources, columns from
additionalPrinterColumns (apiextensions/v1 CustomResourceDefinitionSpec).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import orjson

from podloom.kube.api.contract import Cause, Column, Context, Kind, Object, ResourceType, StatusError, Subresource
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.jsonpath import find, simple
from podloom.kube.api.schema.nodes import Node
from podloom.kube.api.schema.registry import META, builtin
from podloom.kube.api.schema.rules import Rules
from podloom.kube.api.schema.structural import Schema, apply_defaults, lacks_default, normalise, prune, to_node
from podloom.kube.api.schema.validation import BLOCKING, MISSING, NOT_CHECKED, invalid, validate, validate_lists

CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_EDIT = ("get", "patch", "update")


class CustomKind(Kind):
    """One served version of a custom resource."""

    unconditional_update = False

    def __init__(self, crd: Object, version: Object) -> None:
        self.crd_name: str = crd["metadata"]["name"]
        self.version = version
        self.schema: Schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.subresources: Object = version.get("subresources") or {}
        self.type = resource_type(crd, version)
        self.field_labels = tuple(
            field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()
        )

    @cached_property
    def node(self) -> Node:
        """How objects merge and who can own what."""
        return to_node(self.schema, root=True)

    @cached_property
    def rules(self) -> Rules:
        """The CEL rules of the schema, compiled."""
        return Rules(self.schema, root=True)

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    # -- hooks ---------------------------------------------------------------------------------------------

    def hold(self, obj: Object) -> tuple[Object, list[str]]:
        """obj without what the schema does not have (and the paths of that), nulls and float integers put right."""
        unknown = prune(self.schema, obj)
        normalise(self.schema, obj)
        return obj, unknown

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None:
        """No new objects of a type whose definition is being deleted (403)."""
        if ctx.verb != "create" or old is not None:
            return
        crd = ctx.reader.get(*CRDS, "", self.crd_name)
        if crd is None or not crd["metadata"].get("deletionTimestamp"):
            return
        name = (obj.get("metadata") or {}).get("name", "")
        text = "create not allowed while custom resource definition is terminating"
        details = {"name": name, "group": self.type.group, "kind": self.type.plural}
        raise StatusError(
            403, "Forbidden", f'{self.type.group_resource} "{name}" is forbidden: {text}', details=details
        )

    def default(self, obj: Object, ctx: Context) -> None:
        apply_defaults(self.schema, obj)

    def from_storage(self, obj: Object) -> Object:
        """obj with defaults the definition has gained since it was stored."""
        if not lacks_default(self.schema, obj):
            return obj
        obj = clone(obj)
        apply_defaults(self.schema, obj)
        return obj

    def prepare_create(self, obj: Object, ctx: Context) -> None:
        if self.has_status:
            obj.pop("status", None)
        obj["metadata"]["generation"] = 1

    def prepare_update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "status":
            self._only_status(obj, old)
            return
        if self.has_status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]
        generation = old["metadata"].get("generation", 1)
        changed = _content(obj, self.has_status) != _content(old, self.has_status)
        obj["metadata"]["generation"] = generation + 1 if changed else generation

    def _only_status(self, obj: Object, old: Object) -> None:
        """Everything but status and who owns it is the old object's."""
        meta = obj["metadata"]
        kept = {key: meta[key] for key in ("managedFields", "resourceVersion") if key in meta}
        status = obj.get("status")
        obj.clear()
        obj.update(old)
        obj["metadata"] = {**{k: v for k, v in old["metadata"].items() if k not in ("managedFields",)}, **kept}
        obj.pop("status", None)
        if status is not None:
            obj["status"] = status

    def validate_create(self, obj: Object, ctx: Context) -> list[Cause]:
        return self._validate(obj, MISSING)

    def validate_update(self, obj: Object, old: Object, ctx: Context) -> list[Cause]:
        return self._validate(obj, old)

    def _validate(self, obj: Object, old: Any) -> list[Cause]:
        causes = validate(self.schema, obj, old)
        causes += validate_lists(self.schema, obj)
        if "scale" in self.subresources:
            causes += self._validate_scale(obj)
        if self.rules.any:
            if any(cause.reason in BLOCKING for cause in causes):
                causes.append(NOT_CHECKED)
            else:
                causes += self.rules.evaluate(obj, old)
        return causes

    def _validate_scale(self, obj: Object) -> list[Cause]:
        scale = self.subresources["scale"]
        out = []
        for key in ("specReplicasPath", "statusReplicasPath"):
            found = find(scale.get(key, ""), obj)
            if found and type(found[0]) is int and found[0] < 0:
                out.append(invalid(scale[key].lstrip("."), found[0], "should be a non-negative integer"))
        return out

    # -- scale ---------------------------------------------------------------------------------------------

    @property
    def replicas_path(self) -> tuple[str, ...]:
        """Where the scale subresource writes, e.g. ("spec", "replicas")."""
        return simple((self.subresources.get("scale") or {}).get("specReplicasPath", ".spec.replicas"))

    def get_scale(self, obj: Object) -> Object:
        scale = self.subresources["scale"]
        wanted = _first(find(scale["specReplicasPath"], obj))
        status: Object = {"replicas": _first(find(scale["statusReplicasPath"], obj)) or 0}
        selector = _first(find(scale["labelSelectorPath"], obj)) if scale.get("labelSelectorPath") else None
        if selector:
            status["selector"] = selector
        return {"spec": {"replicas": wanted} if wanted else {}, "status": status}

    def set_scale(self, obj: Object, replicas: int) -> None:
        *above, last = self.replicas_path
        for name in above:
            obj = obj.setdefault(name, {})
        obj[last] = replicas

    # -- tables --------------------------------------------------------------------------------------------

    def columns(self) -> Sequence[Column]:
        name = Column("Name", format="name", description=_meta_description("name"))
        printed = self.version.get("additionalPrinterColumns")
        if not printed:
            return name, Column("Age", "date", description=_meta_description("creationTimestamp"))
        return (
            name,
            *(
                Column(
                    column["name"],
                    column["type"],
                    column.get("format", ""),
                    column.get("description")
                    or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
                    column.get("priority", 0),
                )
                for column in printed
            ),
        )

    def cells(self, obj: Object, now: str) -> list[Any]:
        printed = self.version.get("additionalPrinterColumns") or [
            {"type": "date", "jsonPath": ".metadata.creationTimestamp"}
        ]
        cells = [_cell(column["type"], find(column["jsonPath"], obj), now) for column in printed]
        return [obj["metadata"]["name"], *cells]

    def field_values(self, obj: Object) -> dict[str, str]:
        out = {}
        for label in self.field_labels:
            found = _first(find("." + label, obj))
            out[label] = "" if found is None else _text(found)
        return out


def kinds_of(crd: Object) -> list[CustomKind]:
    """A kind per served version; none unless the definition is established."""
    conditions = (crd.get("status") or {}).get("conditions") or ()
    if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
        return []
    return [CustomKind(crd, version) for version in crd["spec"]["versions"] if version.get("served")]


def resource_type(crd: Object, version: Object) -> ResourceType:
    """What discovery says of one version of a CRD; names are those accepted."""
    spec = crd["spec"]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    stored = next((v["name"] for v in spec["versions"] if v.get("storage")), version["name"])
    group, kind = spec["group"], names["kind"]
    subresources = version.get("subresources") or {}
    listed = []
    if "status" in subresources:
        listed.append(Subresource("status", kind, _EDIT))
    if "scale" in subresources:
        listed.append(Subresource("scale", "Scale", _EDIT, "autoscaling", "v1"))
    warning = ""
    if version.get("deprecated"):
        warning = version.get("deprecationWarning") or f"{group}/{version['name']} {kind} is deprecated"
    return ResourceType(
        group=group,
        version=version["name"],
        plural=names["plural"],
        singular=names.get("singular") or kind.lower(),
        kind=kind,
        namespaced=spec["scope"] == "Namespaced",
        verbs=_VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(listed),
        storage_version_hash=_hash(f"{group}/{stored}/{kind}"),
        storage_version=f"{group}/{stored}",
        list_kind=names.get("listKind") or f"{kind}List",
        custom=True,
        deprecated_warning=warning,
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _content(obj: Object, has_status: bool) -> Object:
    skipped = {"metadata", "status"} if has_status else {"metadata"}
    return {key: part for key, part in obj.items() if key not in skipped}


def _first(found: list[Any]) -> Any:
    return found[0] if found else None


def _meta_description(name: str) -> str:
    properties = builtin().definitions[f"{META}.ObjectMeta"]["properties"]
    text: str = properties[name]["description"]
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _cell(kind: str, found: list[Any], now: str) -> Any:
    value = _first(found)
    if value is None:
        return None
    if kind == "string":
        return _text(value)
    if kind == "date":
        return _age(value, now) if isinstance(value, str) else "<invalid>"
    good: dict[str, tuple[type, ...]] = {"number": (int, float), "boolean": (bool,)}
    if kind == "integer" and isinstance(value, (int, float)):
        return int(value)
    return value if isinstance(value, good.get(kind, ())) else None


def _age(value: str, now: str) -> str:
    try:
        then = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        seconds = int((datetime.datetime.fromisoformat(now.replace("Z", "+00:00")) - then).total_seconds())
    except (ValueError, TypeError):
        return "<invalid>"
    return human_duration(seconds)


def human_duration(seconds: int) -> str:
    """A time span in kubectl's two-part form: 5s, 3m20s, 2h5m, 3d4h, 2y10d (apimachinery util/duration)."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    years = days // 365
    steps: tuple[tuple[bool, str], ...] = (
        (seconds < 120, f"{seconds}s"),
        (minutes < 10, _two(minutes, "m", seconds % 60, "s")),
        (minutes < 180, f"{minutes}m"),
        (hours < 8, _two(hours, "h", minutes % 60, "m")),
        (hours < 48, f"{hours}h"),
        (hours < 192, _two(days, "d", hours % 24, "h")),
        (days < 730, f"{days}d"),
        (days < 2920, _two(years, "y", days % 365, "d")),
    )
    return next((text for fits, text in steps if fits), f"{years}y")


def _two(first: int, unit: str, second: int, small: str) -> str:
    return f"{first}{unit}{second}{small}" if second else f"{first}{unit}"
