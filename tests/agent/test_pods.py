"""The verbs over a kernel in memory: attach, detach, two incarnations, faults."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from agentkit import MemoryNode
from podloom.drivers.kernel import FaultyKernel
from podloom.drivers.store.lease import LeaseStore
from podloom.model.rows import Kind, Veth
from podloom.plan.endpoint import host_ifname


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    made = MemoryNode()
    yield made
    made.close()


async def test_add_check_del(node: MemoryNode) -> None:
    """ADD makes the rows, CHECK finds them whole, DEL leaves nothing, a second DEL succeeds."""
    address = await node.add("c1")
    assert address == "192.168.1.1"
    previous = {"cniVersion": "1.1.0", "ips": [{"address": f"{address}/32"}]}
    assert (await node.call("CHECK", "c1", config={"prevResult": previous}))[0] == 0
    assert (await node.call("DEL", "c1"))[0] == 0
    assert node.table() == [] and node.book.leases == {}
    assert (await node.call("DEL", "c1", netns=""))[0] == 0


async def test_check_names_what_differs(node: MemoryNode) -> None:
    """CHECK fails when a row is gone, when prevResult is missing or names another address, or after DEL."""
    address = await node.add("c1")
    good = {"prevResult": {"ips": [{"address": f"{address}/32"}]}}
    assert (await node.call("CHECK", "c1"))[1]["code"] == 7
    assert (await node.call("CHECK", "c1", config={"prevResult": {"ips": [{"address": "1.2.3.4/32"}]}}))[1]["code"] == 7
    node.world[Kind.NEIGHBOUR].clear()
    code, body = await node.call("CHECK", "c1", config=good)
    assert code == 1 and "169.254.1.1" in body["details"]
    await node.call("DEL", "c1")
    assert (await node.call("CHECK", "c1", config=good))[1]["code"] == 3


async def test_second_add_of_a_living_attachment_is_refused(node: MemoryNode) -> None:
    """CNI: an interface that exists already is an error; the first attachment stays as it was."""
    await node.add("c1")
    before = node.table()
    code, body = await node.call("ADD", "c1")
    assert code == 1 and "already" in body["details"]
    assert node.table() == before and len(node.book.leases) == 1


async def test_add_after_a_broken_add_succeeds(node: MemoryNode) -> None:
    """A lease without an interface (an agent killed between the two) does not stand in the way."""
    await node.add("c1")
    for kind in Kind:
        if kind is not Kind.NETNS:
            node.world[kind].clear()
    assert await node.add("c1") == "192.168.1.2"
    assert len(node.book.leases) == 1


async def test_late_del_of_the_old_incarnation_spares_the_new(node: MemoryNode) -> None:
    """DEL(old) after ADD(new) of one pod name: the new one keeps interface and address."""
    old = await node.add("c1", uid="u1")
    new = await node.add("c2", uid="u2")
    assert old != new and len(node.book.leases) == 2
    after_add = [line for line in node.table() if new in line or host_ifname("default", "web") in line]
    assert (await node.call("DEL", "c1"))[0] == 0
    kept = [line for line in node.table() if new in line or host_ifname("default", "web") in line]
    assert kept == [line for line in after_add if old not in line]
    assert [str(x.addresses[0]) for x in node.book.leases.values()] == [new]
    await node.call("DEL", "c2")
    assert [line for line in node.table() if "/run/netns/c1" not in line] == []


async def test_new_sandbox_of_the_same_pod_ends_the_old_lease(node: MemoryNode) -> None:
    """A sandbox made anew (same UID) takes the old one's place: its DEL may have been lost for ever."""
    await node.add("c1", uid="u1")
    await node.add("c2", uid="u1")
    assert [a.container_id for a in node.book.leases] == ["c2"]


async def test_same_uid_of_another_name_is_another_pod(node: MemoryNode) -> None:
    """A UID alone decides nothing (runtimes used by hand may repeat it)."""
    await node.add("c1", "web", uid="u1")
    await node.add("c2", "db", uid="u1")
    assert len(node.book.leases) == 2


async def test_thirty_at_once_share_commits(node: MemoryNode) -> None:
    """Parallel ADDs get distinct addresses in few transactions."""
    addresses = await asyncio.gather(*(node.add(f"c{i}", f"p{i}") for i in range(30)))
    assert len(set(addresses)) == 30 and node.book.commits <= 3


async def test_exhausted_range_and_no_range(node: MemoryNode) -> None:
    """No address left, or none given yet, is error 11 with what to do; nothing is left behind."""
    for number in range(254):
        await node.add(f"c{number}", f"p{number}")
    node.netns("more")
    code, body = await node.call("ADD", "more", "more")
    assert (code, body["code"]) == (1, 11) and "192.168.1.0/24" in body["msg"]
    await node.call("DEL", "c7", "p7")
    assert await node.add("again", "again") == "192.168.1.8"
    node.trouble = "no range yet"
    assert (await node.call("ADD", "c8", "p8"))[1]["code"] == 11
    assert (await node.call("STATUS", "c8"))[1]["code"] == 50


async def test_status_and_version(node: MemoryNode) -> None:
    """STATUS of a node that can serve is empty success; VERSION lists the versions."""
    assert await node.call("STATUS", "c1") == (0, {})
    assert (await node.call("VERSION", "c1"))[1]["supportedVersions"][-1] == "1.1.0"


async def test_gc_keeps_the_listed_attachments_only(node: MemoryNode) -> None:
    """GC ends what is not in the list, and only of its own network."""
    for name in ("a", "b"):
        await node.add(name, name)
    await node.add("c", "c", config={"name": "other"})
    valid = [{"containerID": "a", "ifname": "eth0"}]
    assert (await node.call("GC", "x", config={"cni.dev/valid-attachments": valid}))[0] == 0
    assert sorted(x.container_id for x in node.book.leases) == ["a", "c"]


async def test_missing_namespace_is_error_3(node: MemoryNode) -> None:
    """A container that is gone already gets no lease."""
    code, body = await node.call("ADD", "ghost")
    assert (code, body["code"]) == (1, 3) and node.book.leases == {}


async def test_an_unsupported_mode_is_refused(node: MemoryNode) -> None:
    """A mode this agent does not make is named."""
    node.netns("c1")
    code, body = await node.call("ADD", "c1", config={"mode": "bridge"})
    assert code == 1 and "bridge" in body["details"]


async def test_prune_removes_only_what_nobody_holds(node: MemoryNode) -> None:
    """A tagged link without a lease goes; pods' links stay."""
    await node.add("c1")
    before = node.table()
    node.world[Kind.LINK]["", "azvdeadbeef000"] = Veth("/run/netns/gone", "eth0")
    assert node.pods.prune() == 1
    assert node.table() == before and node.pods.prune() == 0


@pytest.mark.parametrize("seed", range(8))
async def test_churn_with_failing_calls_and_crashes(seed: int) -> None:
    """Random verbs, a tenth of kernel calls failing, the agent replaced now and then: no address twice or lost."""
    dice = random.Random(seed)
    store = LeaseStore(":memory:")
    node = MemoryNode(store, wrap=lambda kernel: FaultyKernel(kernel, seed=dice.randrange(1 << 30)))
    alive: dict[str, str] = {}
    for step in range(80):
        if dice.random() < 0.1:
            node.dataplane.close()
            node = MemoryNode(store, node.world, lambda kernel: FaultyKernel(kernel, seed=dice.randrange(1 << 30)))
        container = f"c{dice.randrange(12)}"
        if container in alive:
            code, _ = await node.call("DEL", container, f"p{container}")
            if code == 0:
                del alive[container]
        else:
            node.netns(container)
            code, body = await node.call("ADD", container, f"p{container}", uid=f"u{step}")
            if code == 0:
                alive[container] = body["ips"][0]["address"]
            else:
                while (await node.call("DEL", container, f"p{container}"))[0]:
                    pass
        assert len(set(alive.values())) == len(alive)
    calm = MemoryNode(store, node.world)
    assert {a.container_id for a in calm.book.leases} == set(alive)
    for container in list(alive):
        assert (await calm.call("DEL", container, f"p{container}"))[0] == 0
    calm.pods.prune()
    assert calm.table() == [] and calm.store.leases() == []
    node.dataplane.close()
    calm.close()
