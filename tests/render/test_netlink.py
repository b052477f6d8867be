"""rtnetlink messages: what is packed is what is read, and the kernel's own bytes are understood."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.render import netlink as nl

addresses4 = st.tuples(*[st.integers(0, 255)] * 4).map(lambda parts: ".".join(map(str, parts)))
addresses6 = st.binary(min_size=16, max_size=16).map(nl.address_text)
addresses = addresses4 | addresses6
indexes = st.integers(1, 2**31 - 1)
numbers = st.integers(0, 2**32 - 1)
protocols = st.integers(0, 255)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=15)
macs = st.binary(min_size=6, max_size=6).map(nl.mac_text)


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    address = draw(addresses)
    return f"{address}/{draw(st.integers(1, 128 if ':' in address else 32))}"


@given(addresses)
def test_addresses_survive(text: str) -> None:
    """Address text -> bytes -> text is the identity on canonical text."""
    assert nl.address_text(nl.address_bytes(text)) == text


@given(st.builds(nl.Address, indexes, prefixes(), st.sampled_from(sorted(nl.SCOPES)), numbers, protocols))
def test_address_messages_survive(item: nl.Address) -> None:
    """unpack(pack(x)) = x for addresses."""
    assert nl.unpack_address(nl.pack_address(item)) == item


@given(
    st.builds(
        nl.Route,
        dst=prefixes(),
        table=st.integers(1, 2**32 - 1),
        protocol=protocols,
        scope=st.sampled_from(sorted(nl.SCOPES)),
        type=st.sampled_from(sorted(nl.ROUTE_TYPES)),
        index=indexes,
        via=addresses | st.just(""),
        src=addresses | st.just(""),
        metric=numbers,
        onlink=st.booleans(),
        mtu=numbers,
    )
)
def test_route_messages_survive(item: nl.Route) -> None:
    """unpack(pack(x)) = x for routes."""
    assert nl.unpack_route(nl.pack_route(item)) == item


@given(st.builds(nl.Neighbour, indexes, addresses, macs, st.integers(0, 0xFFFF), protocols))
def test_neighbour_messages_survive(item: nl.Neighbour) -> None:
    """unpack(pack(x)) = x for neighbours."""
    assert nl.unpack_neighbour(nl.pack_neighbour(item)) == item


@given(
    family=st.sampled_from([nl.AF_INET, nl.AF_INET6]),
    priority=numbers,
    table=st.integers(1, 2**32 - 1),
    iif=names | st.just(""),
    oif=names | st.just(""),
    protocol=protocols,
    data=st.data(),
)
def test_rule_messages_survive(
    *, family: int, priority: int, table: int, iif: str, oif: str, protocol: int, data: st.DataObject
) -> None:
    """unpack(pack(x)) = x for rules."""
    same_family = prefixes().filter(lambda p: nl.family_of(p) == family) | st.just("")
    src, dst, mark = data.draw(same_family), data.draw(same_family), data.draw(numbers)
    item = nl.Rule(family, priority, table, "table", iif, oif, src, dst, protocol, mark)
    assert nl.unpack_rule(nl.pack_rule(item)) == item


@given(name=names, mtu=st.integers(1, 65535), mac=macs, group=st.integers(1, 2**31), index=indexes, up=st.booleans())
def test_link_changes_survive(*, name: str, mtu: int, mac: str, group: int, index: int, up: bool) -> None:
    """What is set on a link is what its message says."""
    item = nl.unpack_link(nl.pack_set_link(index, up=up, mtu=mtu, mac=mac, group=group, name=name))
    assert item == nl.Link(index=index, name=name, up=up, mtu=mtu, mac=mac, group=group)


def test_messages_are_cut_at_their_lengths() -> None:
    """Several messages of one datagram come apart, padding and rubbish at the end ignored."""
    first, second = nl.message(16, 0, 1, b"abcde"), nl.message(17, 0, 2, b"")
    padded = first + b"\0" * (-len(first) & 3) + second + b"\1\2"
    assert [(m.type, m.seq, m.body) for m in nl.messages(padded)] == [(16, 1, b"abcde"), (17, 2, b"")]


def test_a_message_of_impossible_length_ends_the_reading() -> None:
    """A length below the header's size does not loop."""
    assert list(nl.messages(struct.pack("=IHHII", 4, 16, 0, 1, 0))) == []


def test_errors_carry_the_kernels_words() -> None:
    """An extended acknowledgement's text is found behind a capped message."""
    words = b"Nexthop has invalid gateway\0"
    body = (
        struct.pack("=i", -22) + struct.pack("=IHHII", 100, 24, 0, 9, 0) + struct.pack("=HH", 4 + len(words), 1) + words
    )
    msg = nl.Message(nl.NLMSG_ERROR, nl.NLM_F_CAPPED | nl.NLM_F_ACK_TLVS, 9, body)
    assert nl.unpack_error(msg) == (22, "Nexthop has invalid gateway")


@pytest.mark.parametrize("text", ["10.0.0", "10.0.0.256", "10.0.0.x", "10.0.0.1.2"])
def test_malformed_addresses_are_refused(text: str) -> None:
    """What is no address does not become bytes."""
    with pytest.raises(ValueError):
        nl.address_bytes(text)
