"""Choosing addresses."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.errors import Exhausted
from podloom.plan.ipam import capacity, choose, choose_each

NODE = IPv4Network("192.168.1.0/24")


def test_round_robin_does_not_reuse_at_once() -> None:
    """An address given back is not the next one handed out, though it is free."""
    first = choose(NODE, set(), None)
    second = choose(NODE, set(), first)
    assert (str(first), str(second)) == ("192.168.1.1", "192.168.1.2")


def test_the_whole_range_once_then_exhausted() -> None:
    """All 254 addresses are handed out exactly once, without the first and the last; then Exhausted."""
    used: set[IPv4Address] = set()
    cursor = ip_address("192.168.1.200")
    for _ in range(capacity(NODE)):
        cursor = choose(NODE, used, cursor)
        assert cursor not in used
        used.add(cursor)
    assert len(used) == 254
    assert not used & {ip_address("192.168.1.0"), ip_address("192.168.1.255")}
    with pytest.raises(Exhausted, match=r"192\.168\.1\.0/24"):
        choose(NODE, used, cursor)


@given(st.sets(st.integers(0, 255), max_size=253), st.integers(-300, 300))
def test_choice_is_free_and_inside(used: set[int], cursor: int) -> None:
    """Whatever is taken and wherever the cursor stands, the choice is a free address of the range."""
    base = int(NODE.network_address)
    taken = {IPv4Address(base + offset) for offset in used}
    if len(taken - {IPv4Address(base), IPv4Address(base + 255)}) == 254:
        return
    address = choose(NODE, taken, IPv4Address(base + cursor))
    assert address in NODE and address not in taken and int(address) - base in range(1, 255)


def test_one_per_family() -> None:
    """Dual-stack gives one address of each range and moves each cursor."""
    networks = (NODE, ip_network("fd00::/120"))
    cursors = {}
    chosen = choose_each(networks, set(), cursors)
    assert [str(address) for address in chosen] == ["192.168.1.1", "fd00::1"]
    assert cursors == dict(zip(networks, chosen, strict=True))
