"""Whatever JSON arrives, the answer is a resource or a refusal with reasons, never a failure of the cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudkit import SUBSCRIPTION, vnet_body
from podloom.cloud.engine import Engine
from podloom.cloud.providers import ALL
from podloom.cloud.store import Store
from podloom.model.arm import (
    MANAGED_CLUSTERS,
    NETWORK_INTERFACES,
    PUBLIC_ADDRESSES,
    ROUTING_DOMAINS,
    VIRTUAL_NETWORKS,
    ResourceId,
)
from podloom.model.findings import Refusal

RG = ResourceId(SUBSCRIPTION, "rg")
VNET = RG.within(VIRTUAL_NETWORKS, "net")
KEYS = {
    VIRTUAL_NETWORKS: [
        "addressSpace",
        "addressPrefixes",
        "subnets",
        "name",
        "properties",
        "addressPrefix",
        "delegations",
    ],
    NETWORK_INTERFACES: ["ipConfigurations", "name", "properties", "subnet", "id", "privateIPAddress", "primary"],
    PUBLIC_ADDRESSES: ["ipAddress", "publicIPAddressVersion"],
    ROUTING_DOMAINS: ["virtualNetwork", "id", "podCidrs"],
    MANAGED_CLUSTERS: ["networkProfile", "agentPoolProfiles", "name", "count", "podCidr", "nodeResourceGroup"],
}
TEXTS = ["", "x", "10.1.0.0/24", "10.1.0.0/16", "Static", "10.1.0.5", str(VNET), str(VNET.child("subnets", "a"))]


def junk(keys: list[str]) -> st.SearchStrategy[Any]:
    """JSON built of the words this type knows, in the wrong places."""
    leaves = st.none() | st.booleans() | st.integers(-1, 300) | st.sampled_from(TEXTS)
    names = st.sampled_from(keys)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=4), max_leaves=12
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    store = Store(Path(tmp_path_factory.mktemp("junk")) / "cloud.db")
    made = Engine(store, [rules(store) for rules in ALL], SUBSCRIPTION, lambda: "2026-01-01T00:00:00Z")
    made.put(RG, {"location": "westeurope"})
    made.put(VNET, vnet_body(("a", "10.1.0.0/24")))
    return made


@pytest.mark.parametrize("type_", list(KEYS))
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_junk_is_refused_or_stored(engine: Engine, type_: str, data: st.DataObject) -> None:
    id_ = RG.within(type_, "junk")
    top = st.dictionaries(st.sampled_from(KEYS[type_]), junk(KEYS[type_]), max_size=4)
    wish = {
        "properties": data.draw(top | junk(KEYS[type_])),
        "location": data.draw(st.sampled_from(["westeurope", "", 3])),
    }
    try:
        engine.put(id_, wish)
        engine.get(id_)
        assert engine.list_type(type_)
        if type_ == MANAGED_CLUSTERS:
            engine.delete(id_)
            engine.finalize(id_)
        else:
            engine.delete(id_)
    except Refusal as refusal:
        assert all(finding.code and finding.message for finding in refusal.findings)


@pytest.mark.parametrize("kind", ["subnets"])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(properties=junk(KEYS[VIRTUAL_NETWORKS]))
def test_junk_children_are_refused_or_stored(engine: Engine, kind: str, properties: Any) -> None:
    id_ = VNET.child(kind, "junk")
    try:
        engine.put(id_, {"properties": properties})
        engine.delete(id_)
    except Refusal as refusal:
        assert refusal.findings
