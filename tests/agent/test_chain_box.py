"""Whole configuration lists with the distribution's reference plugins behind and in front of ours (needs root)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxkit import OUTSIDE, Box, wait_for
from cnikit import CniError, Runtime
from podloom.native import native_path
from podloom.plan.endpoint import host_ifname

pytestmark = pytest.mark.root

REFERENCE = Path("/usr/lib/cni")
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=one"
AZURE = {"type": "azure-vnet", "mode": "transparent", "ipam": {"type": "azure-cns", "mode": "overlay"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
BANDWIDTH = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
TUNING = {"type": "tuning", "sysctl": {"net.ipv4.tcp_keepalive_time": "500"}}
FIREWALL = {"type": "firewall", "backend": "iptables"}
ASKED = {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    "bandwidth": {"ingressRate": 80_000_000, "ingressBurst": 80_000_000},
}
CHAINS = {
    "0.2.0": [PORTMAP, TUNING],
    "0.3.0": [PORTMAP, BANDWIDTH, TUNING],
    "0.3.1": [PORTMAP, BANDWIDTH, TUNING],
    "0.4.0": [PORTMAP, BANDWIDTH, TUNING, FIREWALL],
    "1.0.0": [PORTMAP, BANDWIDTH, TUNING, FIREWALL],
}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        made.start_agent()
        yield made
    finally:
        made.close()


def runtime(box: Box, version: str, *plugins: dict[str, Any]) -> Runtime:
    places = {"PODLOOM_SOCKET": str(box.folder / "agent.sock"), "PODLOOM_SPOOL": str(box.folder / "state" / "spool")}
    conflist = {"cniVersion": version, "name": "azure", "plugins": list(plugins)}
    made = Runtime(conflist, [box.folder / "bin", REFERENCE], box.command, places)
    made.validate()
    return made


def serve(box: Box, netns: str) -> None:
    box.start(str(native_path("echo")), "--http", "80", "--name", netns, netns=netns)


def answers(box: Box, url: str, netns: str = "outside") -> bool:
    return bool(box.sh(f"curl -s -m2 {url}", netns=netns, check=False))


@pytest.mark.parametrize("version", CHAINS)
def test_reference_plugins_behind_ours(box: Box, version: str) -> None:
    """portmap, bandwidth, tuning and firewall work on our result, pass CHECK, and leave nothing after DEL."""
    chain = CHAINS[version]
    cni = runtime(box, version, AZURE, *chain)
    box.sh("ip netns add one")
    result = cni.add("one", args=ARGS, **ASKED)
    address = (result["ips"][0]["address"] if "ips" in result else result["ip4"]["ip"]).partition("/")[0]
    assert result["cniVersion"] == version
    if "interfaces" in result:
        assert [item["name"] for item in result["interfaces"] if item.get("sandbox")] == ["eth0"]
    serve(box, "one")
    wait_for(lambda: answers(box, "http://10.224.0.4:8080/"), 5)
    assert box.sh("sysctl -n net.ipv4.tcp_keepalive_time", netns="one").strip() == "500"
    if BANDWIDTH in chain:
        assert "tbf" in box.sh(f"tc qdisc show dev {host_ifname('default', 'one')}")
    if FIREWALL in chain:
        assert f"-A CNI-FORWARD -s {address}/32" in box.sh("iptables -S")
    if version in ("0.4.0", "1.0.0"):
        # Debian's portmap fails CHECK of an IPv4 mapping behind every interface plugin, its own ptp included
        checked = {"bandwidth": ASKED["bandwidth"]}
        cni.check("one", args=ARGS, **checked)
        box.sh("sysctl -qw net.ipv4.tcp_keepalive_time=7200", netns="one")
        with pytest.raises(CniError):
            cni.check("one", args=ARGS, **checked)
    cni.delete("one", args=ARGS, **ASKED)
    cni.delete("one", netns=False)
    assert address not in box.sh("iptables-save; ip route") and "azv" not in box.sh("ip -o link")
    box.kill_agent()
    assert box.leases() == []


def test_a_failing_chain_leaks_nothing(box: Box) -> None:
    """A plugin behind ours that fails ends the ADD; the DEL that follows takes everything back."""
    cni = runtime(box, "1.0.0", AZURE, {"type": "tuning", "sysctl": {"net.no_such_setting": "1"}})
    box.sh("ip netns add one")
    with pytest.raises(CniError) as caught:
        cni.add("one", args=ARGS)
    assert caught.value.plugin == "tuning"
    cni.delete("one", args=ARGS)
    assert "azv" not in box.sh("ip -o link; ip route")
    box.kill_agent()
    assert box.leases() == []


@pytest.mark.parametrize("ipam", ["azure-ipam", "azure-vnet-ipam"])
def test_our_addresses_under_the_reference_ptp(box: Box, ipam: str) -> None:
    """Delegated IPAM: the reference ptp makes the interface; the agent's address reaches our pods and the outside."""
    cni = runtime(box, "1.0.0", {"type": "ptp", "ipam": {"type": ipam}})
    box.sh("ip netns add one")
    result = cni.add("one", args=ARGS)
    assert len(result["interfaces"]) == 2 and result["ips"][0]["gateway"] == "192.168.1.255"
    address = result["ips"][0]["address"].partition("/")[0]
    other = box.pod("two")
    assert other != address
    cni.check("one", args=ARGS)
    for source, target in (("one", other), ("two", address), ("one", OUTSIDE), ("", address)):
        assert "1 packets received" in box.sh(f"busybox ping -c1 -W1 {target}", netns=source), (source, target)
    cni.delete("one", args=ARGS)
    cni.delete("one", netns=False)
    assert address not in box.sh("ip route")
    box.kill_agent()
    assert [str(lease.addresses[0]) for lease in box.leases()] == [other]


def test_a_delegated_del_without_an_agent(box: Box) -> None:
    """DEL by ptp while the agent is away succeeds, and the address is free when an agent comes."""
    cni = runtime(box, "1.0.0", {"type": "ptp", "ipam": {"type": "azure-ipam"}})
    box.sh("ip netns add one")
    cni.add("one", args=ARGS)
    box.kill_agent()
    assert len(box.leases()) == 1
    cni.delete("one", args=ARGS)
    box.start_agent()
    box.kill_agent()
    assert box.leases() == []


def test_two_processes_race_for_one_container(box: Box) -> None:
    """Of several ADDs of one container as processes, under two pod names, one wins; one DEL takes all back."""
    box.sh("ip netns add one")
    running = [box.spawn("ADD", "one", pod) for pod in ("web", "db", "web", "db")]
    codes = []
    for process in running:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 1, 1, 1]
    assert box.sh("ip -o link").count("azv") == 1
    assert "1 packets received" in box.sh(f"busybox ping -c1 -W1 {OUTSIDE}", netns="one")
    assert box.call("DEL", "one")[0] == 0
    assert "azv" not in box.sh("ip -o link; ip route")
    box.kill_agent()
    assert box.leases() == []


def test_gc_and_status_of_a_list(box: Box) -> None:
    """GC of a 1.1.0 list ends what is not listed; STATUS says that the node can serve."""
    cni = runtime(box, "1.1.0", AZURE)
    for name in ("one", "two"):
        box.sh(f"ip netns add {name}")
        cni.add(name)
    cni.whole("STATUS")
    cni.whole("GC", **{"cni.dev/valid-attachments": [{"containerID": "two", "ifname": "eth0"}]})
    cni.check("two")
    with pytest.raises(CniError) as caught:
        cni.check("one")
    assert caught.value.code == 3


def test_http_api_on_localhost(box: Box) -> None:
    """A client on the node asks 127.0.0.1:10090; plugin and API share the range; a killed agent loses nothing."""
    body = json.dumps({"infraContainerID": "c1", "orchestratorContext": {"PodName": "a", "PodNamespace": "b"}})

    def post(path: str) -> Any:
        return json.loads(box.sh(f"curl -s -m5 -d '{body}' http://localhost:10090/network/{path}"))

    first = post("requestipconfigs")
    address = first["podIPInfo"][0]["PodIPConfig"]["IPAddress"]
    assert first["podIPInfo"][0]["HostPrimaryIPInfo"] == {
        "Gateway": OUTSIDE,
        "PrimaryIP": "10.224.0.4",
        "Subnet": "10.224.0.0/16",
    }
    assert box.pod("one") != address
    box.kill_agent()
    box.start_agent()
    wait_for(lambda: "ReturnCode" in box.sh("curl -s http://localhost:10090/debug/podcontext", check=False), 5)
    assert post("requestipconfigs") == first
    for _ in range(2):
        assert post("releaseipconfigs")["response"]["ReturnCode"] == 0
    box.kill_agent()
    assert [lease.pod_name for lease in box.leases()] == ["one"]
