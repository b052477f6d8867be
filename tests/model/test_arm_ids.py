"""Resource identifiers: one resource, many spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.arm import MANAGED_CLUSTERS, RESOURCE_GROUPS, SUBNETS, VIRTUAL_NETWORKS, ResourceId
from podloom.model.errors import Rejected

TEXT = "/subscriptions/S/resourceGroups/Rg/providers/Microsoft.Network/virtualNetworks/Net/subnets/A"
NAMES = st.text(st.sampled_from("abcXYZ019-_."), min_size=1, max_size=12)


def test_parts() -> None:
    id_ = ResourceId.parse(TEXT)
    assert (id_.type, id_.name, id_.group, id_.names) == (SUBNETS, "A", "Rg", ("Net", "A"))
    assert str(id_.parent) == TEXT.rsplit("/", 2)[0]
    assert id_.parent.parent == id_.group_id == ResourceId("S", "Rg")
    assert id_.parent.child("subnets", "A") == id_
    assert id_.group_id.within(VIRTUAL_NETWORKS, "Net") == id_.parent
    assert id_.group_id.type == RESOURCE_GROUPS


def test_case_does_not_matter_and_types_are_spelled_as_azure_does() -> None:
    loud = ResourceId.parse(TEXT.upper())
    assert loud.key == ResourceId.parse(TEXT).key
    assert loud.type == SUBNETS
    assert (
        str(
            ResourceId.parse("/subscriptions/s/resourcegroups/g/providers/microsoft.containerservice/managedclusters/k")
        )
        == f"/subscriptions/s/resourceGroups/g/providers/{MANAGED_CLUSTERS}/k"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/subscriptions/s",
        "/subscriptions/s/resourceGroups",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks",
        "/subscriptions/s/resourceGroups/g/virtualNetworks/v",
        "/subscriptions//resourceGroups/g",
    ],
)
def test_what_is_no_identifier_is_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        ResourceId.parse(text)


@given(NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=3))
def test_parsing_undoes_spelling(subscription: str, group: str, names: list[str]) -> None:
    kinds = "/".join(["Some.Provider", *(f"kind{place}" for place, _ in enumerate(names))])
    id_ = ResourceId(subscription, group, kinds, tuple(names))
    assert ResourceId.parse(str(id_)) == id_
