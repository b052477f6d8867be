"""CNI as a table: version x verb x what is missing or wrong x the error code that answers it (0: success).

The codes are those of the specification's "Error" section; every case is one invocation of a node in memory.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from agentkit import MemoryNode, frame
from podloom.model.cni import SPEC_VERSIONS, at_least
from podloom.render.relay import Frame

EVERY = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
ATTACHING = ("ADD", "CHECK")
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
GOOD_ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"

# what is changed in an otherwise good invocation: environment, configuration (None removes), and the codes by verb
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, int]]] = {
    "nothing": ({}, {}, {}),
    "no container id": ({"CNI_CONTAINERID": None}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "odd container id": ({"CNI_CONTAINERID": "-x"}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "path as container id": ({"CNI_CONTAINERID": "a/../b"}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "no interface name": ({"CNI_IFNAME": None}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "long interface name": ({"CNI_IFNAME": "sixteen-letters-"}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "interface name with blank": ({"CNI_IFNAME": "a b"}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "interface name ..": ({"CNI_IFNAME": ".."}, {}, {"ADD": 4, "DEL": 4, "CHECK": 4}),
    "no namespace": ({"CNI_NETNS": None}, {}, {"ADD": 4, "CHECK": 4}),
    "namespace gone": ({"CNI_NETNS": "/run/netns/gone"}, {}, {"ADD": 3, "CHECK": 3}),
    "no path": ({"CNI_PATH": None}, {}, {}),
    "no args": ({"CNI_ARGS": None}, {}, {"CHECK": 0}),
    "malformed args": ({"CNI_ARGS": "rubbish"}, {}, {"ADD": 4, "CHECK": 4}),
    "unknown arg": ({"CNI_ARGS": "COLOUR=red"}, {}, {"ADD": 4, "CHECK": 4}),
    "unknown arg ignored": ({"CNI_ARGS": f"{GOOD_ARGS};COLOUR=red"}, {}, {}),
    "odd pod name": ({"CNI_ARGS": "K8S_POD_NAME=w$b"}, {}, {"ADD": 4, "CHECK": 4}),
    "no version is 0.1.0": ({}, {"cniVersion": None}, {"CHECK": 1, "GC": 1, "STATUS": 1}),
    "unknown version": ({}, {"cniVersion": "7.0.0"}, dict.fromkeys(("ADD", "DEL", "CHECK", "GC", "STATUS"), 1)),
    "no network name": ({}, {"name": None}, dict.fromkeys(("ADD", "DEL", "CHECK", "GC", "STATUS"), 7)),
    "odd network name": ({}, {"name": "a:b"}, dict.fromkeys(("ADD", "DEL", "CHECK", "GC", "STATUS"), 7)),
    "no prevResult": ({}, {"prevResult": None}, {"CHECK": 7}),
    "malformed prevResult": ({}, {"prevResult": {"ips": [5]}}, {"CHECK": 7}),
    "another's address": ({}, {"prevResult": {"ips": [{"address": "192.168.1.77/32"}]}}, {"CHECK": 7}),
    "prevResult without address": ({}, {"prevResult": {"ips": [], "dns": {}}}, {"CHECK": 7}),
    "no list of attachments": ({}, {"cni.dev/valid-attachments": None}, {"GC": 7}),
    "malformed list": ({}, {"cni.dev/valid-attachments": [5]}, {"GC": 7}),
    "mode bridge": ({}, {"mode": "bridge"}, {"ADD": 2}),
    "mac asked for": ({}, {"runtimeConfig": {"mac": "02:00:00:00:00:01"}}, {"ADD": 2, "CHECK": 2}),
    "bandwidth asked for": ({}, {"runtimeConfig": {"bandwidth": {"ingressRate": 5}}}, {"ADD": 2, "CHECK": 2}),
    "port mappings": ({}, {"runtimeConfig": {"portMappings": [{"hostPort": 1}]}}, {}),
    "malformed runtimeConfig": ({}, {"runtimeConfig": 5}, {"ADD": 7, "CHECK": 7}),
    "address out of range": ({}, {"runtimeConfig": {"ips": ["10.0.0.1"]}}, {"ADD": 7}),
    "not JSON": ({}, {"": None}, dict.fromkeys(EVERY, 6)),
}


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    made = MemoryNode()
    yield made
    made.close()


def _changed(whole: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**whole, **change}.items() if value is not None}


async def _previous(node: MemoryNode, version: str) -> dict[str, Any]:
    """Attach container `c1` for CHECK; the result in the asked version."""
    node.netns("c1")
    code, body = await node.call("ADD", "c1", version=version)
    assert code == 0, body
    return body


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", EVERY)
@pytest.mark.parametrize("version", SPEC_VERSIONS)
async def test_conformance(node: MemoryNode, version: str, command: str, case: str) -> None:
    """Each cell of the table answers with its code, in its version, and an error changes nothing."""
    environment, configuration, codes = CASES[case]
    expected = codes.get(command, 0)
    if case not in ("unknown version", "not JSON") and not at_least(version, SINCE.get(command, "0.1.0")):
        expected = 1
    config: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    config["prevResult"] = await _previous(node, version) if command == "CHECK" else None
    node.netns("c1")
    request = frame(command, "c1", version=version, config=config)
    whole = {**request.environment, "CNI_PATH": "/opt/cni/bin"}
    stdin = orjson.dumps(_changed(orjson.loads(request.stdin), configuration)) if case != "not JSON" else b"{"
    before = node.table(), dict(node.book.leases)
    code, body = await node.verbs.answer(Frame(_changed(whole, environment), stdin))
    answer = orjson.loads(body) if body else {}
    assert (answer.get("code", 0), code) == (expected, int(expected > 0)), answer
    if expected:
        assert (node.table(), node.book.leases) == before
        assert answer["msg"] and answer["details"]
        known = case not in ("unknown version", "not JSON", "no version is 0.1.0")
        assert answer["cniVersion"] == (version if known else "1.0.0")
    elif command == "ADD":
        assert answer["cniVersion"] == ("0.1.0" if case == "no version is 0.1.0" else version)
        assert ("ip4" in answer) != ("ips" in answer)


@pytest.mark.parametrize("version", SPEC_VERSIONS)
async def test_whole_life_in_every_version(node: MemoryNode, version: str) -> None:
    """ADD, CHECK with ADD's own result, a second ADD refused, DEL with and without namespace, DEL again."""
    previous = await _previous(node, version)
    if at_least(version, "0.4.0"):
        assert await node.call("CHECK", "c1", version=version, config={"prevResult": previous}) == (0, {})
    assert (await node.call("ADD", "c1", version=version))[1]["code"] == 7
    assert await node.call("DEL", "c1", version=version, config={"prevResult": previous}) == (0, {})
    assert await node.call("DEL", "c1", version=version, netns="") == (0, {})
    assert node.table() == [] and node.book.leases == {}


async def test_check_compares_the_interface(node: MemoryNode) -> None:
    """CHECK with another MAC address, another interface, or in another namespace is refused."""
    previous = await _previous(node, "1.0.0")
    interfaces = previous["interfaces"]
    other_mac = [interfaces[0], {**interfaces[1], "mac": "02:00:00:00:00:01"}]
    other_name = [interfaces[0], {**interfaces[1], "name": "eth1"}]
    for wrong in (other_mac, other_name, interfaces[:1]):
        code, body = await node.call("CHECK", "c1", config={"prevResult": {**previous, "interfaces": wrong}})
        assert (code, body["code"]) == (1, 7)
    other = node.netns("other")
    assert (await node.call("CHECK", "c1", netns=other, config={"prevResult": previous}))[1]["code"] == 7
    assert (await node.call("CHECK", "c1", config={"prevResult": previous}))[0] == 0


async def test_requested_address(node: MemoryNode) -> None:
    """An address asked for is given, by runtimeConfig or CNI_ARGS; one in use is error 11, and the others go on."""
    asked = {"runtimeConfig": {"ips": ["192.168.1.77/24"]}}
    assert await node.add("c1", "a", config=asked) == "192.168.1.77"
    node.netns("c2")
    code, body = await node.call("ADD", "c2", "b", config=asked)
    assert (code, body["code"]) == (1, 11) and "192.168.1.77" in body["msg"]
    assert await node.add("c2", "b") == "192.168.1.1"
    await node.call("DEL", "c1")
    assert await node.add("c3", "c", config=asked) == "192.168.1.77"
    for edge in ("192.168.1.0", "192.168.1.255", "192.168.2.1"):
        node.netns("c4")
        refused = await node.call("ADD", "c4", "d", config={"runtimeConfig": {"ips": [edge]}})
        assert refused[1]["code"] == 7


async def test_dns_reaches_the_result(node: MemoryNode) -> None:
    """runtimeConfig.dns stands in the result in place of the configuration's."""
    node.netns("c1")
    asked = {"dns": {"nameservers": ["10.0.0.10"]}, "runtimeConfig": {"dns": {"searches": ["svc.cluster.local"]}}}
    _, body = await node.call("ADD", "c1", config=asked)
    assert body["dns"] == {"nameservers": ["10.0.0.10"], "search": ["svc.cluster.local"]}


async def test_the_node_s_own_namespace_is_refused(node: MemoryNode) -> None:
    """CNI_NETNS that is the node's own namespace is error 8."""
    own = node.netns("own")
    node.pods._netns_identity = lambda path: "" if path == own else path
    code, body = await node.call("ADD", "c1", netns=own)
    assert (code, body["code"]) == (1, 8) and node.book.leases == {}


async def test_two_adds_race_for_one_container(node: MemoryNode) -> None:
    """One of two ADDs of a container wins, whatever pod each names; nothing of the other is left."""
    node.netns("c1")
    for pods in (("web", "web"), ("web", "db")):
        answers = await asyncio.gather(*(node.call("ADD", "c1", pod) for pod in pods))
        assert sorted(code for code, _ in answers) == [0, 1]
        assert len(node.book.leases) == 1 and sum("link " in line for line in node.table()) == 1
        assert (await node.call("DEL", "c1"))[0] == 0
        assert node.table() == [] and node.book.leases == {}


async def test_del_right_after_add_leaves_nothing(node: MemoryNode) -> None:
    """A DEL that arrives while the ADD is in work takes effect after it, whatever the order of pod names."""
    node.netns("c1")
    tasks = [asyncio.create_task(node.call(command, "c1")) for command in ("ADD", "DEL", "DEL")]
    assert [code for code, _ in await asyncio.gather(*tasks)] == [0, 0, 0]
    assert node.table() == [] and node.book.leases == {}


async def test_del_before_add_and_interfaces_side_by_side(node: MemoryNode) -> None:
    """A DEL that comes first spoils nothing; one container may have several interfaces, each by itself."""
    assert await node.call("DEL", "c1") == (0, {})
    addresses = {await node.add("c1", ifname=name) for name in ("eth0", "eth1")}
    assert len(addresses) == 2
    await node.call("DEL", "c1", ifname="eth0")
    assert [x.ifname for x in node.book.leases] == ["eth1"]


@pytest.mark.parametrize("plugin", ["azure-ipam", "azure-vnet-ipam"])
@pytest.mark.parametrize("version", SPEC_VERSIONS)
async def test_delegated_ipam(node: MemoryNode, version: str, plugin: str) -> None:
    """As an IPAM plugin: an address, no interface, the same again, one book with azure-vnet, DEL twice, GC."""

    async def call(command: str, container: str, **more: Any) -> tuple[int, Any]:
        request = frame(command, container, version=more.pop("version", version), **more)
        code, body = await node.verbs.answer(Frame({**request.environment, "PODLOOM_PLUGIN": plugin}, request.stdin))
        return code, orjson.loads(body) if body else {}

    node.netns("c1")
    first = await call("ADD", "c1")
    assert first[0] == 0 and "interfaces" not in first[1] and await call("ADD", "c1") == first
    assert node.table() == [] and node.pods.prune() == 0
    assert await node.add("c2", "db") == "192.168.1.2"
    given = first[1]["ips"][0]["address"] if "ips" in first[1] else first[1]["ip4"]["ip"]
    assert given == "192.168.1.1/32"
    assert (await node.call("ADD", "c1"))[1]["code"] == 7, "azure-vnet does not take what another plugin holds"
    assert (await node.call("DEL", "c1"))[0] == 0 and len(node.book.leases) == 2
    check = {"prevResult": {"ips": [{"address": given}]}}
    assert (await call("CHECK", "c1", version="1.0.0", config=check))[0] == 0
    assert (await call("CHECK", "c2", version="1.0.0", config=check))[1]["code"] == 3
    assert (await call("DEL", "c2"))[0] == 0 and len(node.book.leases) == 2
    assert (await call("GC", "", version="1.1.0", config={"cni.dev/valid-attachments": []}))[0] == 0
    assert [x.container_id for x in node.book.leases] == ["c2"]
    assert await call("DEL", "c1", netns="") == (0, {})


async def test_container_without_a_pod_is_not_kubernetes_s(node: MemoryNode) -> None:
    """Without CNI_ARGS the container's id names the attachment, and two such containers do not meet."""
    for container in ("c1", "c2"):
        node.netns(container)
        request = frame("ADD", container)
        code, _ = await node.verbs.answer(Frame({**request.environment, "CNI_ARGS": ""}, request.stdin))
        assert code == 0
    assert {lease.pod for lease in node.book.leases.values()} == {"c1", "c2"}
    assert sum("link " in line for line in node.table()) == 2


async def test_del_waits_for_an_add_that_waits_for_kept_dels(node: MemoryNode) -> None:
    """An ADD works off kept DELs first (one of its own container too); a DEL that comes meanwhile waits for it."""
    go = asyncio.Event()

    async def drain() -> None:
        await go.wait()
        assert (await node.verbs.answer(frame("DEL", "c1"), in_order=False))[0] == 0

    node.verbs._before_add = drain
    node.netns("c1")
    adding = asyncio.create_task(node.call("ADD", "c1"))
    await asyncio.sleep(0)
    deleting = asyncio.create_task(node.call("DEL", "c1"))
    await asyncio.sleep(0.01)
    assert not deleting.done()
    go.set()
    assert (await asyncio.wait_for(adding, 2))[0] == 0 and await asyncio.wait_for(deleting, 2) == (0, {})
    assert node.table() == [] and node.book.leases == {}
