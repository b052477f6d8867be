"""The engine: twice is once, A to B to A is A, faults are borne, one owner touches only its rows."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.drivers.kernel import FakeKernel, FaultyKernel, Kernel, RealKernel, delete_netns, list_netns
from podloom.model.errors import Unavailable
from podloom.model.rows import (
    Kind,
    Row,
    Tag,
    address_row,
    neighbour_row,
    netns_row,
    nft_element_row,
    nft_table_row,
    route_row,
    rule_row,
    sysctl_row,
    veth_row,
)
from podloom.reconcile import Target, difference, kernel_targets, reconcile

PREFIX = f"te{os.getpid()}-"
TABLE = "set pods {\n\ttype ipv4_addr\n}\nchain c {\n\ttype filter hook input priority 0; policy accept;\n}"


def tag() -> Tag:
    return Tag(199, ("tv",), PREFIX, guarded=frozenset({""}))


def base(node: str) -> list[Row]:
    return [
        netns_row(node, "node"),
        sysctl_row(node, "ipv4/ip_forward", 1, "node"),
        nft_table_row(node, "inet", "podloom", TABLE, "node"),
    ]


def pod(node: str, number: int) -> list[Row]:
    """A pod's rows, as the agent has them."""
    owner, netns, near = f"pod{number}", f"{PREFIX}p{number}", f"tv{number}"
    mac, far = f"02:00:00:00:00:{number:02x}", f"02:00:00:00:01:{number:02x}"
    return [
        netns_row(netns, owner),
        veth_row(node, near, netns, "eth0", mac=mac, peer_mac=far, owner=owner),
        address_row(netns, "eth0", f"192.168.0.{number}/32", owner=owner),
        route_row(netns, "169.254.1.1/32", dev="eth0", owner=owner),
        route_row(netns, "0.0.0.0/0", dev="eth0", via="169.254.1.1", owner=owner),
        neighbour_row(netns, "eth0", "169.254.1.1", mac, owner),
        route_row(node, f"192.168.0.{number}/32", dev=near, owner=owner),
        rule_row(node, 1000 + number, iif=near, table=77, owner=owner),
        sysctl_row(node, f"ipv4/conf/{near}/proxy_arp", 1, owner),
        nft_element_row(node, "inet", "podloom", "pods", f"192.168.0.{number}", owner=owner),
    ]


NODE = f"{PREFIX}node"


def picture(numbers: Sequence[int]) -> list[Row]:
    return [*base(NODE), *(row for number in numbers for row in pod(NODE, number))]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    yield RealKernel(tag()) if request.param == "real" else FakeKernel(tag())
    if request.param == "real":
        for netns in list_netns(PREFIX):
            delete_netns(netns)


def test_twice_is_once(kernel: Kernel) -> None:
    """The second application finds nothing to do, and everything is there."""
    targets = kernel_targets(kernel)
    first = reconcile(picture([1, 2]), targets)
    assert first.ok
    assert first.rounds == 1
    assert first.changed == len(picture([1, 2]))
    again = reconcile(picture([1, 2]), targets)
    assert (again.changed, again.rounds) == (0, 1)
    assert difference(picture([1, 2]), targets).empty


def test_a_to_b_to_a_is_a(kernel: Kernel) -> None:
    """Any picture may follow any other; nothing of the former remains; the empty one leaves nothing."""
    targets = kernel_targets(kernel)
    for numbers in ([1, 2], [2, 3], [1, 2], []):
        assert reconcile(picture(numbers), targets).ok
        assert difference(picture(numbers), targets).empty
        assert kernel.namespaces() == {NODE, *(f"{PREFIX}p{n}" for n in numbers)}
    assert reconcile([], targets).ok
    assert kernel.namespaces() == set()


def test_an_owner_touches_only_its_rows(kernel: Kernel) -> None:
    """Adding and removing one pod by its owner leaves the others, and unknown leftovers, alone."""
    targets = kernel_targets(kernel)
    assert reconcile(picture([1]), targets).ok
    assert reconcile(picture([1, 2]), targets, "pod2").changed == len(pod(NODE, 2))
    assert reconcile(picture([1, 2]), targets, "pod2").changed == 0
    assert difference(picture([1, 2]), targets).empty
    moved = [row for row in pod(NODE, 2) if row.kind is not Kind.RULE]
    report = reconcile(moved, targets, "pod2", known=pod(NODE, 2))
    assert [row_id.kind for row_id in report.deleted] == [Kind.RULE]
    assert reconcile([], targets, "pod2", known=pod(NODE, 2)).ok
    assert reconcile([], targets, "pod2", known=pod(NODE, 2)).changed == 0
    assert difference(picture([1]), targets).empty


@pytest.mark.parametrize("seed", range(12))
def test_faults_are_borne(kernel: Kernel, seed: int) -> None:
    """With one call or row in ten failing, before or after the deed, both pictures are reached in bounded rounds."""
    faulty = FaultyKernel(kernel, share=0.1, seed=seed)
    targets = kernel_targets(faulty)
    for numbers in ([1, 2, 3], [3, 4], []):
        report = reconcile(picture(numbers), targets, rounds=30)
        assert report.ok, report.errors
        assert difference(picture(numbers), kernel_targets(kernel)).empty
    assert faulty.failed


def test_what_cannot_be_read_is_not_pruned() -> None:
    """While reading fails nothing is deleted, and the report says which rows are in doubt."""
    kernel = FakeKernel(tag())
    assert reconcile(picture([1]), kernel_targets(kernel)).ok
    blind = FaultyKernel(kernel, share=1.0)
    report = reconcile([], kernel_targets(blind), rounds=2)
    assert not report.ok
    assert report.changed == 0
    with pytest.raises(Unavailable):
        report.check()
    assert difference(picture([1]), kernel_targets(kernel)).empty


def test_a_lasting_mistake_is_not_repeated() -> None:
    """A row that the user must mend ends the rounds at once; the other rows are done."""
    kernel = RealKernel(tag()) if os.geteuid() == 0 else None
    if kernel is None:
        pytest.skip("needs root")
    rows = [*base(NODE), nft_table_row(NODE, "inet", "podloom-bad", "chain c { nonsense }", "bad")]
    try:
        report = reconcile(rows, kernel_targets(kernel))
        assert report.rounds == 1
        assert {row_id.key[2] for row_id in report.errors} >= {"podloom-bad"}
    finally:
        for netns in list_netns(PREFIX):
            delete_netns(netns)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(1, 5)), min_size=1, max_size=5), st.integers(0, 2**32))
def test_any_history_ends_the_same(pictures: list[set[int]], seed: int) -> None:
    """Whatever came before, and whatever failed on the way, the last picture decides."""
    kernel = FakeKernel(tag())
    targets = kernel_targets(FaultyKernel(kernel, share=0.2, seed=seed))
    for numbers in pictures[:-1]:
        reconcile(picture(sorted(numbers)), targets, rounds=1)
    assert reconcile(picture(sorted(pictures[-1])), targets, rounds=60).ok
    straight = FakeKernel(tag())
    reconcile(picture(sorted(pictures[-1])), kernel_targets(straight))
    # A setting of a namespace outlives no device, so even settings must agree.
    assert kernel.world == straight.world


BREAKS: dict[str, Callable[[], Any]] = {
    "link": lambda: ip(NODE, "link", "del", "tv1"),
    "far end": lambda: ip(f"{PREFIX}p1", "link", "set", "eth0", "down"),
    "address": lambda: ip(f"{PREFIX}p1", "addr", "flush", "dev", "eth0"),
    "route": lambda: ip(NODE, "route", "del", "192.168.0.1"),
    "another route": lambda: ip(NODE, "route", "replace", "unreachable", "192.168.0.1"),
    "neighbour": lambda: ip(f"{PREFIX}p1", "neigh", "flush", "all", "nud", "permanent"),
    "rule": lambda: ip(NODE, "rule", "del", "iif", "tv1"),
    "setting": lambda: run("ip", "netns", "exec", NODE, "sysctl", "-q", "net.ipv4.conf.tv1.proxy_arp=0"),
    "table": lambda: run("ip", "netns", "exec", NODE, "nft", "flush", "ruleset"),
    "chain": lambda: run("ip", "netns", "exec", NODE, "nft", "add", "rule", "inet", "podloom", "c", "drop"),
    "element": lambda: run(
        "ip", "netns", "exec", NODE, "nft", "delete", "element", "inet", "podloom", "pods", "{ 192.168.0.1 }"
    ),
    "extra element": lambda: run(
        "ip", "netns", "exec", NODE, "nft", "add", "element", "inet", "podloom", "pods", "{ 1.2.3.4 }"
    ),
    "extra route": lambda: ip(NODE, "route", "add", "unreachable", "10.99.0.0/16", "proto", "199"),
    "namespace": lambda: run("ip", "netns", "del", f"{PREFIX}p1"),
}


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def ip(netns: str, *arguments: str) -> None:
    run("ip", "-n", netns, *arguments)


@pytest.mark.root
@pytest.mark.parametrize("what", BREAKS)
def test_drift_is_repaired(what: str) -> None:
    """Whatever others break or add under our tag, the next application mends, and only that."""
    targets = kernel_targets(RealKernel(tag()))
    try:
        assert reconcile(picture([1, 2]), targets).ok
        BREAKS[what]()
        assert not difference(picture([1, 2]), targets).empty
        report = reconcile(picture([1, 2]), targets)
        assert report.ok, report.errors
        assert difference(picture([1, 2]), targets).empty
    finally:
        for netns in list_netns(PREFIX):
            delete_netns(netns)


def test_targets_say_what_they_hold() -> None:
    """Every kind has exactly one target, in dependency order."""
    targets: list[Target] = kernel_targets(FakeKernel(tag()))
    kinds = [kind for target in targets for kind in target.kinds]
    assert kinds == sorted(Kind, key=lambda kind: kind.value)
