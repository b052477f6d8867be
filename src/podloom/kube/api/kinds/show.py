"""Cells and columns of Table output, as kubectl prints them.

The problem: `kubectl get` prints what the server computes. Columns carry the field's documentation, which is that
of the OpenAPI schemas; it is looked up there (kubernetes_validate ships them), not repeated here. Ages follow
k8s.io/apimachinery util/duration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from podloom.kube.api.contract import Column, Object
from podloom.kube.api.schema.registry import definitions_path

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


@cache
def doc(schema: str, field: str = "") -> str:
    """The documentation of a schema's field, e.g. doc("podspec-v1", "nodeName"); of the schema without a field."""
    try:
        found = json.loads(definitions_path().with_name(f"{schema}.json").read_bytes())
    except OSError:
        return ""
    node = found.get("properties", {}).get(field, {}) if field else found
    return str(node.get("description", ""))


@cache
def name_column(priority: int = 0) -> Column:
    """The Name column."""
    return Column("Name", "string", "name", doc("objectmeta-meta-v1", "name"), priority)


@cache
def age_column() -> Column:
    """The Age column."""
    return Column("Age", "string", "", doc("objectmeta-meta-v1", "creationTimestamp"))


def text(name: str, description: str = "", priority: int = 0) -> Column:
    """A column of text; a description like `podspec-v1.nodeName` is looked up."""
    return Column(name, "string", "", _describe(description), priority)


def number(name: str, description: str = "", priority: int = 0) -> Column:
    """A column of whole numbers."""
    return Column(name, "integer", "", _describe(description), priority)


def _describe(description: str) -> str:
    schema, dot, field = description.partition(".")
    if dot and schema and " " not in description and not schema[0].isupper():
        return doc(schema, field)
    return description


def parse_time(value: str) -> datetime | None:
    """An RFC 3339 time, or None."""
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def age(since: str | None, now: str) -> str:
    """How long ago, as kubectl writes it: 3s, 4m10s, 5h, 98m, 323d; <unknown> without a time."""
    start, end = parse_time(since or ""), parse_time(now)
    if start is None or end is None:
        return UNKNOWN
    return duration((end - start).total_seconds())


def duration(seconds_: float) -> str:
    """A human duration in at most two units."""
    seconds = int(seconds_)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    minutes, hours, days, years = seconds // 60, seconds // 3600, seconds // 86400, seconds // 31536000
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


def label_map(labels: Mapping[str, str] | None) -> str:
    """k=v pairs in key order, or <none>."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector(value: Object | None) -> str:
    """A metav1.LabelSelector as a selector string, or <none>."""
    return selector_text(value) or NONE


def selector_text(value: Object | None) -> str:
    """A metav1.LabelSelector as a selector string, empty when it selects everything."""
    if not value:
        return ""
    parts = [(key, f"{key}={label}") for key, label in (value.get("matchLabels") or {}).items()]
    for item in value.get("matchExpressions") or []:
        key, operator = item.get("key", ""), item.get("operator")
        values = ",".join(sorted(item.get("values") or []))
        shown = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append((key, shown.get(operator or "", key)))
    return ",".join(part for _, part in sorted(parts, key=lambda pair: pair[0]))


def some(items: Sequence[str], limit: int) -> str:
    """Items by comma, at most limit of them."""
    if len(items) > limit:
        return f"{','.join(items[:limit])} + {len(items) - limit} more..."
    return ",".join(items)


def or_none(value: Any) -> Any:
    """The value, or <none> for an empty one."""
    return value if value not in (None, "") else NONE
