"""What only the real kernel shows: others' objects, races with namespaces, threads, events."""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from podloom.drivers.kernel import (
    Nft,
    RealKernel,
    Rtnl,
    create_netns,
    delete_netns,
    in_netns,
    list_netns,
    read_sysctl,
    socket_in_netns,
    write_sysctl,
)
from podloom.drivers.kernel.monitor import Monitor, Monitors, ours
from podloom.drivers.kernel.netns import NETNS_DIR, clear_leftovers, netns_inode
from podloom.model.errors import Rejected, Stale
from podloom.model.rows import Kind, RouteValue, Tag, Veth

pytestmark = pytest.mark.root
_numbers = count()


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"tr{os.getpid()}x{next(_numbers)}-n"
    create_netns(name)
    yield name
    for each in list_netns(name):
        delete_netns(each)


def ip(netns: str, *arguments: str) -> str:
    done = subprocess.run(["ip", "-n", netns, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def tag(**changes: object) -> Tag:
    return Tag(199, ("tv",), **changes)  # type: ignore[arg-type]


def test_ip_netns_sees_ours(netns: str) -> None:
    """A namespace is made where and as iproute2 makes it, with its loopback up."""
    assert netns in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert "LOOPBACK,UP" in ip(netns, "link", "show", "lo")


def test_what_a_killed_creation_left_is_cleared(netns: str) -> None:
    """A file without a namespace is no namespace, is taken over by the next creation, and can be cleared."""
    leftover = Path(NETNS_DIR) / f"{netns}-half"
    leftover.touch()
    assert leftover.name not in list_netns(netns)
    clear_leftovers(netns)
    assert not leftover.exists()
    assert netns in list_netns(netns)
    leftover.touch()
    create_netns(leftover.name)
    assert leftover.name in list_netns(netns)


def test_a_name_without_its_namespace_is_none_yet(netns: str) -> None:
    """Between the two steps of a creation others read the name: for them there is no namespace."""
    half = Path(NETNS_DIR) / f"{netns}-half"
    half.touch()
    try:
        assert netns_inode(half.name) == 0 != netns_inode(netns)
        with pytest.raises(Stale), in_netns(half.name):
            pass
    finally:
        half.unlink()


def test_a_thread_returns_to_its_namespace(netns: str) -> None:
    """Also when the body raises, and other threads never leave theirs."""
    home, seen = netns_inode(""), []

    def other() -> None:
        seen.append(netns_inode(""))

    with pytest.raises(ZeroDivisionError), in_netns(netns):
        assert netns_inode("") == netns_inode(netns) != home
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise ZeroDivisionError
    assert netns_inode("") == home
    assert seen[0] in (home, netns_inode(netns))


def test_entering_what_is_not_there_is_stale() -> None:
    """The error names the namespace."""
    with pytest.raises(Stale, match="nowhere-at-all"), in_netns("nowhere-at-all"):
        pass


def test_sockets_live_in_their_namespace(netns: str) -> None:
    """A listener inside is not reachable outside, and its socket works from any thread."""
    inside = socket_in_netns(netns, socket.AF_INET, socket.SOCK_STREAM)
    inside.bind(("127.0.0.1", 0))
    inside.listen()
    with socket.socket() as outside, pytest.raises(OSError):
        outside.connect(inside.getsockname())
    with socket_in_netns(netns) as client:
        client.connect(inside.getsockname())
    inside.close()


def test_settings_are_the_namespaces_own(netns: str) -> None:
    """Writing in one namespace changes no other."""
    before = read_sysctl("", "ipv4/ip_forward")
    write_sysctl(netns, "ipv4/ip_forward", 1)
    assert read_sysctl(netns, "ipv4/ip_forward") == "1"
    assert read_sysctl("", "ipv4/ip_forward") == before
    with pytest.raises(Stale, match="no_such_setting"):
        read_sysctl(netns, "ipv4/no_such_setting")


def test_routes_of_others_are_left_alone(netns: str) -> None:
    """In a guarded namespace an equal route of another program is neither read, replaced nor pruned."""
    ip(netns, "route", "add", "unreachable", "10.8.0.0/16")
    key = (netns, 254, "10.8.0.0/16", 0)
    kernel = RealKernel(tag(guarded=frozenset({netns})))
    assert kernel.read(Kind.ROUTE, netns, {key: RouteValue(type="prohibit")}, whole=True) == {}
    failures = kernel.write(Kind.ROUTE, netns, {key: RouteValue(type="prohibit")}, {})
    assert isinstance(failures[key], Rejected)
    assert "unreachable 10.8.0.0/16" in ip(netns, "route")
    mine = RealKernel(tag())
    assert mine.write(Kind.ROUTE, netns, {key: RouteValue(type="prohibit")}, {}) == {}
    assert "prohibit 10.8.0.0/16 proto 199" in ip(netns, "route")
    kernel.release()
    mine.release()


def test_a_pair_whose_ends_were_mixed_up_is_made_anew(netns: str) -> None:
    """Renaming the far end shows as another value, and writing brings the wanted pair back."""
    kernel = RealKernel(tag())
    wanted = {(netns, "tv0"): Veth(netns, "far")}
    assert kernel.write(Kind.LINK, netns, wanted, {}) == {}
    ip(netns, "link", "set", "far", "down")
    kernel.refresh()
    down = kernel.read(Kind.LINK, netns, wanted, whole=False)
    assert down[netns, "tv0"].up is False
    ip(netns, "link", "set", "far", "name", "gone")
    kernel.refresh()
    found = kernel.read(Kind.LINK, netns, wanted, whole=False)
    assert found[netns, "tv0"].peer_name == ""
    assert kernel.write(Kind.LINK, netns, wanted, found) == {}
    kernel.refresh()
    assert kernel.read(Kind.LINK, netns, wanted, whole=False) == wanted
    kernel.release()


def test_a_namespace_made_anew_is_noticed(netns: str) -> None:
    """`refresh` drops sockets into a namespace that another now has the name of."""
    kernel = RealKernel(tag())
    wanted = {(netns, "tv0"): Veth(netns, "far")}
    assert kernel.write(Kind.LINK, netns, wanted, {}) == {}
    delete_netns(netns)
    create_netns(netns)
    kernel.refresh()
    assert kernel.read(Kind.LINK, netns, wanted, whole=False) == {}
    kernel.release()


def test_nothing_keeps_a_released_namespace_alive(netns: str) -> None:
    """After `release` no descriptor or socket of ours points into the namespace."""
    kernel = RealKernel(tag())
    kernel.read(Kind.LINK, netns, {}, whole=True)
    kernel.read(Kind.NFT_TABLE, netns, {}, whole=True)
    kernel.release()
    inode = str(netns_inode(netns))
    targets = [str(f.readlink()) for f in Path("/proc/self/fd").iterdir() if f.is_symlink()]
    assert not any(inode in target for target in targets if target.startswith("net:"))


def test_big_batches_and_dumps(netns: str) -> None:
    """A thousand routes go in as batches and come back in one reading."""
    kernel = RealKernel(tag())
    rows = {(netns, 254, f"10.{i >> 8}.{i & 255}.0/24", 0): RouteValue(type="unreachable") for i in range(1000)}
    assert kernel.write(Kind.ROUTE, netns, rows, {}) == {}
    assert kernel.read(Kind.ROUTE, netns, {}, whole=True) == rows
    assert kernel.delete(Kind.ROUTE, netns, rows) == {}
    assert kernel.read(Kind.ROUTE, netns, {}, whole=True) == {}
    kernel.release()


def test_nft_refusals_name_the_rules(netns: str) -> None:
    """Bad text is the user's mistake; a missing table is stale."""
    with Nft(netns) as nft:
        with pytest.raises(Rejected, match="nonsense"):
            nft.run("nonsense")
        with pytest.raises(Stale, match="nowhere"):
            nft.run("list table inet nowhere")


def test_dumps_agree_with_iproute2(netns: str) -> None:
    """Our parsers read from the kernel what `ip -j` reads."""
    ip(netns, "link", "add", "tv0", "type", "veth", "peer", "name", "far")
    ip(netns, "addr", "add", "10.1.0.1/24", "dev", "tv0")
    ip(netns, "link", "set", "tv0", "up")
    ip(netns, "route", "add", "10.2.0.0/16", "via", "10.1.0.2", "dev", "tv0", "metric", "5", "mtu", "1300")
    with Rtnl(netns) as rtnl:
        link = rtnl.link("tv0")
        assert link is not None
        assert link.mac in ip(netns, "link", "show", "tv0")
        assert "10.1.0.1/24" in [a.address for a in rtnl.addresses(link.index)]
        (route,) = [r for r in rtnl.routes() if r.dst == "10.2.0.0/16"]
        assert (route.via, route.index, route.metric, route.mtu) == ("10.1.0.2", link.index, 5, 1300)


async def test_events_mark_dirty_and_others_do_not(netns: str) -> None:
    """Changes of our rows and of nftables are events; other programs' rows are not."""
    hits: list[int] = []
    monitor = Monitor(netns, lambda: hits.append(1), ours(tag(), {"far"}))
    try:
        await asyncio.to_thread(ip, netns, "route", "add", "unreachable", "10.5.0.0/16")
        await asyncio.sleep(0.05)
        assert not hits
        for change in (
            ("route", "add", "unreachable", "10.6.0.0/16", "proto", "199"),
            ("link", "add", "tv0", "type", "veth", "peer", "name", "far"),
            ("link", "set", "far", "up"),
            ("rule", "add", "iif", "tv0", "lookup", "99", "proto", "199"),
            ("route", "replace", "prohibit", "10.6.0.0/16"),
        ):
            hits.clear()
            await asyncio.to_thread(ip, netns, *change)
            await asyncio.sleep(0.05)
            assert hits, change
        hits.clear()
        with Nft(netns) as nft:
            nft.run("add table inet x")
        await asyncio.sleep(0.05)
        assert hits
    finally:
        monitor.close()


async def test_monitors_follow_a_changing_set(netns: str) -> None:
    """A namespace that went, or was made anew under its name, is a change; a steady set is none."""
    monitors = Monitors(lambda: None)
    assert monitors.watch([netns])
    assert not monitors.watch([netns])
    delete_netns(netns)
    create_netns(netns)
    assert monitors.watch([netns])
    assert not monitors.watch([netns])
    assert monitors.watch([])
    monitors.close()
