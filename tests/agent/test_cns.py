"""The node agent's HTTP API: what clients of the real one send and read, over real HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from agentkit import MemoryNode
from podloom.agent.cns import CnsApi
from podloom.agent.collector import Collector
from podloom.drivers.store.lease import LeaseStore
from podloom.model.cns import HostFacts
from podloom.model.nnc import NodeNetwork
from podloom.model.rows import Kind, Veth
from podloom.plan.endpoint import host_ifname

GOLDEN = Path(__file__).with_name("cns_golden.txt")
NETWORK = NodeNetwork("node", (ip_network("192.168.1.0/24"),), (ip_network("192.168.0.0/16"),), container_id="nc-1")
HOST = HostFacts("10.224.0.4", "10.224.0.1", "10.224.0.0/16", "nc-1")


class Cns:
    """A node in memory behind real HTTP."""

    def __init__(self, node: MemoryNode) -> None:
        self.node = node
        self.network: NodeNetwork | None = NETWORK
        self.api = CnsApi(
            node.book,
            node.verbs.addresses,
            trouble=lambda: node.trouble,
            network=lambda: self.network,
            host=lambda: HOST,
        )
        self.client = TestClient(TestServer(self.api.application()))

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else None
        async with self.client.request(method, path, data=data) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def request(self, container: str, pod: str = "web", **more: Any) -> Any:
        return (await self.call("POST", "/network/requestipconfigs", body_of(container, pod, **more)))[1]

    async def release(self, container: str, pod: str = "web", **more: Any) -> Any:
        return (await self.call("POST", "/network/releaseipconfigs", body_of(container, pod, **more)))[1]


def body_of(container: str, pod: str = "web", **more: Any) -> dict[str, Any]:
    """A request as azure-vnet and azure-ipam send it."""
    return {
        "desiredIPAddresses": None,
        "podInterfaceID": f"{container[:8]}-eth0",
        "infraContainerID": container,
        "orchestratorContext": {"PodName": pod, "PodNamespace": "default"},
        "ifname": "eth0",
        "secondaryInterfacesExist": False,
        **more,
    }


def address(answer: Any) -> str:
    return str(answer["podIPInfo"][0]["PodIPConfig"]["IPAddress"])


@pytest.fixture
async def cns() -> AsyncIterator[Cns]:
    node = MemoryNode()
    made = Cns(node)
    async with made.client:
        yield made
    node.close()


async def test_request_and_answer_are_the_golden(cns: Cns) -> None:
    """Every call's status, names and nesting are those of the golden file (delete the file to write it anew)."""
    container = "0123456789abcdef"
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/network/requestipconfigs", body_of(container)),
        ("POST", "/network/requestipconfigs", body_of(container)),
        ("PATCH", f"/network/endpoints/{container}", {"eth0": {"HostVethName": "azv1", "hnsEndpointID": "h"}}),
        ("GET", f"/network/endpoints/{container}", None),
        ("GET", "/debug/podcontext", None),
        ("POST", "/debug/ipaddresses", {"IPConfigStateFilter": ["Assigned"]}),
        ("POST", "/network/releaseipconfigs", body_of(container)),
        ("POST", "/network/releaseipconfigs", body_of(container)),
        ("GET", f"/network/endpoints/{container}", None),
        ("POST", "/network/requestipconfig", {**body_of("feed"), "DesiredIPAddress": "192.168.1.9"}),
        ("POST", "/network/requestipconfigs", body_of("beef", desiredIPAddresses=["192.168.1.9"])),
        ("POST", "/network/releaseipconfig", body_of("feed")),
        ("POST", "/network/nmagentsupportedapis", {"GetNmAgentSupportedApisURL": ""}),
        ("POST", "/network/requestipconfigs", b"{"),
        ("POST", "/network/create", {}),
    ]
    lines = []
    for method, path, body in calls:
        status, answer = await cns.call(method, path, body)
        sent = body.decode() if isinstance(body, bytes) else orjson.dumps(body).decode() if body is not None else ""
        text = orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode()
        lines += [f"> {method} {path} {sent}".rstrip(), f"< {status}", text, ""]
    found = re.sub(r'"LastStateTransition": "[^"]+"', '"LastStateTransition": "<time>"', "\n".join(lines))
    if not GOLDEN.exists():
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


async def test_idempotent_per_pod_key(cns: Cns) -> None:
    """The same key gets the same address, also at once and after a restart; another key another address."""
    answers = await asyncio.gather(*(cns.request("c1") for _ in range(5)))
    assert len({address(item) for item in answers}) == 1 and len(cns.node.book.leases) == 1
    again = CnsApi(cns.node.book, cns.node.verbs.addresses, trouble=str, network=lambda: NETWORK, host=lambda: HOST)
    async with (
        TestClient(TestServer(again.application())) as client,
        client.post("/network/requestipconfigs", json=body_of("c1")) as answer,
    ):
        assert address(await answer.json()) == address(answers[0])
    assert address(await cns.request("c2")) != address(answers[0])
    assert address(await cns.request("c1", ifname="eth1")) != address(answers[0])


async def test_names_in_any_case_and_texts_for_contexts(cns: Cns) -> None:
    """Go writes names in several cases and orchestratorContext sometimes as a text; each is read."""
    body = {
        "PODINTERFACEID": "x-eth0",
        "InfraContainerID": "c1",
        "OrchestratorContext": '{"PodName":"web","PodNamespace":"default"}',
    }
    _, answer = await cns.call("POST", "/v0.2/network/requestipconfigs", body)
    assert answer["response"]["ReturnCode"] == 0
    (lease,) = cns.node.book.leases.values()
    assert (lease.pod, lease.attachment.ifname) == ("default/web", "eth0")


async def test_plugin_and_api_never_give_one_address_twice(cns: Cns) -> None:
    """ADDs by the plugin and requests over HTTP, mixed and at once, hold distinct addresses."""
    for number in range(20):
        cns.node.netns(f"p{number}")
    by_plugin = [cns.node.call("ADD", f"p{n}", f"p{n}") for n in range(20)]
    by_http = [cns.request(f"h{n}", f"h{n}") for n in range(20)]
    answers = await asyncio.gather(*by_plugin, *by_http)
    given = [a[1]["ips"][0]["address"].partition("/")[0] for a in answers[:20]] + [address(a) for a in answers[20:]]
    assert len(set(given)) == 40
    assert address(await cns.request("p3", "p3")) == given[3], "the plugin's pod asks by HTTP: its own address"
    assert (await cns.release("p3", "p3"))["response"]["ReturnCode"] == 0
    assert len(cns.node.book.leases) == 40, "what the plugin attached ends by its DEL only"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"infraContainerID": "../x"}, 2),
        ({"infraContainerID": 5}, 2),
        ({"infraContainerID": "", "podInterfaceID": "", "orchestratorContext": None}, 2),
        ({"orchestratorContext": 5}, 2),
        ({"orchestratorContext": {"PodName": "w$b"}}, 2),
        ({"ifname": "a/b"}, 2),
        ({"desiredIPAddresses": ["fish"]}, 2),
        ({"desiredIPAddresses": 5}, 2),
        ({"desiredIPAddresses": ["10.0.0.1"]}, 15),
        ({"desiredIPAddresses": ["192.168.1.255"]}, 15),
    ],
)
async def test_refusals(cns: Cns, change: dict[str, Any], code: int) -> None:
    """Each mistake has its ReturnCode with a message that names it, and leases nothing."""
    answer = await cns.request("c1", **change)
    assert answer["response"]["ReturnCode"] == code and answer["response"]["Message"]
    assert not cns.node.book.leases


async def test_refusals_of_the_node(cns: Cns) -> None:
    """No NodeNetworkConfig is 18, not ready or full is 32; unknown states, paths and verbs are 2 and 43."""
    cns.network, cns.node.trouble = None, "node has no NodeNetworkConfig yet"
    assert (await cns.request("c1"))["response"]["ReturnCode"] == 18
    cns.network = NETWORK
    assert (await cns.request("c1"))["response"]["ReturnCode"] == 32
    cns.node.trouble = ""
    for number in range(254):
        assert (await cns.request(f"c{number}"))["response"]["ReturnCode"] == 0
    assert (await cns.request("more"))["response"]["ReturnCode"] == 32
    assert (await cns.call("POST", "/debug/ipaddresses", {"IPConfigStateFilter": ["Sold"]}))[1]["ReturnCode"] == 2
    for method, path in (("GET", "/network/requestipconfigs"), ("GET", "/nothing")):
        assert (await cns.call(method, path))[1]["ReturnCode"] == 43
    status, answer = await cns.call("POST", "/network/requestipconfigs", b" " * (1 << 17))
    assert status == 400 and answer["ReturnCode"] == 2


async def test_endpoints_last(tmp_path: Path) -> None:
    """What a client recorded survives a restart, and goes with the address."""
    with LeaseStore(tmp_path / "agent.db") as store:
        first = Cns(MemoryNode(store))
        async with first.client:
            await first.request("c1")
            assert (await first.call("PATCH", "/network/endpoints/c1", {"eth0": {"HostVethName": "azv9"}}))[0] == 200
            assert (await first.call("PATCH", "/network/endpoints/c2", {"eth0": {}}))[0] == 404
            assert (await first.call("PATCH", "/network/endpoints/c1", [5]))[1]["ReturnCode"] == 2
        second = Cns(MemoryNode(store))
        async with second.client:
            _, answer = await second.call("GET", "/network/endpoints/c1")
            assert answer["endpointInfo"]["IfnameToIPMap"]["eth0"]["HostVethName"] == "azv9"
            assert (await second.call("DELETE", "/network/endpoints/c1"))[1]["ReturnCode"] == 0
            assert (await second.call("GET", "/network/endpoints/c1"))[1]["response"]["ReturnCode"] == 14
            assert not second.node.book.leases and store.meta("cns.endpoints") == "{}"


async def test_debug_counts_every_address(cns: Cns) -> None:
    """/debug/ipaddresses and /debug/restdata list the whole range by state."""
    await cns.request("c1")
    _, answer = await cns.call("POST", "/debug/ipaddresses")
    states = [item["state"] for item in answer["IPConfigurationStatus"]]
    assert (states.count("Assigned"), states.count("Available")) == (1, 253)
    _, answer = await cns.call("GET", "/debug/restdata")
    assert len(answer["HTTPRestServiceData"]["podIPConfigState"]) == 254


async def test_a_client_s_own_interface_is_left_alone(cns: Cns) -> None:
    """A client names its host interface as we do; it stays while the pod holds an address, and goes after."""
    await cns.request("c1")
    cns.node.world[Kind.LINK]["", host_ifname("default", "web")] = Veth("/run/netns/c1", "eth0")
    assert cns.node.pods.prune() == 0
    await cns.release("c1")
    assert cns.node.pods.prune() == 1


class _Api:
    """An API server that knows one pod."""

    async def list(self, *_: Any, **__: Any) -> tuple[list[dict[str, Any]], str]:
        return [{"metadata": {"uid": "u", "namespace": "default", "name": "web"}}], "1"


async def test_lost_releases_are_collected(cns: Cns) -> None:
    """An address whose pod the API server does not know comes back after two looks; a known pod's stays."""
    await cns.request("c1", "web")
    await cns.request("c2", "gone")
    now = 0.0
    collector = Collector(
        cns.node.pods,
        _Api(),  # type: ignore[arg-type]
        "node",
        interval_s=10,
        netns_exists=lambda path: False,
        empty_netns=set,
        now=lambda: now,
    )
    assert await collector.run_once() == 0
    now = 15.0
    assert await collector.run_once() == 0
    now = 20.0
    assert await collector.run_once() == 1
    assert [lease.pod_name for lease in cns.node.book.leases.values()] == ["web"]
