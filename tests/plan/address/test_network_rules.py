"""Rules for virtual networks, names and places."""

from __future__ import annotations

from typing import Any

import pytest

from podloom.model.arm import VIRTUAL_NETWORKS, ResourceId
from podloom.plan.address.cidrs import reserved_in, usable_in, within_any
from podloom.plan.address.names import (
    check_cluster_name,
    check_group_name,
    check_location,
    check_pool_name,
    normal_location,
)
from podloom.plan.address.view import Prefix
from podloom.plan.address.vnet import check_virtual_network, with_subnet_prefixes

VNET = ResourceId("s", "rg", VIRTUAL_NETWORKS, ("net",))


def net(text: str) -> Prefix:
    import ipaddress

    return ipaddress.ip_network(text)


def judge(space: list[str], *subnets: tuple[str, str]) -> list[str]:
    listed: list[Any] = [
        {"name": name, "properties": with_subnet_prefixes({"addressPrefix": p})} for name, p in subnets
    ]
    properties = {"addressSpace": {"addressPrefixes": space}, "subnets": listed}
    return [finding.code for finding in check_virtual_network(VNET, properties)]


@pytest.mark.parametrize(
    ("space", "subnets", "wanted"),
    [
        (["10.0.0.0/16"], [("a", "10.0.0.0/24"), ("b", "10.0.1.0/29")], []),
        (["10.0.0.0/16", "fd00::/48"], [("a", "fd00::/64")], []),
        ([], [], ["ValidationError"]),
        (["10.0.0.0/33"], [], ["CidrStringParseError"]),
        (["10.0.0.0/16", "10.0.1.0/24"], [], ["NetcfgInvalidVirtualNetworkSite"]),
        (["10.0.0.0/16"], [("a", "10.1.0.0/24")], ["NetcfgInvalidSubnet"]),
        (["10.0.0.0/16"], [("a", "10.0.0.0/30")], ["NetcfgInvalidSubnet"]),
        (["10.0.0.0/16"], [("a", "10.0.0.0/24"), ("b", "10.0.0.128/25")], ["NetcfgSubnetRangesOverlap"]),
        (["10.0.0.0/16"], [("a", "10.0.0.0/24"), ("A", "10.0.1.0/24")], ["DuplicateResourceName"]),
        (["10.0.0.0/16"], [("a/b", "10.0.0.0/24")], ["InvalidResourceName"]),
        (["10.0.0.0/16"], [("a", "10.0.0.7/24")], ["CidrStringParseError"]),
        (["nope"], [("a", "10.1.0.0/24"), ("b", "x")], ["CidrStringParseError", "CidrStringParseError"]),
    ],
)
def test_virtual_networks(space: list[str], subnets: list[tuple[str, str]], wanted: list[str]) -> None:
    assert judge(space, *subnets) == wanted


def test_azure_reserves_five_addresses() -> None:
    """PLAN-01."""
    subnet = net("10.0.0.0/24")
    assert usable_in(subnet) == 251
    assert {str(a).rsplit(".", 1)[1] for a in reserved_in(subnet)} == {"0", "1", "2", "3", "255"}
    assert usable_in(net("10.0.0.0/30")) == 0


def test_within_any_keeps_families_apart() -> None:
    assert within_any(net("10.1.0.0/16"), [net("fd00::/8"), net("10.0.0.0/8")])
    assert not within_any(net("10.0.0.0/8"), [net("10.1.0.0/16")])


@pytest.mark.parametrize(
    ("text", "good"), [("westcentralus", True), ("West Central US", True), ("mars", False), ("", False)]
)
def test_locations(text: str, good: bool) -> None:
    assert (check_location(normal_location(text)) == []) == good


def test_a_misspelled_location_gets_a_suggestion() -> None:
    assert "westus2" in check_location("westus22")[0].fix


@pytest.mark.parametrize(("name", "good"), [("my-rg_(1).x", True), ("a" * 90, True), ("a" * 91, False), ("x.", False)])
def test_group_names(name: str, good: bool) -> None:
    assert (check_group_name(name) == []) == good


@pytest.mark.parametrize(("name", "good"), [("myOverlayCluster", True), ("a", True), ("-a", False), ("a" * 64, False)])
def test_cluster_names(name: str, good: bool) -> None:
    assert (check_cluster_name(name) == []) == good


@pytest.mark.parametrize(
    ("name", "windows", "good"),
    [("nodepool1", False, True), ("win123", True, True), ("win1234", True, False), ("a-b", False, False)],
)
def test_pool_names(name: str, windows: bool, good: bool) -> None:
    assert (check_pool_name(name, windows, "t") == []) == good
