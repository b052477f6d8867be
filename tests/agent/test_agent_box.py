"""A real agent on a node in a box: packets, drift, restarts, kill -9 (needs root)."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxkit import OUTSIDE, Box, wait_for
from podloom.native import native_path
from podloom.plan.endpoint import host_ifname

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        made.start_agent()
        yield made
    finally:
        made.close()


def reaches(box: Box, source: str, address: str) -> bool:
    return "1 packets received" in box.sh(f"busybox ping -c1 -W1 {address}", netns=source, check=False)


def seen_as(box: Box, source: str, url: str) -> str:
    """The client address that an echo server saw, "" when it could not be reached."""
    answer = box.sh(f"curl -s -m2 {url}", netns=source, check=False)
    return str(json.loads(answer)["client"]) if answer else ""


def echo(box: Box, netns: str) -> None:
    box.start(str(native_path("echo")), "--http", "80", "--name", netns or "node", netns=netns)


def test_packets(box: Box) -> None:
    """OVL-05: pod to pod and to its own node untranslated, everything else from the node's address."""
    one, two = box.pod("one"), box.pod("two")
    for place in ("two", "outside", ""):
        echo(box, place)
    wait_for(lambda: seen_as(box, "one", f"http://{two}/"), 5)
    assert seen_as(box, "one", f"http://{two}/") == one
    assert seen_as(box, "one", "http://10.224.0.4/") == one
    assert seen_as(box, "one", f"http://{OUTSIDE}/") == "10.224.0.4"
    assert "mtu 1420" in box.sh("ip link show eth0", netns="one")
    size = 1420 - 28
    assert "1 packets received" in box.sh(f"busybox ping -c1 -W1 -s {size} {two}", netns="one")
    box.sh("ip addr add 192.168.9.9/32 dev lo", netns="one")
    spoofed = box.sh(f"curl -s -m1 --interface 192.168.9.9 http://{two}/", netns="one", check=False)
    assert spoofed == "", "a source that is not routed to the pod is dropped"
    unused = box.sh("curl -sS -m3 http://192.168.1.77/ 2>&1", netns="one", check=False)
    assert "curl: (7)" in unused, "an address that no pod holds is refused at once, not sent in a circle"


LOOK_S = 1.5  # what it takes to look at everything on a busy machine
DAMAGE = {
    "route to the pod": "ip route del {address}/32",
    "host interface down": "ip link set {host} down",
    "host interface gone": "ip link del {host}",
    "proxy ARP": "sysctl -qw net.ipv4.conf.{host}.proxy_arp=0",
    "pod's default route": "ip -n one route del default",
    "pod's gateway route": "ip -n one route flush dev eth0",
    "pod's address": "ip -n one addr flush dev eth0",
    "pod's neighbour": "ip -n one neigh flush all nud permanent",
    "pod's interface down": "ip -n one link set eth0 down",
    "range's fallback route": "ip route del unreachable 192.168.1.0/24",
    "configuration list": "rm {folder}/net.d/*.conflist",
    "plugin": "rm {folder}/bin/azure-vnet",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=0",
    "node table": "nft delete table inet podloom",
    "masquerade rule": "nft flush chain inet podloom leave",
    "local range": "nft delete element inet podloom local4 {{ 192.168.1.0/24 }}",
    "untranslated range": "nft flush set inet podloom untranslated4",
}


def test_drift_is_repaired_within_two_seconds(box: Box) -> None:
    """Each kind of row, removed or changed by someone, is back within two seconds, and traffic with it."""
    address = box.pod("one")
    two = box.pod("two")
    for place in ("two", "outside"):
        echo(box, place)
    names = {"address": address, "host": host_ifname("default", "one"), "folder": box.folder}
    expected = box.sh("nft list table inet podloom")

    def whole() -> bool:
        return bool(
            seen_as(box, "one", f"http://{two}/") == address
            and seen_as(box, "one", f"http://{OUTSIDE}/") == "10.224.0.4"
            and box.sh("nft list table inet podloom", check=False) == expected
            and list(box.folder.glob("net.d/*.conflist"))
            and (box.folder / "bin" / "azure-vnet").exists()
            and "unreachable 192.168.1.0/24" in box.sh("ip route")
            and box.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"
            and box.sh(f"cat /proc/sys/net/ipv4/conf/{names['host']}/proxy_arp", check=False).strip() == "1"
            and "PERMANENT" in box.sh("ip neigh show 169.254.1.1", netns="one")
        )

    wait_for(whole, 5)
    for what, command in DAMAGE.items():
        box.sh(command.format(**names))
        try:
            wait_for(whole, 2 + LOOK_S)
        except AssertionError:
            pytest.fail(f"not repaired: {what}")


def test_restart_changes_nothing_for_pods(box: Box) -> None:
    """The agent killed and started again: the same leases, the same links, and a pod's address is not given again."""
    address = box.pod("one")
    links = box.sh("ip -o link show type veth")
    table = box.sh("nft -a list table inet podloom")
    box.kill_agent()
    assert box.call("ADD", "late", "late")[1]["code"] == 11
    box.start_agent()
    assert box.sh("ip -o link show type veth") == links
    assert box.sh("nft -a list table inet podloom") == table, "not even replaced by its equal"
    assert box.pod("two") != address
    assert reaches(box, "two", address)


def test_what_happened_while_no_agent_ran(box: Box) -> None:
    """DELs kept in the spool, strays of a dead agent and damage are worked off by the next one."""
    one, two = box.pod("one"), box.pod("two")
    box.kill_agent()
    assert box.call("DEL", "one", "one") == (0, None)
    stray = host_ifname("default", "stray")
    box.sh(f"ip link add {stray} type veth peer name s2; ip route del {two}/32")
    box.start_agent()
    wait_for(lambda: stray not in box.sh("ip -o link") and host_ifname("default", "one") not in box.sh("ip -o link"), 5)
    wait_for(lambda: two in box.sh("ip route"), 3)
    box.sh("ip netns add three")
    assert one not in str(box.call("ADD", "three", "three"))
    box.kill_agent()
    assert sorted(lease.pod_name for lease in box.leases()) == ["three", "two"]


def test_lost_del_is_collected(box: Box) -> None:
    """A container whose namespace is gone without a DEL gives its address back."""
    box.pod("one")
    box.pod("two")
    box.sh("ip netns del one")
    wait_for(lambda: host_ifname("default", "one") not in box.sh("ip -o link"), 5)
    box.sh("sleep 2")
    box.kill_agent()
    assert [lease.pod_name for lease in box.leases()] == ["two"]


def test_agent_away_costs_no_time(box: Box) -> None:
    """Without an agent ADD fails with error 11 at once and STATUS with 50."""
    box.kill_agent()
    assert box.call("ADD", "one", "one")[1]["code"] == 11
    assert box.call("STATUS", "one")[1]["code"] == 50


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_during_churn(box: Box, seed: int) -> None:
    """Agents and plugins killed at random while pods come and go: no address leaked, given twice or lost."""
    dice = random.Random(seed)
    alive: dict[str, str] = {}
    names = [f"c{n}" for n in range(16)]
    for name in names:
        box.sh(f"ip netns add {name}")
    for round_ in range(8):
        some = dice.sample(names, 10)
        running = {
            name: box.spawn("DEL" if name in alive else "ADD", name, name, uid=f"{name}-{round_}") for name in some
        }
        victims = dice.sample(some, 2)
        box.sh(f"sleep 0.0{dice.randrange(1, 6)}")
        for name in victims:
            running[name].kill()
        if dice.random() < 0.7:
            box.kill_agent()
        outcomes = {name: (process.communicate(timeout=60)[0], process.returncode) for name, process in running.items()}
        if box.agent and box.agent.poll() is not None:
            box.start_agent()
        for name, (output, code) in outcomes.items():
            if name in alive:
                if code == 0 or box.call("DEL", name, name)[0] == 0:
                    del alive[name]
            elif code == 0:
                alive[name] = json.loads(output)["ips"][0]["address"]
            else:
                assert box.call("DEL", name, name)[0] == 0
        assert len(set(alive.values())) == len(alive), "an address in two pods"
    for name in alive:
        assert reaches(box, name, "10.224.0.4")
    box.sh("sleep 2")
    box.kill_agent()
    assert {lease.pod_name: f"{lease.addresses[0]}/32" for lease in box.leases()} == alive
    box.start_agent()
    for name in list(alive):
        assert box.call("DEL", name, name)[0] == 0
    wait_for(lambda: "azv" not in box.sh("ip -o link; ip route"), 5)
    box.kill_agent()
    assert box.leases() == []


def test_new_boot_ends_all_leases(box: Box) -> None:
    """Leases of another boot are not true any more."""
    box.pod("one")
    box.kill_agent()
    database = box.folder / "state" / "agent.db"
    subprocess.run(
        ["python3", "-c", f"import sqlite3; d=sqlite3.connect({str(database)!r}); "
         "d.execute(\"UPDATE meta SET value='another' WHERE key='boot'\"); d.commit()"],
        check=True,
    )  # fmt: skip
    box.start_agent()
    wait_for(lambda: "azv" not in box.sh("ip -o link"), 5)
    box.kill_agent()
    assert box.leases() == []


def test_other_names_of_the_executable(box: Box) -> None:
    """As loopback it brings `lo` up; as azure-vnet-ipam and azure-ipam it gives addresses only."""
    box.sh("ip netns add one")
    assert box.call("ADD", "one", "one", plugin="loopback", ifname="lo")[0] == 0
    assert "UP" in box.sh("ip link show lo", netns="one")
    assert box.call("DEL", "one", "one", plugin="loopback", ifname="lo") == (0, None)
    for plugin in ("azure-vnet-ipam", "azure-ipam"):
        code, result = box.call("ADD", "one", "one", plugin=plugin)
        assert code == 0 and "interfaces" not in result and result["ips"][0]["address"].endswith("/16")
        assert "eth0" not in box.sh("ip -o link", netns="one")
        assert box.call("DEL", "one", "one", plugin=plugin) == (0, None)
