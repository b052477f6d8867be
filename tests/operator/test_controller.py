"""The operator against an API server in memory."""

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from podloom.drivers.kube.fake import FakeKube
from podloom.drivers.kube.faulty import FaultyKube
from podloom.model.errors import Unavailable
from podloom.model.kube import EVENTS, LEASES, NNCS, NODES, PODS
from podloom.model.nnc import NAMESPACE, parse_nnc
from podloom.operator.controller import Controller
from podloom.operator.leader import Leader
from podloom.operator.routes import Routes

CIDR = (ip_network("192.168.0.0/22"),)


class FakeCloud:
    """Route children by identifier; `down` makes every call fail."""

    def __init__(self) -> None:
        self.routes: dict[str, dict[str, Any]] = {}
        self.down = False
        self.state = "Succeeded"

    async def list(self, path: str) -> list[dict[str, Any]]:
        self._check()
        return list(self.routes.values())

    async def put(self, id: str, body: dict[str, Any], wait: bool = False) -> dict[str, Any]:
        self._check()
        properties = {**body["properties"], "provisioningState": self.state}
        self.routes[id] = {"id": id, "name": id.rpartition("/")[2], "properties": properties}
        return self.routes[id]

    async def delete(self, id: str, wait: bool = False) -> None:
        self._check()
        self.routes.pop(id, None)

    def _check(self) -> None:
        if self.down:
            raise Unavailable("call the cloud", "down")

    def view(self) -> dict[str, tuple[Any, str]]:
        return {
            r["name"]: (r["properties"]["addressPrefixes"], r["properties"]["nextHopIpAddress"])
            for r in self.routes.values()
        }


def node(name: str, address: str = "10.224.0.4", **spec: Any) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": address}] if address else []
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{name[-1]}Z"},
        "spec": spec,
        "status": {"addresses": addresses},
    }


@asynccontextmanager
async def operator(kube: FakeKube, cloud: FakeCloud | None = None, clock: list[float] | None = None, who: str = "a"):
    """A running operator; `pass_()` runs until the view has settled."""
    time = clock or [0.0]
    routes = Routes(cloud, "/domain") if cloud else None
    controller = Controller(kube, CIDR, routes, Leader(kube, who), release_after_s=10.0, now=lambda: time[0])
    tasks = [asyncio.create_task(informer.run()) for informer in controller.informers()]
    for informer in controller.informers():
        await asyncio.wait_for(informer.synced.wait(), 5)

    async def pass_() -> bool:
        done = False
        for _ in range(3):
            await asyncio.sleep(0.01)
            done = await controller.run_once()
        await asyncio.sleep(0.01)
        return done

    try:
        yield pass_
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ranges(kube: FakeKube) -> dict[str, list[str]]:
    found = {}
    for obj in kube.all(NNCS):
        network = parse_nnc(obj)
        found[obj["metadata"]["name"]] = [str(r) for r in network.ranges] if network else []
    return found


async def test_every_node_gets_range_podcidr_and_route() -> None:
    """OVL-02: an object with the lowest free /24, node.spec.podCIDR, the cloud's route, then status Updated."""
    kube, cloud = FakeKube(), FakeCloud()
    kube.put(NODES, node("n1", "10.224.0.4"))
    kube.put(NODES, node("n2", "10.224.0.5"))
    async with operator(kube, cloud) as pass_:
        assert await pass_()
    assert ranges(kube) == {"n1": ["192.168.0.0/24"], "n2": ["192.168.1.0/24"]}
    assert kube.peek(NODES, "n2")["spec"] == {"podCIDR": "192.168.1.0/24", "podCIDRs": ["192.168.1.0/24"]}
    assert cloud.view()["n1"] == (["192.168.0.0/24"], "10.224.0.4")
    status = kube.peek(NNCS, "n1", NAMESPACE)["status"]
    assert status["status"] == "Updated"
    container = status["networkContainers"][0]
    assert (container["type"], container["assignmentMode"], container["nodeIP"]) == ("overlay", "static", "10.224.0.4")
    assert container["subnetAddressSpace"] == "192.168.0.0/22"


async def test_second_run_changes_nothing() -> None:
    """Applied twice is applied once, also by a fresh operator."""
    kube, cloud = FakeKube(), FakeCloud()
    kube.put(NODES, node("n1"))
    async with operator(kube, cloud) as pass_:
        await pass_()
    kube.calls.clear()
    async with operator(kube, cloud) as pass_:
        assert await pass_()
    assert [call for call in kube.calls if call[1] != LEASES.plural] == []


async def test_status_waits_for_address_and_route() -> None:
    """The agent must not serve before the cloud carries the range: status Updating says what is missing."""
    kube, cloud = FakeKube(), FakeCloud()
    kube.put(NODES, node("n1", ""))
    async with operator(kube, cloud) as pass_:
        assert not await pass_()
        assert kube.peek(NNCS, "n1", NAMESPACE)["status"]["message"] == "the node has no address yet"
        kube.put(NODES, node("n1", "10.224.0.9"))
        cloud.down = True
        assert not await pass_()
        assert kube.peek(NNCS, "n1", NAMESPACE)["status"]["status"] == "Updating"
        cloud.down = False
        assert await pass_()
    assert kube.peek(NNCS, "n1", NAMESPACE)["status"]["status"] == "Updated"


async def test_exhaustion_is_reported_and_ends() -> None:
    """PLAN-03: the node without a range gets status Error and an event; when one is free it gets that."""
    kube, clock = FakeKube(), [0.0]
    for number in range(1, 6):
        kube.put(NODES, node(f"n{number}"))
    async with operator(kube, clock=clock) as pass_:
        await pass_()
        status = kube.peek(NNCS, "n5", NAMESPACE)["status"]
        assert status["status"] == "Error" and "192.168.0.0/22" in status["message"]
        events = kube.all(EVENTS)
        assert [e["reason"] for e in events] == ["CIDRNotAvailable"]
        await kube.delete(NODES, "n2")
        await pass_()
        clock[0] = 11.0
        await pass_()
    assert ranges(kube)["n5"] == ["192.168.1.0/24"]


async def test_range_is_kept_over_flaps_and_while_pods_remain() -> None:
    """A node that comes back has its old range; a range with pods bound to its node is not released."""
    kube, cloud, clock = FakeKube(), FakeCloud(), [0.0]
    for name in ("n1", "n2"):
        kube.put(NODES, node(name))
    kube.put(PODS, {"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n1"}})
    async with operator(kube, cloud, clock) as pass_:
        await pass_()
        await kube.delete(NODES, "n1")
        await pass_()
        clock[0] = 100.0
        await pass_()
        assert ranges(kube)["n1"] == ["192.168.0.0/24"], "a pod is bound to it"
        kube.put(NODES, node("n1", "10.224.0.8"))
        await pass_()
        assert ranges(kube)["n1"] == ["192.168.0.0/24"]
        assert cloud.view()["n1"] == (["192.168.0.0/24"], "10.224.0.8"), "the node's new address"
        await kube.delete(NODES, "n1")
        await kube.delete(PODS, "p", "d", grace_period_s=0)
        await pass_()
        assert "n1" in ranges(kube), "not at once"
        clock[0] = 200.0
        await pass_()
        assert "n1" not in ranges(kube) and "n1" not in cloud.view()
        kube.put(NODES, node("n3"))
        await pass_()
    assert ranges(kube)["n3"] == ["192.168.0.0/24"]


async def test_deleted_object_comes_back_with_the_same_range() -> None:
    """An NNC deleted by hand is made anew with the node's range, not with another."""
    kube = FakeKube()
    for name in ("n1", "n2", "n3"):
        kube.put(NODES, node(name))
    async with operator(kube) as pass_:
        await pass_()
        await kube.delete(NNCS, "n2", NAMESPACE)
        await kube.delete(NNCS, "n1", NAMESPACE)
        await pass_()
    assert ranges(kube) == {"n1": ["192.168.0.0/24"], "n2": ["192.168.1.0/24"], "n3": ["192.168.2.0/24"]}


async def test_routes_of_unknown_nodes_go() -> None:
    """A route whose node has neither a Node nor a claim is a leftover."""
    kube, cloud = FakeKube(), FakeCloud()
    await cloud.put("/domain/routes/old", {"properties": {"addressPrefixes": [], "nextHopIpAddress": "1.2.3.4"}})
    kube.put(NODES, node("n1"))
    async with operator(kube, cloud) as pass_:
        await pass_()
    assert set(cloud.view()) == {"n1"}


async def test_only_the_leader_writes() -> None:
    """A second operator does nothing while the first one's lease lasts."""
    kube = FakeKube()
    async with operator(kube) as pass_:
        await pass_()
    kube.put(NODES, node("n1"))
    async with operator(kube, who="b") as pass_:
        assert not await pass_()
    assert ranges(kube) == {}
    async with operator(kube, who="a") as pass_:
        assert await pass_()


@pytest.mark.parametrize("seed", range(5))
async def test_failing_calls_and_crashes_give_no_range_twice(seed: int) -> None:
    """A tenth of all calls fail and the operator is stopped at random: every node ends with one range of its own."""

    kube = FakeKube()
    for number in range(1, 5):
        kube.put(NODES, node(f"n{number}"))
    for round_ in range(12):
        faulty = FaultyKube(kube, seed=seed * 100 + round_)
        try:
            async with asyncio.timeout(3), operator(faulty) as pass_:  # type: ignore[arg-type]
                await pass_()
        except (Unavailable, TimeoutError):
            continue
    async with operator(kube) as pass_:
        assert await pass_()
    given = ranges(kube)
    assert len(given) == 4 and len({tuple(r) for r in given.values()}) == 4
