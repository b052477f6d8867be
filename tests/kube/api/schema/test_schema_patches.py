"""JSON patch, merge patch and strategic merge patch by their rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.jsonpatch import PatchError, json_patch, merge_patch
from podloom.kube.api.schema.registry import builtin
from podloom.kube.api.schema.strategic import StrategicError, strategic_merge

KEYS = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("xyz", max_size=3)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return value


@settings(max_examples=60, deadline=None)
@given(OBJECTS, OBJECTS)
def test_merge_patch_twice_is_once(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7386 patches are idempotent."""
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@settings(max_examples=60, deadline=None)
@given(OBJECTS, OBJECTS)
def test_merge_patch_of_an_empty_target_is_the_patch_without_nulls(a: dict[str, Any], _b: dict[str, Any]) -> None:
    """What a null would delete is not there."""
    assert merge_patch({}, a) == without_nulls(a)


@settings(max_examples=60, deadline=None)
@given(OBJECTS, OBJECTS)
def test_merge_patch_leaves_its_inputs_alone(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Pure: both inputs are as before."""
    before = clone([target, patch])
    merge_patch(target, patch)
    assert [target, patch] == before


@pytest.mark.parametrize(
    ("document", "patch", "wanted"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": "b"}], {"foo": ["a", "b"]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}], {"a/b": 1, "m~n": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
    ],
)
def test_json_patch_operations(document: Any, patch: Any, wanted: Any) -> None:
    """The operations of RFC 6902, appendix A."""
    assert json_patch(document, patch) == wanted


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": True},
        {"op": "remove", "path": "/zz"},
        {"op": "replace", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "move", "from": "/b", "path": "/b/x"},
        {"op": "frob", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_json_patch_refuses(operation: dict[str, Any]) -> None:
    """An operation that cannot be carried out fails the patch and leaves the document alone."""
    document = {"a": 1, "b": {}, "l": []}
    with pytest.raises(PatchError):
        json_patch(document, [{"op": "add", "path": "/new", "value": 1}, operation])
    assert document == {"a": 1, "b": {}, "l": []}


POD = builtin().kind("", "v1", "Pod")
assert POD is not None
NAMES = st.sampled_from(["a", "b", "c", "d"])
CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"image": st.text("xy", max_size=2), "tty": st.booleans()}),
    max_size=4,
    unique_by=lambda c: c["name"],
)


@settings(max_examples=60, deadline=None)
@given(CONTAINERS, CONTAINERS)
def test_strategic_merge_twice_is_once(live: list[Any], patch: list[Any]) -> None:
    """Without directives a strategic merge patch is idempotent, and keeps every name of both."""
    obj, change = {"spec": {"containers": live}}, {"spec": {"containers": patch}}
    once = strategic_merge(POD, obj, change)
    assert strategic_merge(POD, once, change) == once
    names = {c["name"] for c in once["spec"]["containers"]}
    assert names == {c["name"] for c in live} | {c["name"] for c in patch}


@settings(max_examples=60, deadline=None)
@given(CONTAINERS, st.permutations(["a", "b", "c", "d"]))
def test_set_element_order_orders(live: list[Any], order: list[str]) -> None:
    """All items named in $setElementOrder stand in its order."""
    patch = {"spec": {"$setElementOrder/containers": [{"name": n} for n in order]}}
    result = strategic_merge(POD, {"spec": {"containers": live}}, patch)
    present = [n for n in order if n in {c["name"] for c in live}]
    assert [c["name"] for c in result["spec"]["containers"]] == present


def test_strategic_directives() -> None:
    """$patch delete and replace, $deleteFromPrimitiveList, $retainKeys and null."""
    obj = {
        "metadata": {"finalizers": ["x", "y"], "labels": {"a": "1"}},
        "spec": {
            "containers": [{"name": "a"}, {"name": "b"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "nodeName": "n",
        },
    }
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "labels": {"$patch": "replace", "b": "2"}},
        "spec": {
            "containers": [{"name": "a", "$patch": "delete"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}],
            "nodeName": None,
        },
    }
    assert strategic_merge(POD, obj, patch) == {
        "metadata": {"finalizers": ["y"], "labels": {"b": "2"}},
        "spec": {"containers": [{"name": "b"}], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
    }


def test_strategic_errors_name_the_map() -> None:
    """An item without its merge key, and an unknown directive, are 500s with Go's map in the text."""
    obj = {"spec": {"containers": [{"name": "a"}]}}
    with pytest.raises(StrategicError, match=r"map: map\[image:x\] does not contain declared merge key: name"):
        strategic_merge(POD, obj, {"spec": {"containers": [{"image": "x"}]}})
    with pytest.raises(StrategicError, match=r"unknown patch type: frob in map: map\[\$patch:frob name:a\]"):
        strategic_merge(POD, obj, {"spec": {"containers": [{"name": "a", "$patch": "frob"}]}})
