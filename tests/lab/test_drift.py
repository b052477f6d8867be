"""What holds the network up: take one thing away and see what breaks, and see it come back.

While the agents and the fabric are stopped (SIGSTOP) a missing rule or route must turn exactly the cells red that
depend on it: so the matrix tests something. Running, they must put back whatever someone removed. Refused cells have
no fault of their own: without a route to a pod, taking something away opens no way to it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit import CLUSTER, GROUP, Lab, wait_for
from podloom.drivers.kernel.netns import list_netns
from podloom.plan.fabric.names import nic_link

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
NAMES = ("--name", CLUSTER, "--resource-group", GROUP)
REPAIR_S = 2.0
Cells = set[tuple[str, str]]


@dataclass(frozen=True)
class Site:
    """The probed cluster: rows of the matrix by node, and where commands are run."""

    lab: Lab
    here: str  # the node things are removed on
    clients: dict[str, str]  # node -> its pod `client`
    servers: dict[str, str]
    hosts: dict[str, str]
    addresses: dict[str, str]  # pod -> address

    @property
    def there(self) -> str:
        return next(node for node in self.hosts if node != self.here)

    def pods(self, node: str) -> list[str]:
        return [self.clients[node], self.servers[node]]

    def netns(self, part: str) -> str:
        return next(name for name in list_netns(f"{self.lab.tag}-") if part in name)

    def on_node(self, *command: str) -> str:
        return run(self.netns(f"vm-{self.here}"), *command)

    def on_router(self, *command: str) -> str:
        return run(self.netns("router-aks-vnet"), *command)


def run(netns: str, *command: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", *command], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def site(cluster: Lab) -> Iterator[Site]:
    cluster.podloom("connectivity", *NAMES, "--keep")
    pods = cluster.get("pods", "-n", "podloom-connectivity")["items"]
    rows: dict[str, dict[str, str]] = {"client": {}, "server": {}, "host": {}}
    for pod in pods:
        rows[pod["metadata"]["labels"]["app"]][pod["spec"]["nodeName"]] = pod["metadata"]["name"]
    addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}
    dns = cluster.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]
    with_dns = {pod["spec"]["nodeName"] for pod in dns}
    here = min(rows["host"], key=lambda node: (node in with_dns, node))
    yield Site(cluster, here, rows["client"], rows["server"], rows["host"], addresses)
    cluster.kubectl("delete", "namespace", "podloom-connectivity")


@contextmanager
def frozen(lab: Lab, kind: str) -> Iterator[None]:
    """The agents, or the fabric (then names outside the cluster do not resolve), repair nothing meanwhile."""
    pids = [p.pid for p in lab.running() if p.name.rpartition("/")[2] == kind]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def red(lab: Lab) -> Cells:
    result = lab.run("podloom", "connectivity", *NAMES, "--keep", "-o", "json", check=False)
    differences = json.loads(result.stdout)["differences"]
    assert (result.returncode == 1) == bool(differences)
    return {(d["from"], d["column"]) for d in differences}


def cross(rows: list[str], columns: list[str]) -> Cells:
    return {(row, column) for row in rows for column in columns}


def no_masquerade(site: Site) -> Cells:
    site.on_node("nft", "flush", "chain", "inet", "podloom", "leave")
    return cross(site.pods(site.here), ["other node", "VNet", "internet"])


def no_services(site: Site) -> Cells:
    site.on_node("nft", "flush", "map", "inet", "podloom", "frontends4")
    return cross(site.pods(site.here), ["service", "DNS"]) | cross([site.hosts[site.here]], ["service"])


def no_dns_frontend(site: Site) -> Cells:
    site.on_node("nft", "delete element inet podloom frontends4 { 10.0.0.10 . udp . 53 }")
    return cross(site.pods(site.here), ["DNS"])


def no_service_frontend(site: Site) -> Cells:
    service = site.lab.get("service", "server", "-n", "podloom-connectivity")["spec"]["clusterIP"]
    site.on_node("nft", f"delete element inet podloom frontends4 {{ {service} . tcp . 8080 }}")
    return cross([*site.pods(site.here), site.hosts[site.here]], ["service"])


def no_route_to_a_pod(site: Site) -> Cells:
    client = site.clients[site.here]
    site.on_node("ip", "route", "del", f"{site.addresses[client]}/32")
    rest = ["pod, same node", "pod, other node", "own node", "other node", "VNet", "internet"]
    near = cross([site.servers[site.here], site.hosts[site.here]], ["pod, same node", "full packet"])
    far = cross([*site.pods(site.there), site.hosts[site.there]], ["pod, other node", "full packet"])
    return cross([client], [*rest, "full packet"]) | near | far


def no_outbound_translation(site: Site) -> Cells:
    site.on_router("nft", "flush", "chain", "inet", "fabric", "outbound")
    nodes = [site.here, site.there]
    pods = [pod for node in nodes for pod in site.pods(node)]
    return cross([*pods, *site.hosts.values(), "VNet host"], ["internet"])


def no_own_address_of_the_vnet_host(site: Site) -> Cells:
    """Its NIC may then send from no address: the router takes its packets for spoofed ones."""
    group = site.lab.podloom("aks", "show", *NAMES)["nodeResourceGroup"]
    nics = site.lab.podloom("network", "nic", "list", "--resource-group", group)
    nic = next(nic for nic in nics if nic["name"] == f"{CLUSTER}-connectivity-nic")
    address = nic["ipConfigurations"][0]["privateIPAddress"]
    site.on_router("nft", f'delete element inet fabric own {{ "{nic_link(nic["id"])}" . {address} }}')
    pods = [pod for node in (site.here, site.there) for pod in site.pods(node)]
    return cross([*pods, *site.hosts.values()], ["VNet"]) | cross(["VNet host"], ["other node", "internet"])


def no_address_on_a_node(site: Site) -> Cells:
    """The node is cut off: nothing starts a probe there, and nobody reaches it or its pods from elsewhere."""
    address = site.addresses[site.hosts[site.here]]
    site.on_node("ip", "addr", "del", f"{address}/16", "dev", "eth0")
    inside = ["pod, same node", "pod, other node", "other node", "VNet", "internet", "full packet"]
    lost = cross(site.pods(site.here), [*inside, "own node"]) | cross([site.hosts[site.here]], inside)
    far = cross([*site.pods(site.there), site.hosts[site.there]], ["pod, other node", "other node", "full packet"])
    return lost | far | cross(["VNet host"], ["other node"])


@pytest.mark.parametrize(
    ("fault", "kind", "chance"),
    [
        (no_masquerade, "agent", {"service", "DNS"}),  # a pod that picks itself, a name server on this node
        (no_services, "agent", set()),
        (no_dns_frontend, "agent", set()),
        (no_service_frontend, "agent", set()),
        (no_route_to_a_pod, "agent", {"DNS", "service"}),
        (no_outbound_translation, "fabric", {"DNS"}),
        (no_own_address_of_the_vnet_host, "fabric", {"DNS"}),
        (no_address_on_a_node, "fabric", {"DNS", "service"}),
    ],
)
def test_one_missing_thing_turns_exactly_its_cells_red(
    site: Site, fault: Callable[[Site], Cells], kind: str, chance: set[str]
) -> None:
    """And all is green again soon after the repairers run. Columns of `chance` depend on which backend is picked."""
    with frozen(site.lab, kind):
        expected = fault(site)
        found = red(site.lab)
    assert {c for c in found if c[1] not in chance} == {c for c in expected if c[1] not in chance}
    wait_for(lambda: red(site.lab) == set(), "a green matrix", 20)


def route_table(site: Site) -> str:
    rules = site.on_router("ip", "rule")
    found = re.search(r"lookup (\d+)", rules)
    assert found
    return found[1]


def pod_netns(site: Site) -> str:
    """The network namespace of the client pod, as a path this test can enter."""
    holder = next(p for p in site.lab.running() if p.name == f"node/{site.here}/holder")
    mine = site.addresses[site.clients[site.here]]
    folder = f"/proc/{holder.pid}/root/run/netns"
    for path in Path(folder).iterdir():
        command = ["nsenter", f"--net={path}", "ip", "-o", "addr"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        if f" {mine}/" in shown.stdout:
            return str(path)
    raise AssertionError(f"no namespace has {mine}")


def in_pod(site: Site, *command: str) -> str:
    done = subprocess.run(["nsenter", f"--net={pod_netns(site)}", *command], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("place", "show", "remove"),
    [
        ("node", "ip -4 route show proto 81", "ip route del {client}/32"),
        ("node", "nft list table inet podloom", "nft delete table inet podloom"),
        ("node", "nft list map inet podloom frontends4", "nft flush map inet podloom frontends4"),
        ("node", "nft list chain inet podloom leave", "nft flush chain inet podloom leave"),
        ("node", "sysctl net.ipv4.ip_forward", "sysctl -w net.ipv4.ip_forward=0"),
        ("pod", "ip -4 -o addr show eth0", "ip addr flush dev eth0"),
        ("pod", "ip -4 route", "ip route del default"),
        ("pod", "ip -4 route", "ip route del 169.254.1.1"),
        ("pod", "ip neigh show nud permanent", "ip neigh del 169.254.1.1 dev eth0"),
        ("router", "ip rule", "ip rule del pref 1000"),
        ("router", "ip route show table {table}", "ip route flush table {table}"),
        ("router", "ip -4 route show proto 80", "ip route flush proto 80"),
        ("router", "nft list table inet fabric", "nft delete table inet fabric"),
        ("router", "nft list set inet fabric own", "nft flush set inet fabric own"),
        ("router", "sysctl net.ipv4.ip_forward", "sysctl -w net.ipv4.ip_forward=0"),
        ("internet", "ip -4 -o addr show scope global", "ip addr flush dev lo scope global"),
    ],
)
def test_what_someone_removes_is_back_within_two_seconds(site: Site, place: str, show: str, remove: str) -> None:
    names = {"client": site.addresses[site.clients[site.here]], "table": route_table(site)}
    namespace = {
        "node": lambda: f"/run/netns/{site.netns(f'vm-{site.here}')}",
        "pod": lambda: pod_netns(site),
        "router": lambda: f"/run/netns/{site.netns('router-aks-vnet')}",
        "internet": lambda: f"/run/netns/{site.netns('internet')}",
    }[place]()

    def call(text: str) -> str:
        command = ["nsenter", f"--net={namespace}", *text.format(**names).split()]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    before = comparable(call(show))
    assert before, f"nothing to remove: {show}"
    call(remove)
    began = time.monotonic()
    while comparable(call(show)) != before:
        assert time.monotonic() - began < REPAIR_S, f"not back within {REPAIR_S} s:\n{call(show)}\ninstead of\n{before}"
        time.sleep(0.02)


def comparable(text: str) -> list[str]:
    """Lines in any order, without what counts or varies."""
    kept = re.sub(r"packets \d+ bytes \d+|valid_lft.*|\\|^\d+: ", "", text, flags=re.MULTILINE)
    return sorted(" ".join(line.split()).strip(" ,") for line in re.split(r"[\n,]", kept) if line.strip())
