"""ARM JSON: what the user owns and what the system owns, apart and joined."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from podloom.model.findings import Finding
from podloom.render.arm import error_body, merge_patch, overlay, without
from podloom.render.shapes import cluster_shape, flattened, group_of

ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v"
KEYS = st.sampled_from(["a", "b", "c"])
SCALARS = st.integers() | st.text(max_size=3) | st.booleans()
OBJECTS: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3), lambda inner: st.dictionaries(KEYS, SCALARS | inner, max_size=3)
)


def test_named_lists_join_by_name() -> None:
    wish = {"pools": [{"name": "a", "count": 1}, {"name": "b"}]}
    said = {"pools": {"a": {"state": "Running"}, "gone": {"state": "x"}}}
    joined = overlay(wish, said)
    assert joined == {"pools": [{"name": "a", "count": 1, "state": "Running"}, {"name": "b"}]}
    assert without(joined, said) == wish


@given(OBJECTS, OBJECTS)
def test_cleaning_undoes_joining(wish: Any, said: Any) -> None:
    """A client that sends back what it read changes nothing: only fields the system owns are taken away."""
    owned = without(wish, said, wish)
    assert without(overlay(owned, said), said, owned) == owned


@given(OBJECTS, OBJECTS)
def test_joining_twice_is_joining_once(wish: Any, said: Any) -> None:
    assert overlay(overlay(wish, said), said) == overlay(wish, said)


def test_merge_patch_is_rfc_7396() -> None:
    """Cases of the RFC's appendix A."""
    cases = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, wanted in cases:
        before = json.dumps(target)
        assert merge_patch(target, patch) == wanted
        assert json.dumps(target) == before


def test_an_error_has_the_first_mistake_on_top_and_all_in_details() -> None:
    body = error_body([Finding("One", "first", "t", "OVL-01", "mend it"), Finding("Two", "second")])["error"]
    assert (body["code"], body["message"], body["target"]) == ("One", "first", "t")
    assert [detail["code"] for detail in body["details"]] == ["One", "Two"]
    assert body["details"][0]["additionalInfo"][0]["info"] == {"requirement": "OVL-01", "fix": "mend it"}


def test_network_resources_are_flattened_at_every_level() -> None:
    """As az prints them: properties on top, the resource group told wherever there is an id."""
    resource = {
        "id": ID,
        "name": "v",
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
            "subnets": [{"id": f"{ID}/subnets/s", "name": "s", "properties": {"addressPrefix": "10.1.0.0/16"}}],
        },
    }
    assert flattened(resource) == {
        "id": ID,
        "name": "v",
        "resourceGroup": "rg",
        "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
        "subnets": [{"id": f"{ID}/subnets/s", "name": "s", "addressPrefix": "10.1.0.0/16", "resourceGroup": "rg"}],
    }


def test_clusters_are_flattened_once() -> None:
    shape = cluster_shape({"id": ID, "name": "v", "properties": {"agentPoolProfiles": [{"name": "p"}], "fqdn": "x"}})
    assert (shape["fqdn"], shape["resourceGroup"], shape["tags"]) == ("x", "rg", None)
    assert shape["agentPoolProfiles"] == [{"name": "p"}]


def test_group_of() -> None:
    assert (group_of(ID.replace("resourceGroups", "RESOURCEGROUPS")), group_of("/subscriptions/s")) == ("rg", "")
