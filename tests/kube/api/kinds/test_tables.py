"""Tables: columns literally those of a real server, cells for every kind, ages in kubectl's words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from podloom.kube.api.kinds import TYPES, kind_for
from podloom.kube.api.kinds.show import age, duration, selector_text

NOW = "2026-01-01T00:00:00Z"


def _type_of(path: str) -> Any:
    parts = path.split("?", maxsplit=1)[0].strip("/").split("/")
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    plural = rest[2] if rest[0] == "namespaces" and len(rest) > 2 else rest[0]
    return next((t for t in TYPES if (t.group, t.version, t.plural) == (group, version, plural)), None)


@pytest.mark.parametrize("topic", ["list-watch", "services", "services-dualstack"])
def test_columns_are_those_recorded(topic: str, recording: Any) -> None:
    """Names, types, formats, priorities and descriptions of the columns, and as many cells."""
    seen = 0
    for entry in recording(topic):
        body = entry["response"].get("body")
        if not isinstance(body, dict) or body.get("kind") != "Table" or not body.get("columnDefinitions"):
            continue
        found = _type_of(entry["request"]["path"])
        if found is None or found.plural == "customresourcedefinitions":
            continue
        seen += 1
        assert [asdict(column) for column in kind_for(found).columns()] == body["columnDefinitions"], found.plural
    assert seen


@pytest.mark.parametrize(
    "found", [t for t in TYPES if "list" in t.verbs], ids=lambda t: f"{t.group_version}/{t.plural}"
)
def test_every_kind_prints_a_bare_object(found: Any) -> None:
    """An object with nothing but a name has a cell for each column."""
    kind = kind_for(found)
    obj: dict[str, Any] = {"metadata": {"name": "x", "creationTimestamp": NOW}}
    if "bindings" in found.plural and "rbac" in found.group:
        obj["roleRef"] = {}
    cells = kind.cells(obj, NOW)
    extra = 1 if found.plural == "ipaddresses" else 0  # the real server prints an age without a column there
    assert len(cells) == len(kind.columns()) + extra


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (230, "3m50s"),
        (600, "10m"),
        (98 * 60, "98m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 61, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (323 * 86400, "323d"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_durations(seconds: int, wanted: str) -> None:
    """Two units while they matter, one afterwards."""
    assert duration(seconds) == wanted


def test_age_of_nothing() -> None:
    """No time, no age."""
    assert age(None, NOW) == "<unknown>"
    assert age("2025-12-31T23:59:00.5Z", NOW) == "59s"


def test_selectors_are_spelled_as_kubectl_takes_them() -> None:
    """Requirements in key order, each operator in its own way."""
    selector = {
        "matchLabels": {"b": "1"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]},
            {"key": "c", "operator": "DoesNotExist"},
            {"key": "d", "operator": "Exists"},
            {"key": "e", "operator": "NotIn", "values": ["z"]},
        ],
    }
    assert selector_text(selector) == "a in (x,y),b=1,!c,d,e notin (z)"
    assert selector_text({}) == ""
