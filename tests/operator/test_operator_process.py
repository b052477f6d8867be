"""The operator as a process against a real API server and a real cloud, killed again and again."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudkit import SUBSCRIPTION, CloudProcess, free_port
from podloom.drivers.arm import CloudClient
from podloom.drivers.kube import KubeClient, KubeError
from podloom.drivers.pki import Authority, kubeconfig, signing_key
from podloom.model.errors import PodloomError
from podloom.model.kube import EVENTS, NNCS, NODES
from podloom.model.nnc import NAMESPACE, parse_nnc

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g"
VNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
DOMAIN = f"{GROUP}/providers/Podloom.Network/routingDomains/d"


class World:
    """An API server, a cloud with a routing domain, and an operator that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud_process = CloudProcess(folder / "cloud")
        (folder / "cloud").mkdir()
        self.port = free_port()
        authority = Authority.open(folder / "pki", "test")
        self._serving = authority.issue("apiserver", "kube-apiserver", hosts=["127.0.0.1"])
        admin = authority.issue("admin", "admin", groups=["system:masters"])
        self._ca = authority.cert_path
        self.config = folder / "kubeconfig"
        self.config.write_text(kubeconfig(f"https://127.0.0.1:{self.port}", self._ca, admin, cluster="t", user="admin"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_api(self) -> None:
        flags = {
            "--data": self.folder / "api",
            "--listen": f"127.0.0.1:{self.port}",
            "--client-ca": self._ca,
            "--tls-cert": self._serving.cert,
            "--tls-key": self._serving.key,
            "--service-account-key": signing_key(self.folder / "pki" / "sa.key"),
        }
        self._start("api", "podloom.kube.api", flags)

    def start_operator(self) -> None:
        flags = {
            "--kubeconfig": self.config,
            "--cloud-url": self.cloud_process.url,
            "--cloud-ca": self.cloud_process.ca,
            "--routing-domain": DOMAIN,
            "--pod-cidr": "192.168.0.0/19",
            "--release-after-s": "0.5",
        }
        self._start("operator", "podloom.operator", flags)

    def kill(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def close(self) -> None:
        for name in self._processes:
            self.kill(name)

    def _start(self, name: str, module: str, flags: dict[str, Any]) -> None:
        argv = [sys.executable, "-m", module, *(str(part) for pair in flags.items() for part in pair)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(argv, stdout=log, stderr=log)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[World, KubeClient, CloudClient]]:
    made = World(tmp_path)
    made.cloud_process.start()
    made.start_api()
    async with AsyncExitStack() as stack:
        stack.callback(made.close)
        stack.callback(made.cloud_process.kill)
        kube = await stack.enter_async_context(KubeClient.from_kubeconfig(made.config))
        cloud = await stack.enter_async_context(CloudClient(made.cloud_process.url, made.cloud_process.ca))
        await cloud.put(GROUP, {"location": "westcentralus"})
        space = {"addressSpace": {"addressPrefixes": ["10.224.0.0/12"]}}
        await cloud.put(VNET, {"location": "westcentralus", "properties": space})
        properties = {"virtualNetwork": {"id": VNET}, "podCidrs": ["192.168.0.0/19"]}
        await cloud.put(DOMAIN, {"location": "westcentralus", "properties": properties})
        made.start_operator()
        yield made, kube, cloud


async def eventually(check: Any, seconds: float = 20) -> None:
    """`await check()` true within some seconds; an API that is away counts as not yet."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if await check():
                    return
            except PodloomError:
                pass
            await asyncio.sleep(0.1)


async def add_node(kube: KubeClient, name: str, number: int) -> None:
    try:
        made = await kube.create(NODES, {"metadata": {"name": name}})
    except KubeError as error:
        if not error.already_exists:
            raise
        made = await kube.get(NODES, name)
    status = {"addresses": [{"type": "InternalIP", "address": f"10.224.0.{number}"}]}
    await kube.replace(NODES, {**made, "status": status}, subresource="status")


async def state(kube: KubeClient, cloud: CloudClient) -> tuple[set[str], dict[str, str], dict[str, list[str]]]:
    """Nodes; range by node of those that are Updated; prefixes by route."""
    nodes, _ = await kube.list(NODES)
    objects, _ = await kube.list(NNCS, NAMESPACE)
    networks = [network for network in map(parse_nnc, objects) if network and network.ready]
    routes = await cloud.list(f"{DOMAIN}/routes")
    return (
        {node["metadata"]["name"] for node in nodes},
        {network.node: str(network.ranges[0]) for network in networks},
        {route["name"]: route["properties"]["addressPrefixes"] for route in routes},
    )


@pytest.mark.timeout(120)
async def test_kills_while_nodes_come_and_go(world: tuple[World, KubeClient, CloudClient]) -> None:
    """Operator and API server killed at random: every node ends with one range and one route of its own."""
    made, kube, cloud = world
    dice = random.Random(3)
    alive: dict[str, int] = {}
    for step in range(24):
        if alive and dice.random() < 0.3:
            name = dice.choice(sorted(alive))
            await eventually(lambda name=name: _gone(kube, name))
            del alive[name]
        else:
            name = f"n{step}"
            await eventually(lambda name=name, step=step: _made(kube, name, step + 4))
            alive[name] = step + 4
        await asyncio.sleep(dice.random() * 0.2)
        if dice.random() < 0.4:
            made.kill("operator")
            made.start_operator()
        if dice.random() < 0.15:
            made.kill("api")
            made.start_api()

    async def settled() -> bool:
        nodes, ranges, routes = await state(kube, cloud)
        return nodes == set(alive) == set(ranges) == set(routes)

    await eventually(settled, 60)
    _, ranges, routes = await state(kube, cloud)
    assert len(set(ranges.values())) == len(ranges)
    assert routes == {name: [range_] for name, range_ in ranges.items()}


@pytest.mark.timeout(60)
async def test_a_route_removed_in_the_cloud_is_back(world: tuple[World, KubeClient, CloudClient]) -> None:
    """Drift of the cloud's side is repaired within two seconds of being told."""
    _, kube, cloud = world
    await eventually(lambda: _made(kube, "n1", 4))

    async def routed() -> bool:
        return "n1" in (await state(kube, cloud))[2]

    await eventually(routed)
    await cloud.delete(f"{DOMAIN}/routes/n1")
    await eventually(routed, 2)


async def _made(kube: KubeClient, name: str, number: int) -> bool:
    await add_node(kube, name, number)
    return True


async def _gone(kube: KubeClient, name: str) -> bool:
    try:
        await kube.delete(NODES, name)
    except KubeError as error:
        if not error.not_found:
            raise
    return True


@pytest.mark.timeout(90)
async def test_exhaustion_is_shown(world: tuple[World, KubeClient, CloudClient]) -> None:
    """PLAN-03: with one node too many, its object says Error and an event names it; the others are served."""
    _, kube, cloud = world
    for number in range(33):
        await eventually(lambda number=number: _made(kube, f"n{number}", number + 4))

    async def shown() -> bool:
        objects, _ = await kube.list(NNCS, NAMESPACE)
        states = [obj.get("status", {}).get("status") for obj in objects]
        events, _ = await kube.list(EVENTS, "default")
        return sorted(map(str, states)) == ["Error"] + ["Updated"] * 32 and len(events) == 1

    await eventually(shown, 30)
    assert len(await cloud.list(f"{DOMAIN}/routes")) == 32
