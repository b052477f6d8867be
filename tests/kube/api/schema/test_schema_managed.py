"""Ownership: updates take, applies conflict and prune, twice is once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.kube.api.contract import Object
from podloom.kube.api.schema import fieldset, managed
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.managed import Conflicts, Writer
from podloom.kube.api.schema.nodes import Node
from podloom.kube.api.schema.registry import builtin
from podloom.kube.api.schema.typed import compare, field_set, remove


def kind(group: str, version: str, name: str) -> Node:
    found = builtin().kind(group, version, name)
    assert found is not None
    return found


POD = kind("", "v1", "Pod")
MAP = kind("", "v1", "ConfigMap")
NAMES = st.sampled_from(["a", "b", "c"])
PORTS = st.lists(
    st.fixed_dictionaries(
        {"containerPort": st.integers(1, 3)}, optional={"protocol": st.sampled_from(["TCP", "UDP"]), "name": NAMES}
    ),
    max_size=3,
    unique_by=lambda p: (p["containerPort"], p.get("protocol", "TCP")),
)
ARGS = st.lists(NAMES, max_size=2)
CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"image": NAMES, "ports": PORTS, "args": ARGS}),
    max_size=3,
    unique_by=lambda c: c["name"],
)
CONFIGS = st.builds(
    lambda labels, containers, node: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **({"labels": labels} if labels else {})},
        "spec": {"containers": containers, **({"nodeName": node} if node else {})},
    },
    st.dictionaries(NAMES, NAMES, max_size=3),
    CONTAINERS,
    st.none() | NAMES,
)


def applied(live: Object, config: Object, name: str, *, force: bool = False) -> Object:
    """live after an apply by name, stored."""
    writer = Writer(name, "Apply", "v1", "", "2026-01-01T00:00:00Z")
    result, managers = managed.apply(POD, live, clone(config), writer, force=force, ignored={})
    out: Object = clone(result if result is not None else live)
    managed.put(out, managers)
    return out


def blank() -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {}}


def owned(obj: Object, name: str) -> set[str]:
    """The paths a manager owns."""
    for entry in obj["metadata"].get("managedFields", ()):
        if entry["manager"] == name:
            return {fieldset.path_text(path) for path in fieldset.paths(entry["fieldsV1"])}
    return set()


@settings(max_examples=60, deadline=None)
@given(CONFIGS, CONFIGS)
def test_apply_twice_is_once(first: Object, second: Object) -> None:
    """Applying the same configuration again changes nothing, whoever applied before."""
    live = applied(applied(blank(), first, "m1"), second, "m2", force=True)
    assert full(applied(live, second, "m2")) == full(live)


@settings(max_examples=60, deadline=None)
@given(CONFIGS, CONFIGS)
def test_an_applier_gets_what_it_applied(first: Object, second: Object) -> None:
    """After a forced apply the object holds the configuration, and an applier alone leaves nothing else behind."""
    live = applied(applied(blank(), first, "m1"), second, "m1", force=True)
    assert full(live) == full({**second, "metadata": live["metadata"]})


def full(value: Any) -> Any:
    """The value without empty parts, lists of named things by name: what Go would not tell apart."""
    if isinstance(value, dict):
        return {key: part for key, inner in value.items() if (part := full(inner)) not in (None, {}, [])}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return sorted((full(part) for part in value), key=lambda part: repr(sorted(part.items(), key=repr)))
    return value


@settings(max_examples=60, deadline=None)
@given(CONFIGS, CONFIGS)
def test_changes_are_where_compare_says(a: Object, b: Object) -> None:
    """Removing from b what was added brings back a's fields: compare finds every difference."""
    removed, changed = compare(POD, a, b)
    if not removed and not changed:
        assert field_set(POD, a) == field_set(POD, b)
    left = remove(POD, clone(b), changed or {}) or {}
    for path in fieldset.paths(field_set(POD, left)):
        assert path in set(fieldset.paths(fieldset.with_named_fields(field_set(POD, a), POD))) or changed


def test_a_conflict_names_the_fields_and_managers() -> None:
    """Two conflicts: the message lists them under the manager, each is a cause (409)."""
    live = applied(blank(), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                             "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "x"}]}}, "m1")  # fmt: skip
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
              "spec": {"nodeName": "o", "containers": [{"name": "c", "image": "y"}]}}  # fmt: skip
    with pytest.raises(Conflicts) as caught:
        applied(live, config, "m2")
    status = caught.value.status()
    assert status.code == 409
    assert status.message == (
        'Apply failed with 2 conflicts: conflicts with "m1":\n- .spec.nodeName\n- .spec.containers[name="c"].image'
    )
    assert [c["field"] for c in status.details["causes"]] == [".spec.nodeName", '.spec.containers[name="c"].image']
    taken = applied(live, config, "m2", force=True)
    assert ".spec.nodeName" in owned(taken, "m2")
    assert ".spec.nodeName" not in owned(taken, "m1")


def test_what_is_no_longer_applied_goes_unless_someone_else_owns_it() -> None:
    """m1 drops both keys; m2 owns one of them, which stays."""

    def config(**data: str) -> Object:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}

    writer = Writer("m1", "Apply", "v1", "", "2026-01-01T00:00:00Z")
    live: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    for who, wanted in (
        (writer, config(a="1", b="2")),
        (Writer("m2", "Apply", "v1"), config(b="2")),
        (writer, config(c="3")),
    ):
        result, managers = managed.apply(MAP, live, wanted, who, force=False, ignored={})
        live = clone(result or live)
        managed.put(live, managers)
    assert live["data"] == {"b": "2", "c": "3"}


def test_an_update_owns_what_it_changed_only() -> None:
    """The changed label moves to the updater, the rest stays with the applier; removal leaves no owner."""
    config = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "1", "b": "2"}},
        "spec": {"containers": []},
    }
    live = applied(blank(), config, "m1")
    live["metadata"]["uid"] = "u"
    new = clone(live)
    new["metadata"]["labels"] = {"a": "9"}
    managed.update(POD, new, live, Writer("editor", "Update", "v1", "", "2026-01-02T00:00:00Z"), {})
    assert owned(new, "editor") == {".metadata.labels.a"}
    assert owned(new, "m1") == set()


def test_reset_and_untracked_objects_stay_untracked() -> None:
    """[{}] clears ownership; an object without owners is not tracked on update."""
    live: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}, "data": {"a": "1"}}
    new = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}, "data": {"a": "2"}}
    managed.update(MAP, new, live, Writer("m", "Update", "v1", "", "t"), {})
    assert "managedFields" not in new["metadata"]


def test_old_updaters_merge_into_one() -> None:
    """More than ten Update managers: the oldest become ancient-changes."""
    live: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}}
    old: Object | None = None
    for index in range(14):
        live = clone(live)
        live["data"][f"k{index}"] = "v"
        managed.update(MAP, live, old, Writer(f"m{index}", "Update", "v1", "", f"2026-01-01T00:00:{index:02}Z"), {})
        live["metadata"]["uid"] = "u"
        old = live
    managers = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert managers[0] == "ancient-changes"
    assert owned(live, "ancient-changes") >= {".data.k0", ".data.k1"}


def test_scale_of_zero_has_no_owner() -> None:
    """A Scale leaves out zero replicas, so setting 0 takes the field from its owner and owns nothing."""
    live: Object = {"metadata": {"managedFields": managed.write({
        Writer("m1", "Apply", "apps/v1").manager: managed.Entry({"f:spec": {"f:replicas": {}}}, "apps/v1")})},
        "spec": {"replicas": 3}}  # fmt: skip
    zero = clone(live)
    zero["spec"]["replicas"] = 0
    managed.update_scale(zero, live, Writer("s", "Update", "apps/v1", "scale"), ("spec", "replicas"), False)
    assert "managedFields" not in zero["metadata"]
    five = clone(live)
    five["spec"]["replicas"] = 5
    managed.update_scale(five, live, Writer("s", "Update", "apps/v1", "scale"), ("spec", "replicas"), False)
    assert owned(five, "s") == {".spec.replicas"}
    with pytest.raises(Conflicts):
        managed.update_scale(five, live, Writer("x", "Apply", "apps/v1", "scale"), ("spec", "replicas"), False)


def test_tracking_a_status_update_is_fast() -> None:
    """Median well under a millisecond; the bound is loose, for busy machines."""
    pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u"},
                   "spec": {"containers": [{"name": f"c{i}"} for i in range(3)]}, "status": {}}  # fmt: skip
    managed.update(POD, pod, None, Writer("a", "Update", "v1", "", "t"), {})
    times = []
    for index in range(50):
        new = {**pod, "metadata": dict(pod["metadata"])}
        statuses = [{"name": f"c{i}", "ready": True} for i in range(3)]
        new["status"] = {"phase": str(index), "containerStatuses": statuses}
        start = time.perf_counter()
        managed.update(POD, new, pod, Writer("kubelet", "Update", "v1", "status", "t"), {"f:spec": {}})
        times.append(time.perf_counter() - start)
    assert sorted(times)[25] < 0.005
