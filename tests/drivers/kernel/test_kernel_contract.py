"""One contract for every body of the kernel driver: real (as root), fake, and faulty without faults."""

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from podloom.drivers.kernel import FakeKernel, FaultyKernel, Kernel, RealKernel, delete_netns, list_netns
from podloom.model.rows import (
    AddressValue,
    Key,
    Kind,
    RouteValue,
    RuleValue,
    Tag,
    Veth,
)

_numbers = count()


@pytest.fixture
def prefix() -> Iterator[str]:
    name = f"tk{os.getpid()}x{next(_numbers)}-"
    yield name
    for netns in list_netns(name):
        delete_netns(netns)


@pytest.fixture(params=["fake", "faulty", pytest.param("real", marks=pytest.mark.root)])
def kernel(request: pytest.FixtureRequest, prefix: str) -> Iterator[Kernel]:
    tag = Tag(protocol=99, link_prefixes=("tv",), netns_prefix=prefix)
    body: Kernel = RealKernel(tag) if request.param == "real" else FakeKernel(tag)
    if request.param == "faulty":
        body = FaultyKernel(body, share=0.0)
    yield body
    body.release()


@pytest.fixture
def two(kernel: Kernel, prefix: str) -> tuple[str, str]:
    """Two namespaces joined by a veth: tv0 in the first, eth0 in the second."""
    a, b = f"{prefix}a", f"{prefix}b"
    assert kernel.write(Kind.NETNS, "", {(a,): None, (b,): None}, {}) == {}
    assert kernel.write(Kind.LINK, a, {(a, "tv0"): Veth(b, "eth0", mac="02:00:00:00:00:01")}, {}) == {}
    kernel.refresh()
    return a, b


def put(kernel: Kernel, kind: Kind, rows: dict[Key, Any]) -> None:
    netns = str(next(iter(rows))[0])
    assert kernel.write(kind, netns, rows, {}) == {}


def test_namespaces_come_and_go(kernel: Kernel, prefix: str) -> None:
    """Made twice is made once; deleted twice is deleted; only ours are listed."""
    name = f"{prefix}n"
    for _ in range(2):
        assert kernel.write(Kind.NETNS, "", {(name,): None}, {}) == {}
    assert kernel.namespaces() == {name}
    assert kernel.read(Kind.NETNS, name, {(name,): None}, whole=False) == {(name,): None}
    for _ in range(2):
        assert kernel.delete(Kind.NETNS, "", {(name,): None}) == {}
    assert kernel.namespaces() == set()
    assert kernel.read(Kind.NETNS, name, {(name,): None}, whole=False) == {}


def rows_of(a: str, b: str) -> list[tuple[Kind, dict[Key, Any]]]:
    return [
        (Kind.ADDRESS, {(a, "tv0", "10.9.0.1/24"): AddressValue()}),
        (Kind.ADDRESS, {(b, "eth0", "10.9.0.2/32"): AddressValue(prefix_route=False)}),
        (Kind.ROUTE, {(a, 254, "10.8.0.0/16", 0): RouteValue("tv0", scope="link")}),
        (Kind.ROUTE, {(a, 7777, "10.7.0.0/16", 0): RouteValue("tv0", via="10.9.0.2", onlink=True)}),
        (Kind.ROUTE, {(a, 254, "10.6.0.0/16", 5): RouteValue(type="unreachable")}),
        (Kind.RULE, {(a, 4, 500, "tv0", "", "", "", 0): RuleValue(7777)}),
        (Kind.RULE, {(a, 4, 501, "", "", "10.0.0.0/8", "10.1.0.0/16", 77): RuleValue(action="unreachable")}),
        (Kind.NEIGHBOUR, {(a, "tv0", "10.9.0.2"): "02:00:00:00:00:02"}),
        (Kind.SYSCTL, {(a, "ipv4/conf/tv0/proxy_arp"): "1"}),
    ]


@pytest.mark.parametrize("case", range(9))
def test_rows_are_written_read_and_deleted(kernel: Kernel, two: tuple[str, str], case: int) -> None:
    """A row reads back as written, by key and among all; writing again is success; deleted it is gone."""
    kind, rows = rows_of(*two)[case]
    netns = str(next(iter(rows))[0])
    put(kernel, kind, rows)
    assert kernel.read(kind, netns, rows, whole=False) == rows
    if kind is not Kind.SYSCTL:
        assert kernel.read(kind, netns, {}, whole=True) == rows
    assert kernel.write(kind, netns, rows, rows) == {}
    if kind is Kind.SYSCTL:
        return
    for _ in range(2):
        assert kernel.delete(kind, netns, rows) == {}
    assert kernel.read(kind, netns, rows, whole=False) == {}


@pytest.mark.parametrize(
    ("kind", "key", "old", "new"),
    [
        (Kind.ROUTE, (254, "10.8.0.0/16", 0), RouteValue("tv0", scope="link"), RouteValue(type="unreachable")),
        (Kind.RULE, (4, 500, "tv0", "", "", "", 0), RuleValue(7777), RuleValue(8888)),
        (Kind.NEIGHBOUR, ("tv0", "10.9.0.2"), "02:00:00:00:00:02", "02:00:00:00:00:03"),
        (Kind.ADDRESS, ("tv0", "10.9.0.1/24"), AddressValue(), AddressValue(prefix_route=False)),
        (Kind.SYSCTL, ("ipv4/conf/tv0/proxy_arp",), "1", "0"),
    ],
)
def test_values_change(kernel: Kernel, two: tuple[str, str], *, kind: Kind, key: Key, old: Any, new: Any) -> None:
    """A changed value replaces the old one: there are not two rows afterwards."""
    whole = (two[0], *key)
    put(kernel, kind, {whole: old})
    assert kernel.write(kind, two[0], {whole: new}, {whole: old}) == {}
    assert kernel.read(kind, two[0], {whole: new}, whole=kind is not Kind.SYSCTL) == {whole: new}


def test_a_veth_reads_as_both_its_ends(kernel: Kernel, two: tuple[str, str]) -> None:
    """The pair's value is that of both ends; a change reaches both; deleting it takes what hung on it."""
    a, b = two
    wanted = {(a, "tv0"): Veth(b, "eth0", mac="02:00:00:00:00:01")}
    assert kernel.read(Kind.LINK, a, wanted, whole=True) == wanted
    changed = {(a, "tv0"): Veth(b, "eth0", 1400, "02:00:00:00:00:0a", "02:00:00:00:00:0b", 7)}
    assert kernel.write(Kind.LINK, a, changed, wanted) == {}
    kernel.refresh()
    assert kernel.read(Kind.LINK, a, changed, whole=False) == changed
    put(kernel, Kind.ADDRESS, {(b, "eth0", "10.9.0.2/24"): AddressValue()})
    for _ in range(2):
        assert kernel.delete(Kind.LINK, a, changed) == {}
    kernel.refresh()
    assert kernel.read(Kind.LINK, a, changed, whole=True) == {}
    assert kernel.read(Kind.ADDRESS, b, {}, whole=True) == {}


def test_several_links_go_at_once(kernel: Kernel, two: tuple[str, str]) -> None:
    """Deleting many is one call and leaves none."""
    a, b = two
    rows = {(a, f"tv{i}"): Veth(b, f"p{i}") for i in range(1, 6)}
    assert kernel.write(Kind.LINK, a, rows, {}) == {}
    assert kernel.delete(Kind.LINK, a, rows) == {}
    kernel.refresh()
    assert set(kernel.read(Kind.LINK, a, {}, whole=True)) == {(a, "tv0")}


def test_one_bad_row_does_not_stop_the_others(kernel: Kernel, two: tuple[str, str]) -> None:
    """A row whose device is missing fails by itself, and the error names it."""
    a = two[0]
    good = {(a, 254, "10.8.0.0/16", 0): RouteValue("tv0", scope="link")}
    bad = {(a, 254, "10.5.0.0/16", 0): RouteValue("nowhere", scope="link")}
    failures = kernel.write(Kind.ROUTE, a, bad | good, {})
    assert set(failures) == set(bad)
    assert "10.5.0.0/16" in failures[next(iter(bad))].message
    assert kernel.read(Kind.ROUTE, a, {}, whole=True) == good


def test_a_missing_namespace_is_empty_and_refuses_rows(kernel: Kernel, prefix: str) -> None:
    """Reading what is not there finds nothing; writing fails per row; deleting has nothing to do."""
    key = (f"{prefix}none", 254, "10.8.0.0/16", 0)
    rows = {key: RouteValue("tv0", scope="link")}
    assert kernel.read(Kind.ROUTE, str(key[0]), rows, whole=True) == {}
    assert set(kernel.write(Kind.ROUTE, str(key[0]), rows, {})) == {key}
    assert kernel.delete(Kind.ROUTE, str(key[0]), rows) == {}


TABLE = """set pods {
	type ipv4_addr
}
map verdicts {
	type ipv4_addr : verdict
}
chain input {
	type filter hook input priority 0; policy accept;
	ip saddr @pods counter accept
}"""


def test_nft_tables_and_elements(kernel: Kernel, two: tuple[str, str]) -> None:
    """Tables and elements read back; a new structure keeps the elements it still has sets for."""
    a = two[0]
    table: Key = (a, "inet", "podloom")
    element, verdict = (*table, "pods", "10.0.0.1"), (*table, "verdicts", "10.0.0.2")
    assert kernel.write_nft(a, {table: TABLE}, {element: "", verdict: "drop"}, (), {}) == {}
    assert kernel.read(Kind.NFT_TABLE, a, {table: TABLE}, whole=True) == {table: TABLE}
    elements = kernel.read(Kind.NFT_ELEMENT, a, {}, whole=True)
    assert elements == {element: "", verdict: "drop"}
    assert kernel.read(Kind.NFT_ELEMENT, a, elements, whole=False) == elements
    changed = TABLE.replace("counter accept", "drop")
    assert kernel.write_nft(a, {table: changed}, {verdict: "accept"}, (), {table: TABLE, **elements}) == {}
    assert kernel.read(Kind.NFT_TABLE, a, {table: changed}, whole=False) == {table: changed}
    assert kernel.read(Kind.NFT_ELEMENT, a, {}, whole=True) == {element: "", verdict: "accept"}
    assert kernel.write_nft(a, {}, {verdict: "drop"}, (element,), {element: "", verdict: "accept"}) == {}
    assert kernel.read(Kind.NFT_ELEMENT, a, {}, whole=True) == {verdict: "drop"}
    assert kernel.write_nft(a, {}, {}, (table,), {table: changed}) == {}
    assert kernel.read(Kind.NFT_TABLE, a, {table: changed}, whole=True) == {}


def test_nft_changes_are_all_or_nothing(kernel: Kernel, two: tuple[str, str]) -> None:
    """An element without its table fails the whole namespace's change, and every key says so."""
    a = two[0]
    table: Key = (a, "inet", "podloom")
    orphan = (a, "inet", "podloom2", "pods", "10.0.0.1")
    failures = kernel.write_nft(a, {table: TABLE}, {orphan: ""}, (), {})
    assert set(failures) == {table, orphan}
    assert kernel.read(Kind.NFT_TABLE, a, {table: TABLE}, whole=True) == {}
