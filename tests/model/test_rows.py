"""Rows: keys, defaults, and a plan that contradicts itself."""

import pytest

from podloom.model.errors import Bug
from podloom.model.rows import Kind, Tag, index_rows, netns_row, route_row


def test_a_plan_that_contradicts_itself_is_a_bug() -> None:
    """Two values for one key are a mistake of the plan; one row said twice is not."""
    same = [route_row("a", "10.0.0.0/8", dev="x"), route_row("a", "10.0.0.0/8", dev="x", owner="other")]
    assert len(index_rows(same)) == 1
    with pytest.raises(Bug, match=r"10\.0\.0\.0/8"):
        index_rows([route_row("a", "10.0.0.0/8", dev="x"), route_row("a", "10.0.0.0/8", dev="y")])


def test_routes_have_the_kernels_defaults() -> None:
    """Scope is link without a gateway; IPv6 has metric 1024 and no scope, as the kernel shows them."""
    assert route_row("", "10.0.0.1/32", dev="x").value.scope == "link"
    assert route_row("", "10.0.0.1/32", dev="x", via="10.0.0.2").value.scope == "global"
    assert route_row("", "10.0.0.0/8", type="unreachable").value.scope == "global"
    six = route_row("", "fd00::/64", dev="x")
    assert (six.value.scope, six.key[3]) == ("global", 1024)


def test_a_tag_owns_by_prefix_only_when_it_has_one() -> None:
    """An empty prefix owns nothing, rather than everything."""
    assert not Tag(80).owns_netns("anything")
    assert not Tag(80).owns_link("eth0")
    assert Tag(80, ("azv",), "lab-").owns_link("azv1")
    assert Tag(80, ("azv",), "lab-").owns_netns("lab-x")


def test_kinds_are_in_dependency_order() -> None:
    """What others stand on comes first."""
    order = sorted(Kind, key=lambda kind: kind.value)
    assert order[:3] == [Kind.NETNS, Kind.LINK, Kind.ADDRESS]
    assert order.index(Kind.NFT_TABLE) < order.index(Kind.NFT_ELEMENT)
    assert netns_row("a").id.kind is Kind.NETNS
