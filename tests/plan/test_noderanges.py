"""Which range each node gets."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from podloom.plan.noderanges import node_capacity, plan_ranges

CIDR = ip_network("192.168.0.0/22")


def net(text: str):
    return ip_network(text)


def test_lowest_free_ranges_in_order() -> None:
    """OVL-02: each node gets one /24, the lowest free one."""
    plan = plan_ranges([CIDR], ["a", "b", "c"], {"b": (net("192.168.0.0/24"),)})
    assert plan.assigned == {"a": (net("192.168.1.0/24"),), "c": (net("192.168.2.0/24"),)}


def test_exhaustion_names_the_nodes() -> None:
    """PLAN-03: a pod CIDR is enough for as many nodes as it has /24s."""
    plan = plan_ranges([CIDR], ["a", "b", "c", "d", "e"], {})
    assert node_capacity(CIDR) == 4 and plan.exhausted == ("e",)
    assert plan_ranges([net("10.0.0.0/25")], ["a"], {}).exhausted == ("a",)
    assert node_capacity(net("10.0.0.0/25")) == 0


def test_a_gone_node_s_claim_keeps_its_range() -> None:
    """A range stays claimed by a node that is gone until its claim ends."""
    plan = plan_ranges([CIDR], ["new"], {"gone": (net("192.168.0.0/24"),)})
    assert plan.assigned["new"] == (net("192.168.1.0/24"),)


def test_foreign_sizes_are_respected() -> None:
    """A claim of another size (made by hand) overlaps no new range."""
    plan = plan_ranges([CIDR], ["a"], {"x": (net("192.168.0.128/25"),), "y": (net("192.168.1.0/24"),)})
    assert plan.assigned["a"] == (net("192.168.2.0/24"),)


def test_dual_stack_takes_one_of_each() -> None:
    """One range per pod CIDR, in their order."""
    plan = plan_ranges([CIDR, net("fd12:3456:789a::/64")], ["a", "b"], {})
    assert plan.assigned["b"] == (net("192.168.1.0/24"), net("fd12:3456:789a::100/120"))


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_any_order_of_arrival_keeps_claims_unique_and_stable(first: list[str], second: list[str]) -> None:
    """Nodes in two waves: nobody's range changes, no range is given twice."""
    cidr = net("10.0.0.0/21")
    before = plan_ranges([cidr], first, {}).assigned
    after = plan_ranges([cidr], second, before).assigned
    assert not before.keys() & after.keys()
    everything = [*before.values(), *after.values()]
    assert len(set(everything)) == len(everything)
