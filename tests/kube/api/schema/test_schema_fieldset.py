"""Field sets in their written form: set algebra, paths, packing."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.kube.api.schema import fieldset as fs

ELEMENTS = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'v:"y"', "i:0"])
PATHS = st.sets(st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple), max_size=12)


def trie(paths: set[tuple[str, ...]]) -> fs.Trie:
    """The written form of a set of paths, built the slow way."""
    out: dict[str, Any] = {}
    for path in paths:
        out = fs.root_union(out, _single(path))
    return out


def _single(path: tuple[str, ...]) -> fs.Trie:
    inner: dict[str, Any] = {}
    for element in reversed(path):
        inner = {element: inner}
    return inner


@settings(max_examples=60, deadline=None)
@given(PATHS)
def test_a_set_is_its_written_form(paths: set[tuple[str, ...]]) -> None:
    """Packing to FieldsV1 and unpacking yields the same paths, through JSON as well."""
    packed = trie(paths)
    assert set(fs.paths(packed)) == paths
    assert orjson.loads(orjson.dumps(packed)) == packed


@settings(max_examples=60, deadline=None)
@given(PATHS, PATHS)
def test_set_algebra_is_that_of_paths(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    """Union, difference and intersection of tries are those of the sets of paths."""
    assert set(fs.paths(fs.root_union(trie(a), trie(b)))) == a | b
    assert set(fs.paths(fs.root_difference(trie(a), trie(b)))) == a - b
    assert set(fs.paths(fs.root_intersection(trie(a), trie(b)))) == a & b


@settings(max_examples=60, deadline=None)
@given(PATHS, PATHS)
def test_recursive_difference_drops_what_lies_below(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    """Nothing that starts with a path of b is left."""
    left = set(fs.paths(fs.recursive_difference(trie(a), trie(b))))
    assert left == {path for path in a if not any(path[: len(other)] == other for other in b)}


@settings(max_examples=60, deadline=None)
@given(PATHS, PATHS)
def test_operations_do_not_change_their_operands(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    """Sets share parts, so none may be written to."""
    left, right = trie(a), trie(b)
    before = orjson.dumps([left, right])
    fs.root_union(left, right)
    fs.root_difference(left, right)
    fs.recursive_difference(left, right)
    assert orjson.dumps([left, right]) == before


def test_paths_print_as_conflicts_show_them() -> None:
    """`.spec.ports[port=80,protocol="TCP"].name`, set members and indexes."""
    path = ("f:spec", 'k:{"port":80,"protocol":"TCP"}', "f:name")
    assert fs.path_text(path) == '.spec[port=80,protocol="TCP"].name'
    assert fs.path_text(("f:finalizers", 'v:"a"')) == '.finalizers[="a"]'
    assert fs.path_text(("f:x", "i:3")) == ".x[3]"
