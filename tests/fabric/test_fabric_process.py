"""The fabric as a process, with the real cloud: drift, kill -9 at any moment, and nothing left behind."""

import asyncio
import difflib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from podloom.drivers.arm.client import CloudClient
from podloom.drivers.kernel import list_netns
from podloom.drivers.pki import Authority
from podloom.model.errors import Unavailable
from podloom.plan.fabric import names

pytestmark = pytest.mark.root
TAG = f"tf{os.getpid()}"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
VNET, NIC = f"{NETWORK}/virtualNetworks/v", f"{NETWORK}/networkInterfaces/n"
DOMAIN = f"{GROUP}/providers/Podloom.Network/routingDomains/d"
ROUTER, VM, INTERNET = names.router_netns(TAG, VNET), names.vm_netns(TAG, NIC), names.internet_netns(TAG)
NEAR, UPLINK = names.nic_link(NIC), names.uplink_link(VNET)


@dataclass
class Lab:
    """A cloud that runs, and a fabric that may be ended and started."""

    folder: Path
    url: str
    client: CloudClient
    fabric: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.fabric = subprocess.Popen(
            [*self.command, "--cloud-url", self.url, "--cloud-ca", str(self.folder / "pki/ca.crt")],
            stderr=(self.folder / "fabric.log").open("ab"),
        )

    @property
    def command(self) -> list[str]:
        module = [sys.executable, "-m", "podloom.fabric"]
        return [*module, "--tag", TAG, "--state", str(self.folder / "fabric"), "--no-shell"]

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.fabric is not None
        self.fabric.send_signal(number)
        return self.fabric.wait(10)


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    authority = Authority.open(tmp_path / "pki", "ca")
    pair = authority.issue("cloud", "cloud", hosts=["127.0.0.1"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "cloud"), "--subscription", SUBSCRIPTION]
    tls = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    log = (tmp_path / "cloud.log").open("wb")
    cloud = started([sys.executable, "-m", "podloom.cloud", *flags, *tls], stderr=log)
    url = f"https://127.0.0.1:{port}"
    async with CloudClient(url, authority.cert_path) as client:
        lab = Lab(tmp_path, url, client)
        try:
            lab.start()
            await make(client)
            yield lab
        finally:
            if lab.fabric is not None and lab.fabric.poll() is None:
                lab.end()
            cloud.terminate()
            cloud.wait()
            out(*lab.command, "--down")
    assert list_netns(names.netns_prefix(TAG)) == set()


async def make(client: CloudClient) -> None:
    """A network with one machine in one overlay domain, realised."""
    for attempt in range(100):
        try:
            await client.put(GROUP, {"location": "westeurope"})
            break
        except Unavailable:
            assert attempt < 99
            await asyncio.sleep(0.1)
    subnets = [{"name": "s", "properties": {"addressPrefix": "10.1.0.0/16"}}]
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}, "subnets": subnets}
    await client.put(VNET, {"location": "westeurope", "properties": space}, wait=True)
    configs = [{"name": "c", "properties": {"subnet": {"id": f"{VNET}/subnets/s"}}}]
    await client.put(NIC, {"location": "westeurope", "properties": {"ipConfigurations": configs}}, wait=True)
    domain = {"virtualNetwork": {"id": VNET}, "podCidrs": ["192.168.0.0/16"]}
    await client.put(DOMAIN, {"location": "westeurope", "properties": domain}, wait=True)
    route = {"addressPrefixes": ["192.168.0.0/24"], "nextHopIpAddress": "10.1.0.4"}
    await client.put(f"{DOMAIN}/routes/n", {"properties": route}, wait=True)
    await until(lambda: NEAR in out("ip", "-n", ROUTER, "rule"), "the domain's rule", 5)


def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, **options)


def out(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def inside(netns: str, *command: str) -> str:
    return out("ip", "netns", "exec", netns, *command)


def picture() -> str:
    """All of the fabric's kernel objects as text, without what varies by itself."""
    parts = []
    for netns in sorted(list_netns(names.netns_prefix(TAG))):
        parts += [netns, out("ip", "-n", netns, "-4", "-br", "addr"), out("ip", "-n", netns, "-br", "link")]
        parts += [out("ip", "-n", netns, "route", "show", "table", "all", "proto", "80")]
        parts += [out("ip", "-n", netns, "rule"), out("ip", "-n", netns, "neigh", "show", "nud", "permanent")]
        parts += [inside(netns, "nft", "-s", "list", "ruleset")]
        parts += [inside(netns, "sh", "-c", "cat /proc/sys/net/ipv4/conf/*/proxy_arp /proc/sys/net/ipv4/ip_forward")]
    lines = [" ".join(sorted(line.split())) for part in parts for line in [*sorted(part.splitlines()), ""]]
    text = "\n".join(lines)
    return re.sub(r"@if\d+|\(id: \d+\)|NO-CARRIER,|\bUNKNOWN |\bUP |\bDOWN |\bLOWERLAYERDOWN ", "", text)


async def until_it_is(wanted: str, what: str, seconds: float) -> None:
    """Wait for the picture; a failure shows the lines that differ."""
    end = time.monotonic() + seconds
    while (found := picture()) != wanted:
        if time.monotonic() > end:
            lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", n=0, lineterm="")
            pytest.fail(f"not within {seconds} s after {what}:\n" + "\n".join(lines))
        await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


def reaches_the_internet() -> bool:
    return '"client"' in inside(VM, "curl", "-s", "-m", "1", "http://198.19.0.80/")


DRIFT = [
    ("ip", "-n", ROUTER, "link", "del", NEAR),
    ("ip", "-n", VM, "link", "set", "eth0", "down"),
    ("ip", "-n", VM, "addr", "flush", "dev", "eth0"),
    ("ip", "-n", VM, "route", "del", "default"),
    ("ip", "-n", ROUTER, "route", "flush", "table", "main"),
    ("ip", "-n", ROUTER, "route", "flush", "table", "all", "proto", "80"),
    ("ip", "-n", ROUTER, "rule", "flush", "proto", "80"),
    ("ip", "-n", ROUTER, "neigh", "flush", "all", "nud", "permanent"),
    ("ip", "-n", ROUTER, "addr", "del", "10.1.0.1/32", "dev", "lo"),
    ("ip", "netns", "exec", ROUTER, "nft", "flush", "ruleset"),
    ("ip", "netns", "exec", ROUTER, "nft", "flush", "set", "inet", "fabric", "own"),
    ("ip", "netns", "exec", ROUTER, "nft", "flush", "chain", "inet", "fabric", "validate"),
    ("ip", "netns", "exec", ROUTER, "sh", "-c", f"echo 0 > /proc/sys/net/ipv4/conf/{NEAR}/proxy_arp"),
    ("ip", "netns", "exec", ROUTER, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
    ("ip", "-n", INTERNET, "link", "del", UPLINK),
    ("ip", "netns", "del", VM),
    ("ip", "netns", "del", ROUTER),
    ("ip", "netns", "del", INTERNET),
]


async def test_drift_is_back_within_two_seconds(lab: Lab) -> None:
    """Whatever kind of row others delete comes back, and the machine reaches the internet again."""
    await until(reaches_the_internet, "the first answer", 5)
    wanted = picture()
    for command in DRIFT:
        out(*command)
        await until_it_is(wanted, " ".join(command), 2)
    await until(reaches_the_internet, "the last answer", 3)
    assert "198.19.0.80" in inside(VM, "busybox", "nslookup", "echo.podloom.test", "168.63.129.16")


async def test_a_killed_fabric_leaves_no_half(lab: Lab) -> None:
    """Killed while it builds, again and again, the next one always ends with the same world; the answering host dies
    with its parent, connections go on."""
    await until(reaches_the_internet, "the first answer", 5)
    wanted = picture()
    generator = random.Random(7)
    for _ in range(6):
        for command in generator.sample(DRIFT[:15], 5):
            out(*command)
        await asyncio.sleep(generator.random() * 0.05)
        lab.end(signal.SIGKILL)
        lab.start()
    await until_it_is(wanted, "kills", 10)
    await until(reaches_the_internet, "an answer", 3)
    assert len(out("ip", "netns", "pids", INTERNET).split()) == 1


async def test_a_restart_drops_no_connection(lab: Lab) -> None:
    """A translated connection stays open while the fabric is killed and started again."""
    await until(reaches_the_internet, "the first answer", 5)
    with started(
        ["ip", "netns", "exec", INTERNET, "busybox", "nc", "-l", "-p", "9999", "-e", "cat"], stdin=subprocess.DEVNULL
    ) as server:
        await asyncio.sleep(0.3)
        command = ["ip", "netns", "exec", VM, "busybox", "nc", "198.19.0.80", "9999"]
        with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            for word in (b"before\n", b"after\n"):
                client.stdin.write(word)
                client.stdin.flush()
                assert await asyncio.to_thread(client.stdout.readline) == word
                if word == b"before\n":
                    lab.end(signal.SIGKILL)
                    lab.start()
                    await until(reaches_the_internet, "the next fabric", 5)
            client.kill()
        server.kill()


async def test_only_one_fabric_of_a_state_folder(lab: Lab) -> None:
    """The second says so and ends; the first ends on SIGTERM with success and leaves the world as it is."""
    second = started([*lab.command, "--cloud-url", lab.url], stderr=subprocess.PIPE)
    words = (await asyncio.to_thread(second.communicate))[1].decode()
    assert second.returncode == 1
    assert "another one runs on it" in words
    wanted = picture()
    assert lab.end() == 0
    assert picture() == wanted


async def test_deleted_resources_are_gone(lab: Lab) -> None:
    """Deleting domain, NIC and VNet leaves only the internet."""
    await lab.client.delete(f"{DOMAIN}/routes/n", wait=True)
    await lab.client.delete(DOMAIN, wait=True)
    await until(lambda: "192.168.0.0/24" not in out("ip", "-n", ROUTER, "route", "show", "table", "all"), "domain", 3)
    await lab.client.delete(NIC, wait=True)
    await until(lambda: VM not in list_netns(VM), "the machine", 3)
    await lab.client.delete(VNET, wait=True)
    await until(lambda: list_netns(names.netns_prefix(TAG)) == {INTERNET}, "the network", 3)
