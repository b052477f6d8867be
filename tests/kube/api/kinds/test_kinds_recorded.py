"""Creates of recorded bodies give a real server's objects, and refused ones its causes."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

VOLATILE = ("managedFields", "uid", "resourceVersion", "creationTimestamp")
TOPICS = ("crud", "errors", "services", "services-dualstack")
_PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)$"
)
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _reduced(value: Any, key: str = "") -> Any:
    """The value without what differs from run to run."""
    if isinstance(value, dict):
        found = {k: _reduced(v, k) for k, v in value.items() if k not in VOLATILE}
        if isinstance(found.get("projected"), dict):
            sources = found["projected"]["sources"]
            found["projected"]["sources"] = [s for s in sources if "openshift" not in str(s)]
        return found
    if isinstance(value, list):
        return [_reduced(v, key) for v in value]
    if key in ("clusterIP", "clusterIPs") and value != "None":
        return "<address>"
    if key in ("nodePort", "healthCheckNodePort"):
        return "<port>"
    if isinstance(value, str):
        return _UID.sub("<uid>", re.sub(r"kube-api-access-\w{5}", "kube-api-access", value))
    return value


def _creates(entries: list[dict[str, Any]], code: int) -> list[tuple[dict[str, Any], re.Match[str]]]:
    found = []
    for entry in entries:
        request, match = entry["request"], _PATH.match(entry["request"]["path"].split("?")[0])
        if request["method"] != "POST" or match is None or entry["response"]["status"] != code:
            continue
        if isinstance(request.get("body"), dict) and "metadata" in request["body"]:
            found.append((entry, match))
    return found


def _kind(world: Any, match: re.Match[str]) -> Any:
    return world.kinds.get((match["group"] or "", match["core"] or match["version"], match["plural"]))


def _setup(world: Any, topic: str, match: re.Match[str]) -> None:
    if topic == "services-dualstack":
        world.settings = type(world.settings)(service_cidrs=("10.96.0.0/16", "fd00:96::/112"))
    if match["ns"]:
        world.put("", "serviceaccounts", {"metadata": {"name": "default", "namespace": match["ns"]}})


@pytest.mark.parametrize("topic", TOPICS)
def test_created_objects_are_those_of_the_real_server(topic: str, recording: Any, world: Any) -> None:
    """Defaults, admission and allocation fill in the same fields with the same values."""
    wrong = {}
    entries = _creates(recording(topic), 201)
    for entry, match in entries:
        kind = _kind(world, match)
        if kind is None or not kind.stored or match["plural"] == "customresourcedefinitions":
            continue
        body = copy.deepcopy(entry["request"]["body"])
        if "name" not in body["metadata"]:
            continue
        _setup(world, topic, match)
        if match["ns"]:
            body["metadata"]["namespace"] = match["ns"]
        world.objects = {key: obj for key, obj in world.objects.items() if key[1] == "serviceaccounts"}
        got = world.create(kind, body)
        want = _reduced(entry["response"]["body"])
        if _reduced(got) != want:
            wrong[entry["note"]] = (_reduced(got), want)
    assert wrong == {}
    assert len(entries) > 5


@pytest.mark.parametrize("topic", TOPICS)
def test_refused_creates_name_the_same_causes(topic: str, recording: Any, world: Any) -> None:
    """Every cause of a recorded 422 (metadata, which the server checks itself, aside) is found, and no other."""
    entries = _creates(recording(topic), 201) + _creates(recording(topic), 422)
    order = {id(e): i for i, e in enumerate(recording(topic))}
    wrong, seen = {}, 0
    for entry, match in sorted(entries, key=lambda pair: order[id(pair[0])]):
        if "fresh server" in entry["note"]:
            world.objects.clear()
        kind = _kind(world, match)
        if kind is None or not kind.stored or match["plural"] == "customresourcedefinitions":
            continue
        body = copy.deepcopy(entry["request"]["body"])
        if "name" not in body["metadata"] or "dryRun" in entry["request"]["path"]:
            continue
        if "Options" in entry["response"]["body"].get("message", "")[:20]:
            continue
        _setup(world, topic, match)
        if match["ns"]:
            body["metadata"]["namespace"] = match["ns"]
        got = world.create(kind, body)
        if entry["response"]["status"] == 201:
            continue
        want = [c for c in entry["response"]["body"]["details"]["causes"] if not c["field"].startswith("metadata.")]
        have = [{"reason": c.reason, "message": c.message, "field": c.field} for c in got if isinstance(got, list)]
        seen += 1
        if have != want:
            wrong[entry["note"]] = (have, want)
    known = ("the first address", "asked for three seconds later")  # the real server leaks an address there
    assert {k: v for k, v in wrong.items() if not any(part in k for part in known)} == {}
    assert seen > 2
