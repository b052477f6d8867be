"""Discovery lists the resources of a real server, literally."""

from typing import Any

import pytest

from podloom.kube.api.kinds import TYPES, kind_for


def _resources(group_version: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for t in TYPES:
        if t.group_version != group_version:
            continue
        row: dict[str, Any] = {
            "name": t.plural,
            "singularName": t.singular,
            "namespaced": t.namespaced,
            "kind": t.kind,
            "verbs": list(t.verbs),
        }
        optional = {
            "shortNames": list(t.short_names),
            "categories": list(t.categories),
            "storageVersionHash": t.storage_version_hash,
        }
        out.append(row | {k: v for k, v in optional.items() if v})
        for s in t.subresources:
            sub = {"name": f"{t.plural}/{s.name}", "singularName": "", "namespaced": t.namespaced}
            own = {"group": s.group, "version": s.version}
            out.append(sub | {k: v for k, v in own.items() if v} | {"kind": s.kind, "verbs": list(s.verbs)})
    return out


def test_every_recorded_group_version_is_listed_literally(recording: Any) -> None:
    """Names, kinds, verbs, short names, categories, subresources and hashes are those of the real server."""
    lists = [e["response"]["body"] for e in recording("discovery")]
    lists = [b for b in lists if isinstance(b, dict) and b.get("kind") == "APIResourceList"]
    assert len(lists) > 15
    for body in lists:
        assert _resources(body["groupVersion"]) == body["resources"]


def test_groups_are_in_the_servers_order(recording: Any) -> None:
    """/apis lists groups and versions in the order of the table."""
    (body,) = [e["response"]["body"] for e in recording("discovery") if e["note"] == "/apis plain"]
    want = [v["groupVersion"] for g in body["groups"] for v in g["versions"]]
    assert list(dict.fromkeys(t.group_version for t in TYPES)) == ["v1", *want]


@pytest.mark.parametrize("t", TYPES, ids=lambda t: f"{t.group_version}/{t.plural}")
def test_every_type_has_hooks(t: Any) -> None:
    """No built-in resource is without its hooks, and they know their type."""
    assert kind_for(t).type is t
