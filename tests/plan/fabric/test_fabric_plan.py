"""The fabric's plan: pure rows from ARM documents, problems by resource, stable names and numbers."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from podloom.drivers.kernel import FakeKernel
from podloom.model.errors import Exhausted, Rejected
from podloom.model.rows import Kind, Row
from podloom.plan.fabric import names
from podloom.plan.fabric.domains import number_domains
from podloom.plan.fabric.outbound import assign_outbound
from podloom.plan.fabric.plan import FabricPlan, fabric_tag, plan_fabric
from podloom.plan.fabric.settings import FabricSettings
from podloom.plan.fabric.view import read_view
from podloom.plan.fabric.zone import zone_of
from podloom.reconcile import difference, kernel_targets, reconcile

sys.path.insert(0, str(Path(__file__).parent))
import armdocs as arm

SETTINGS = FabricSettings(tag="tplan")


def plan(documents: list[arm.Json]) -> FabricPlan:
    view = read_view(documents)
    outbound = assign_outbound(view.vnets, {}, (), SETTINGS.outbound_range)
    return plan_fabric(SETTINGS, view, outbound)


def find(rows: tuple[Row, ...], kind: Kind, **where: object) -> list[Row]:
    return [row for row in rows if row.kind is kind and all(str(v) in row.key for v in where.values())]


def test_a_network_is_a_fixed_set_of_rows() -> None:
    """The walk's golden: one VNet, one NIC, one domain of one node."""
    documents = [
        arm.vnet("v", "10.0.0.0/16", s="10.0.1.0/24"),
        arm.nic("n", "v", "s", "10.0.1.4", "00-0D-3A-00-00-01"),
        arm.domain("d", "v", "172.31.0.0/16"),
        arm.route("d", "n", "172.31.0.0/24", "10.0.1.4"),
    ]
    shown = "\n".join(sorted(map(str, plan(documents).rows)))
    golden = Path(__file__).with_name("fabric_golden.txt")
    assert shown == golden.read_text().rstrip("\n")


def test_everything_applies_and_goes() -> None:
    """The fake kernel, which knows what depends on what, takes the whole picture and gives it back."""
    whole = plan(arm.two_overlays())
    assert not whole.problems
    kernel = FakeKernel(fabric_tag(SETTINGS.tag))
    targets = kernel_targets(kernel)
    assert reconcile(whole.rows, targets).ok
    assert difference(whole.rows, targets).empty
    assert reconcile([], targets).ok
    assert not any(rows for kind, rows in kernel.world.items() if kind is not Kind.SYSCTL)


def test_every_row_has_an_owner_that_is_reported() -> None:
    """Rows belong to a resource, or to the internet itself."""
    documents = arm.two_overlays()
    owners = Counter(row.owner for row in plan(documents).rows)
    resources = {str(d["id"]).lower() for d in documents if "/routes/" not in str(d["id"])}
    assert set(owners) == resources | {"internet", "internet/shell"}


def test_equal_pod_ranges_are_two_tables() -> None:
    """OVL-14: two domains with one pod CIDR share no table, no mark and no NIC."""
    rows = plan(arm.two_overlays()).rows
    tables = {row.value.table for row in find(rows, Kind.RULE)}
    assert len(tables) == 2
    routes = [row for row in find(rows, Kind.ROUTE) if row.key[1] in tables]
    assert Counter(row.key[2] for row in routes) == {
        "192.168.0.0/16": 2,
        "192.168.0.0/24": 2,
        "192.168.1.0/24": 2,
    }


def test_problems_stay_with_their_resource() -> None:
    """What is broken, in no network or subnet, or of the wrong family fails alone; a node that is gone does not."""
    documents = [
        *arm.two_overlays(),
        arm.nic("lost", "nowhere", "s", "10.0.0.4"),
        arm.nic("astray", "v1", "none", "10.224.0.9"),
        arm.nic("outside", "v1", "aks", "10.99.0.9"),
        {"id": arm.nic_id("broken"), "type": "Microsoft.Network/networkInterfaces", "properties": {}},
        arm.route("da", "ghost", "192.168.9.0/24", "10.224.9.9"),
        arm.route("db", "families", "192.168.9.0/24", "fd00::9"),
        arm.domain("dc", "nowhere", "192.168.0.0/16"),
    ]
    found = plan(documents)
    expected = [*map(arm.nic_id, ["lost", "astray", "outside", "broken"]), arm.domain_id("db"), arm.domain_id("dc")]
    assert set(found.problems) == {name.lower() for name in expected}
    assert all(isinstance(error, Rejected) for error in found.problems.values())
    good = {row.id for row in plan(arm.two_overlays()).rows}
    assert good <= {row.id for row in found.rows}


def test_a_node_belongs_to_one_domain() -> None:
    """A NIC that two domains route to is a problem of the second; its packets have one table only."""
    documents = [*arm.two_overlays(), arm.route("db", "thief", "192.168.7.0/24", "10.224.0.4")]
    found = plan(documents)
    assert list(found.problems) == [arm.domain_id("db").lower()]
    assert len(find(found.rows, Kind.RULE, iif=names.nic_link(arm.nic_id("a1")))) == 1


def test_deleting_resources_are_gone() -> None:
    """What the cloud is deleting has no rows."""
    documents = arm.two_overlays()
    documents[2]["properties"]["provisioningState"] = "Deleting"
    assert not any(row.owner == arm.nic_id("a1").lower() for row in plan(documents).rows)


def test_ids_are_the_same_in_any_case() -> None:
    """ARM compares ids without regard to case; so do the kernel's names."""
    resource_id = arm.nic_id("Node1")
    assert names.vm_netns("t", resource_id) == names.vm_netns("t", resource_id.upper())
    assert names.nic_link(resource_id) == names.nic_link(resource_id.lower())
    assert names.mac_of(resource_id) == names.mac_of(resource_id.upper())


@pytest.mark.parametrize("tag", ["podloom", "a", "averylongtagindeed" * 2])
def test_interface_names_fit(tag: str) -> None:
    """The kernel takes 15 bytes."""
    for name in (names.shell_link(tag), names.nic_link("x"), names.uplink_link("x"), names.shell_near_link()):
        assert 0 < len(name) <= 15


def test_numbers_of_domains_do_not_move() -> None:
    """Another domain's coming or going changes no number, and no two are equal."""
    some = number_domains(["a", "c"])
    more = number_domains([*map(str, range(300)), "a", "b", "c"])
    assert len(set(more.values())) == len(more)
    assert {key: more[key] for key in some} == some


def test_outbound_addresses_are_kept() -> None:
    """A network keeps its address, gives way to the cloud's own, and an exhausted range is said so."""
    range_ = "198.19.1.0/29"
    first = assign_outbound(["a", "b"], {}, (), range_)
    assert first == {"a": "198.19.1.6", "b": "198.19.1.5"}
    assert assign_outbound(["0", "b"], first, (), range_)["b"] == first["b"]
    assert assign_outbound(["a", "b"], first, {"198.19.1.6"}, range_)["a"] == "198.19.1.4"
    with pytest.raises(Exhausted, match="outbound address"):
        assign_outbound(map(str, range(7)), {}, (), range_)


def test_a_network_knows_its_own_machines_only() -> None:
    """DNS names of machines do not cross networks; public names are everywhere."""
    view = read_view(arm.two_overlays())
    one = zone_of(SETTINGS, view, view.vnets[arm.vnet_id("v1").lower()])
    two = zone_of(SETTINGS, view, view.vnets[arm.vnet_id("v2").lower()])
    assert one["a1-vm"] == one["a1-vm.internal.cloudapp.net"] == ("10.224.0.4",)
    assert "a1-vm" not in two
    assert one["api.example.test"] == two["api.example.test"] == ("198.19.1.1",)
    assert one["echo.podloom.test"] == ("198.19.0.80",)


def test_claims_of_one_thing_are_the_second_ones_problem() -> None:
    """Two NICs of one address, or one pod range on two nodes, disturb only the later one."""
    documents = [
        *arm.two_overlays(),
        arm.nic("twin", "v1", "aks", "10.224.0.4"),
        arm.route("db", "twice", "192.168.0.0/24", "10.224.0.6"),
        arm.route("da", "six", "192.168.3.0/24", "fd00::4"),
    ]
    found = plan(documents)
    assert set(found.problems) == {name.lower() for name in (arm.nic_id("twin"), *map(arm.domain_id, ("da", "db")))}
    kernel = FakeKernel(fabric_tag(SETTINGS.tag))
    assert reconcile(found.rows, kernel_targets(kernel)).ok
