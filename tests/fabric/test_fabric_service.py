"""The fabric's loop with a cloud of this test and a kernel in memory: wishes in, rows and reports out."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podloom.drivers.arm.api import Change
from podloom.drivers.kernel import FakeKernel, FaultyKernel, Kernel
from podloom.fabric.outbound import OutboundStore
from podloom.fabric.service import Fabric
from podloom.model.errors import Unavailable
from podloom.model.rows import Kind
from podloom.plan.fabric import names
from podloom.plan.fabric.plan import fabric_tag
from podloom.plan.fabric.settings import FabricSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "plan" / "fabric"))
import armdocs as arm

SETTINGS = FabricSettings(tag="tserv")


class FakeCloud:
    """Documents and their change stream; reports are merged in as the cloud does."""

    def __init__(self, documents: list[arm.Json]) -> None:
        self.documents = {str(d["id"]).lower(): d for d in documents}
        self.queue: asyncio.Queue[Change] = asyncio.Queue()
        self.reports: list[tuple[str, Any, int | None]] = []
        self.deaf = 0

    async def changes(self, since: int = 0) -> AsyncIterator[Change]:
        yield Change(0, "", False, marker="snapshot")
        for document in list(self.documents.values()):
            yield Change(1, str(document["id"]), False, str(document["type"]), document)
        yield Change(2, "", False, marker="synced")
        while True:
            yield await self.queue.get()

    async def report(self, id: str, properties_patch: Any, *, generation: int | None = None) -> arm.Json:
        if self.deaf:
            self.deaf -= 1
            raise Unavailable("report", "the cloud is away")
        self.reports.append((id, properties_patch, generation))
        document = self.documents[id.lower()]
        changed = {**document, "properties": {**document["properties"], **properties_patch}}
        self.put(changed)
        return changed

    def put(self, document: arm.Json) -> None:
        self.documents[str(document["id"]).lower()] = document
        self.queue.put_nowait(Change(9, str(document["id"]), False, str(document["type"]), document))

    def remove(self, resource_id: str) -> None:
        document = self.documents.pop(resource_id.lower())
        self.queue.put_nowait(Change(9, resource_id, True, str(document["type"])))

    def states(self) -> dict[str, str]:
        items = [(k, d) for k, d in self.documents.items() if "/routes/" not in k]
        return {k.rsplit("/", 1)[-1]: d["properties"]["provisioningState"] for k, d in items}


class Running:
    """A fabric at work, and how to wait for what it does."""

    def __init__(self, cloud: FakeCloud, folder: Path, kernel: Kernel | None = None) -> None:
        self.world = FakeKernel(fabric_tag(SETTINGS.tag))
        store = OutboundStore(folder)
        self.fabric = Fabric(cloud, kernel or self.world, SETTINGS, store, watch_kernel=False, pace_s=0.001)

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self.fabric.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                assert not self.task.done(), self.task.exception()
                await asyncio.sleep(0.002)


REALISED = ("v1", "v2", "a1", "a2", "b1", "b2", "c", "z", "da", "db")


async def test_wishes_become_rows_and_reports(tmp_path: Path) -> None:
    """Networks, NICs and domains are realised and reported with their generation; others are not reported."""
    cloud = FakeCloud(arm.two_overlays())
    async with Running(cloud, tmp_path) as running:
        await running.until(lambda: all(cloud.states()[name] == "Succeeded" for name in REALISED))
        assert {generation for _, _, generation in cloud.reports} == {1}
        assert len(cloud.reports) == len(REALISED)
        assert (names.vm_netns(SETTINGS.tag, arm.nic_id("a1")),) in running.world.world[Kind.NETNS]


async def test_changes_are_followed(tmp_path: Path) -> None:
    """A new NIC appears, a deleted one goes, the rest stays."""
    cloud = FakeCloud(arm.two_overlays())
    async with Running(cloud, tmp_path) as running:
        await running.until(lambda: cloud.states()["db"] == "Succeeded")
        cloud.put(arm.nic("new", "v1", "aks", "10.224.0.99"))
        await running.until(lambda: cloud.states()["new"] == "Succeeded")
        before = dict(running.world.world[Kind.NETNS])
        cloud.remove(arm.nic_id("new"))
        gone = (names.vm_netns(SETTINGS.tag, arm.nic_id("new")),)
        await running.until(lambda: gone not in running.world.world[Kind.NETNS])
        assert set(before) - set(running.world.world[Kind.NETNS]) == {gone}


async def test_mistakes_are_reported_with_their_reason(tmp_path: Path) -> None:
    """A NIC without a network fails with ARM's code and succeeds when the network comes."""
    cloud = FakeCloud([arm.nic("early", "late", "s", "10.9.0.4")])
    async with Running(cloud, tmp_path) as running:
        await running.until(lambda: cloud.states()["early"] == "Failed")
        error = cloud.reports[0][1]["error"]
        assert error["code"] == "ValidationError"
        assert "virtualnetworks/late" in error["message"]
        cloud.put(arm.vnet("late", "10.9.0.0/16", s="10.9.0.0/24"))
        await running.until(lambda: cloud.states()["early"] == "Succeeded")


async def test_nothing_is_pruned_before_the_stream_has_caught_up(tmp_path: Path) -> None:
    """A fabric that starts while the cloud is silent leaves the former world alone."""
    cloud = FakeCloud(arm.two_overlays())
    async with Running(cloud, tmp_path) as running:
        await running.until(lambda: cloud.states()["db"] == "Succeeded")
        world = running.world

    class Silent(FakeCloud):
        async def changes(self, since: int = 0) -> AsyncIterator[Change]:
            yield Change(0, "", False, marker="snapshot")
            await asyncio.sleep(60)

    before = world.writes
    async with Running(Silent([]), tmp_path, world):
        await asyncio.sleep(0.05)
    assert world.writes == before


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """The next fabric finds the world as wanted: no write, no report, the same outbound addresses."""
    cloud = FakeCloud(arm.two_overlays())
    async with Running(cloud, tmp_path) as running:
        await running.until(lambda: cloud.states()["db"] == "Succeeded")
        world = running.world
    before, said = world.writes, len(cloud.reports)
    async with Running(cloud, tmp_path, world) as running:
        await running.until(lambda: running.fabric.loop.runs >= 1)
        await asyncio.sleep(0.05)
    assert (world.writes, len(cloud.reports)) == (before, said)


@pytest.mark.parametrize("seed", range(5))
async def test_faults_delay_but_do_not_stop(tmp_path: Path, seed: int) -> None:
    """With failing kernel calls and a cloud that misses reports, everything is realised and reported in the end."""
    cloud = FakeCloud(arm.two_overlays())
    cloud.deaf = 7
    world = FakeKernel(fabric_tag(SETTINGS.tag))
    async with Running(cloud, tmp_path, FaultyKernel(world, share=0.1, seed=seed)) as running:
        await running.until(lambda: all(cloud.states()[name] == "Succeeded" for name in REALISED))


def test_a_spoiled_state_file_is_forgotten(tmp_path: Path) -> None:
    """Half a file, or no file, is an empty assignment."""
    store = OutboundStore(tmp_path)
    assert store.read() == {}
    store.write({"a": "198.19.1.9"})
    assert OutboundStore(tmp_path).read() == {"a": "198.19.1.9"}
    (tmp_path / "outbound.json").write_text('{"a": "198')
    assert store.read() == {}
