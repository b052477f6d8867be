"""Real packets through the fabric: who reaches whom, with which address, and what is refused."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podloom.drivers.kernel import RealKernel, in_netns, list_netns, socket_in_netns
from podloom.fabric.teardown import teardown
from podloom.model.rows import FABRIC_PROTOCOL
from podloom.native import native_path
from podloom.plan.fabric import names
from podloom.plan.fabric.outbound import assign_outbound
from podloom.plan.fabric.plan import fabric_tag, plan_fabric
from podloom.plan.fabric.settings import FabricSettings
from podloom.plan.fabric.view import read_view
from podloom.reconcile import kernel_targets, reconcile

sys.path.insert(0, str(Path(__file__).parents[1] / "plan" / "fabric"))
import armdocs as arm

pytestmark = pytest.mark.root
TAG = f"tp{os.getpid()}"
# The user's own networks are not touched: the shell has a prefix of its own in these tests.
SETTINGS = FabricSettings(tag=TAG, public_prefixes=("198.19.0.0/28", "198.19.1.0/28"))
PODS = {"a1": "192.168.0.10", "a2": "192.168.1.10", "b1": "192.168.0.10", "b2": "192.168.1.10"}
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_RECVERR = 10, 2, 11


def vm(name: str) -> str:
    return names.vm_netns(TAG, arm.nic_id(name))


def router(name: str) -> str:
    return names.router_netns(TAG, arm.vnet_id(name))


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", autouse=True)
def world() -> Iterator[dict[str, str]]:
    """Two networks, two overlay clusters of one pod range, a pod address by hand in each of their nodes."""
    view = read_view(arm.two_overlays())
    outbound = assign_outbound(view.vnets, {}, {"198.19.1.1"}, SETTINGS.outbound_range)
    try:
        plan = plan_fabric(SETTINGS, view, outbound)
        report = reconcile(plan.rows, kernel_targets(RealKernel(fabric_tag(TAG))))
        others = {row_id.key[0] for row_id in report.errors}
        assert others <= {""}, report.errors  # another lab may have the shell's routes
        for name, address in PODS.items():
            run("ip", "-n", vm(name), "addr", "add", f"{address}/32", "dev", "lo")
        with in_netns(names.internet_netns(TAG)):
            echo = subprocess.Popen([str(native_path("echo")), "--http", "80", "--echo", "7"])
        time.sleep(0.1)
        yield outbound
        echo.kill()
        echo.wait()
    finally:
        teardown(TAG)
    assert list_netns(names.netns_prefix(TAG)) == set()
    assert names.shell_link(TAG) not in run("ip", "-o", "link")


@contextmanager
def answering(netns: str, address: str = "0.0.0.0") -> Iterator[int]:
    """A UDP server that answers with the address it saw; its port."""
    server = socket_in_netns(netns, socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 0))
    server.settimeout(0.1)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                data, peer = server.recvfrom(65535)
            except TimeoutError:
                continue
            server.sendto(peer[0].encode().ljust(min(len(data), 1472)), peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        stop.set()
        thread.join()
        server.close()


def ask(netns: str, address: str, port: int, *, source: str = "", size: int = 4, timeout_s: float = 1.0) -> str:
    """The source address that the other side saw, or the name of the error ("" for silence)."""
    with socket_in_netns(netns, socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        client.setsockopt(socket.SOL_IP, IP_RECVERR, 1)
        client.settimeout(timeout_s)
        if source:
            client.bind((source, 0))
        try:
            client.connect((address, port))
            client.send(b"x" * size)
            return client.recv(65535).decode().strip()
        except TimeoutError:
            return ""
        except OSError as error:
            return errno.errorcode[error.errno or 0]


def http(netns: str, address: str, port: int = 80) -> str:
    """The client address that the answering host saw."""
    with socket_in_netns(netns) as client:
        client.settimeout(2)
        client.connect((address, port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
            if b"}" in chunk:
                break
    client_seen: str = json.loads(answer.partition(b"\r\n\r\n")[2])["client"]
    return client_seen


@pytest.mark.parametrize(("target", "address"), [("a2", "10.224.0.5"), ("b1", "10.225.0.4")])
def test_machines_of_a_network_reach_each_other(target: str, address: str) -> None:
    """In one subnet and across subnets, untranslated, with full-size packets that must not be fragmented."""
    with answering(vm(target)) as port:
        assert ask(vm("a1"), address, port) == "10.224.0.4"
        assert ask(vm("a1"), address, port, size=1472) == "10.224.0.4"
        assert ask(vm("a1"), address, port, size=1473) == "EMSGSIZE"


def test_outbound_traffic_has_the_networks_address(world: dict[str, str]) -> None:
    """The internet sees each network's own public address, and both work at once."""
    assert http(vm("a1"), SETTINGS.host) == world[arm.vnet_id("v1").lower()]
    assert http(vm("z"), SETTINGS.host) == world[arm.vnet_id("v2").lower()]


def test_networks_are_isolated() -> None:
    """Equal ranges in two networks are two worlds; private ranges that are nobody's are refused at once."""
    with answering(vm("z")) as port:
        assert ask(vm("c"), "10.224.0.4", port) != "10.224.0.7"
        assert ask(vm("c"), "10.9.9.9", port) == "EHOSTUNREACH"
        assert ask(vm("c"), "172.20.0.1", port) == "EHOSTUNREACH"


def test_nothing_comes_in(world: dict[str, str]) -> None:
    """From the internet neither a machine's address nor, through a route put in by hand, its network is reached."""
    internet, outbound = names.internet_netns(TAG), world[arm.vnet_id("v1").lower()]
    with answering(vm("c")) as port:
        assert ask(internet, "10.224.0.7", port) == "ENETUNREACH"
        run(
            "ip",
            "-n",
            internet,
            "route",
            "add",
            "10.224.0.7",
            "via",
            outbound,
            "dev",
            names.uplink_link(arm.vnet_id("v1")),
            "onlink",
        )
        try:
            assert ask(internet, "10.224.0.7", port, timeout_s=0.3) == ""
        finally:
            run("ip", "-n", internet, "route", "del", "10.224.0.7")
    assert counter("v1", "inbound") > 0


def test_pods_reach_pods_of_their_cluster() -> None:
    """Across nodes, untranslated in both directions, full size (OVL-04)."""
    for one, other in (("a1", "a2"), ("b1", "b2")):
        with answering(vm(other), PODS[other]) as port:
            assert ask(vm(one), PODS[other], port, source=PODS[one]) == PODS[one]
            assert ask(vm(one), PODS[other], port, source=PODS[one], size=1472) == PODS[one]
        with answering(vm(one), PODS[one]) as port:
            assert ask(vm(other), PODS[one], port, source=PODS[other]) == PODS[other]


def test_equal_pod_ranges_never_mix() -> None:
    """OVL-14: a pod that only the other cluster has is not reached, though the address is in both ranges."""
    run("ip", "-n", vm("b2"), "addr", "add", "192.168.1.77/32", "dev", "lo")
    try:
        with answering(vm("b2"), "192.168.1.77") as port:
            assert ask(vm("b1"), "192.168.1.77", port, source=PODS["b1"]) == PODS["b1"]
            assert ask(vm("a1"), "192.168.1.77", port, source=PODS["a1"], timeout_s=0.3) != PODS["a1"]
    finally:
        run("ip", "-n", vm("b2"), "addr", "del", "192.168.1.77/32", "dev", "lo")


def test_pods_are_refused_from_elsewhere() -> None:
    """OVL-06: a machine without a cluster, another network and the internet get no way to a pod."""
    with answering(vm("a1"), PODS["a1"]) as port:
        assert ask(vm("c"), PODS["a1"], port) == "EHOSTUNREACH"
        assert ask(vm("z"), PODS["a1"], port) == "EHOSTUNREACH"
        assert ask(names.internet_netns(TAG), PODS["a1"], port) == "ENETUNREACH"


def test_unassigned_pod_addresses_are_refused() -> None:
    """A pod address that no node has is answered with unreachable, not with silence."""
    assert ask(vm("a1"), "192.168.200.1", 9, source=PODS["a1"]) == "EHOSTUNREACH"


def test_nodes_reach_pods_of_other_nodes() -> None:
    """A node's own address opens connections to pods of its cluster, and the pod's answer passes."""
    with answering(vm("a2"), PODS["a2"]) as port:
        assert ask(vm("a1"), PODS["a2"], port) == "10.224.0.4"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("192.168.0.10", "10.224.0.5"),  # a pod to a node of its cluster, not masqueraded
        ("192.168.0.10", "10.224.0.7"),  # a pod to another machine
        ("192.168.0.10", "198.19.0.80"),  # a pod to the internet
        ("192.168.1.200", "192.168.1.10"),  # another node's pod range
        ("10.224.0.5", "10.224.0.7"),  # another machine
        ("8.8.8.8", "10.224.0.7"),  # anybody
    ],
)
def test_spoofed_sources_are_dropped(source: str, target: str) -> None:
    """What a NIC may not send is dropped and counted, so pod addresses never leave their cluster."""
    before = counter("v1", "spoofed")
    with socket_in_netns(vm("a1"), socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
        client.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
        client.bind((source, 0))
        client.sendto(b"spoofed", (target, 7))
    until(lambda: counter("v1", "spoofed") == before + 1)


def test_the_shell_is_a_host_on_the_internet() -> None:
    """From the user's own namespace a public address answers, and sees the shell's address."""
    routes = run("ip", "route", "show", "proto", str(FABRIC_PROTOCOL), "dev", names.shell_link(TAG))
    if "198.19.0.0/28" not in routes:
        pytest.skip("another lab has routes to the same prefix")
    assert http("", "198.19.0.1") == SETTINGS.shell


def test_the_lab_opens_no_connection_to_the_shell() -> None:
    """A machine of the lab is refused at the user's own services; the user's connections get their answers."""
    with answering("", SETTINGS.shell) as port:
        assert ask(vm("a1"), SETTINGS.shell, port) in ("ECONNREFUSED", "EHOSTUNREACH")


def test_the_gateway_reaches_machines() -> None:
    """From the router's namespace a machine is reached, and sees its subnet's gateway (API server to kubelet)."""
    with answering(vm("b1")) as port:
        assert ask(router("v1"), "10.225.0.4", port) == "10.225.0.1"


def test_ttl_shows_one_hop() -> None:
    """Between machines lies exactly the router: no tunnel, no second hop (OVL-11)."""
    with answering(vm("a2")) as port, socket_in_netns(vm("a1"), socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.connect(("10.224.0.5", port))
        client.setsockopt(socket.SOL_IP, socket.IP_TTL, 2)
        client.send(b"x")
        assert client.recv(100).strip() == b"10.224.0.4"
        client.setsockopt(socket.SOL_IP, socket.IP_TTL, 1)
        client.send(b"x")
        with pytest.raises(OSError):
            client.recv(100)


def counter(network: str, name: str) -> int:
    listed = run("ip", "netns", "exec", router(network), "nft", "-j", "list", "counter", "inet", "fabric", name)
    return int(json.loads(listed)["nftables"][1]["counter"]["packets"])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
