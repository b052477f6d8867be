"""Events, served by two groups and stored once.

The problem: core v1 and events.k8s.io v1 are two spellings of one object. The core form is stored; the other is
translated field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podloom.kube.api.contract import Column, Context, Object
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import age, name_column, text

_TO_NEW = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_TO_CORE = {new: core for core, new in _TO_NEW.items()}
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def to_core(obj: Object) -> Object:
    """events.k8s.io v1 -> core v1."""
    return {_TO_CORE.get(key, key): value for key, value in obj.items()}


def from_core(obj: Object) -> Object:
    """core v1 -> events.k8s.io v1; empty strings are left out there."""
    return {_TO_NEW.get(key, key): value for key, value in obj.items() if value != ""}


def _component(source: Object) -> str:
    parts = (source.get("component"), source.get("host"))
    return ", ".join(part for part in parts if part)


def _source(event: Object) -> str:
    source = event.get("source") or {}
    if source.get("component") or source.get("host"):
        return _component(source)
    return _component({"component": event.get("reportingComponent"), "host": event.get("reportingInstance")})


class EventKind(BuiltIn):
    """An event in its stored form (core v1)."""

    field_labels = (
        *(f"involvedObject.{field}" for field in _INVOLVED),
        "reason",
        "reportingComponent",
        "source",
        "type",
    )
    unknown_field_label = "field label not supported: {label}"
    create_on_update = True

    def default(self, obj: Object, ctx: Context) -> None:
        for field in ("involvedObject", "source"):
            obj[field] = obj.get(field) or {}
        for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
            obj.setdefault(field, None)
        for field in ("reportingComponent", "reportingInstance"):
            obj.setdefault(field, "")

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        namespace, involved = obj["metadata"].get("namespace", ""), obj["involvedObject"].get("namespace", "")
        if (involved and involved != namespace) or (not involved and namespace not in ("default", "kube-system")):
            report.invalid("involvedObject.namespace", involved, "does not match event.namespace")

    def columns(self) -> Sequence[Column]:
        return [
            text("Last Seen", "event-v1.lastTimestamp"),
            text("Type", "event-v1.type"),
            text("Reason", "event-v1.reason"),
            text("Object", "event-v1.involvedObject"),
            text("Subobject", "objectreference-v1.fieldPath", 1),
            text("Source", "event-v1.source", 1),
            text("Message", "event-v1.message"),
            text("First Seen", "event-v1.firstTimestamp", 1),
            text("Count", "event-v1.count", 1),
            name_column(1),
        ]

    def cells(self, obj: Object, now: str) -> list[Any]:
        event = self.to_storage(obj)
        first = event.get("firstTimestamp") or event.get("eventTime")
        last = event.get("lastTimestamp") or first
        series, count = event.get("series"), event.get("count") or 0
        if series:
            last, count = series.get("lastObservedTime"), series.get("count", 0)
        elif not count:
            count = 1
        target = event.get("involvedObject") or {}
        name, kind = target.get("name", ""), target.get("kind", "").lower()
        shown = f"{kind}/{name}" if name else kind
        return [
            age(last, now),
            event.get("type", ""),
            event.get("reason", ""),
            shown,
            target.get("fieldPath", ""),
            _source(event),
            event.get("message", "").strip(),
            age(first, now),
            count,
            event["metadata"]["name"],
        ]

    def field_values(self, obj: Object) -> dict[str, str]:
        event = self.to_storage(obj)
        involved = event.get("involvedObject") or {}
        found = {f"involvedObject.{field}": involved.get(field, "") for field in _INVOLVED}
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent", "")
        return found | {
            "reason": event.get("reason", ""),
            "reportingComponent": event.get("reportingComponent", ""),
            "source": source,
            "type": event.get("type", ""),
        }


class NewEventKind(EventKind):
    """events.k8s.io/v1."""

    def default(self, obj: Object, ctx: Context) -> None:
        for field in ("regarding", "deprecatedSource"):
            obj[field] = obj.get(field) or {}
        for field in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"):
            obj.setdefault(field, None)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        if old is not None or (obj.get("deprecatedFirstTimestamp") and not obj.get("eventTime")):
            return
        for field in ("eventTime", "reportingController", "reportingInstance", "action", "reason"):
            if not obj.get(field):
                report.required(field)

    def to_storage(self, obj: Object) -> Object:
        return to_core(obj) if "involvedObject" not in obj else obj

    def from_storage(self, obj: Object) -> Object:
        return from_core(obj)
