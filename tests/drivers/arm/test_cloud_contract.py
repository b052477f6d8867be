"""One contract for every body of the cloud client: a real cloud process, the fake, and the faulty one around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from cloudkit import CloudProcess, cluster_body, empty, group
from podloom.drivers.arm import Change, CloudApi, CloudError
from podloom.drivers.arm.fake import FakeCloud
from podloom.drivers.arm.faulty import FaultyCloud
from podloom.model.arm import MANAGED_CLUSTERS, PUBLIC_ADDRESSES
from podloom.model.errors import Unavailable

RG = str(group())
CLUSTER = str(group().within(MANAGED_CLUSTERS, "k"))
ADDRESS = str(group().within(PUBLIC_ADDRESSES, "p"))


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    found = CloudProcess(tmp_path_factory.mktemp("cloud"))
    found.start()
    yield found
    found.stop()


class Patient:
    """Repeats each call until it comes through: what every caller of ours does, in its own way."""

    def __init__(self, inner: CloudApi) -> None:
        self._inner = inner
        self.changes = inner.changes

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return await getattr(self._inner, name)(*args, **kwargs)
                except Unavailable:
                    await asyncio.sleep(0)

        return call


@pytest.fixture(params=["real", "fake", "faulty"])
async def cloud(request: pytest.FixtureRequest) -> AsyncIterator[CloudApi]:
    if request.param == "real":
        async with request.getfixturevalue("process").client() as client:
            yield client
            await empty(client)
        return
    fake = FakeCloud(realise=lambda type_: type_ != MANAGED_CLUSTERS)
    yield fake if request.param == "fake" else Patient(FaultyCloud(fake, share=0.4, seed=3))  # type: ignore[misc]


async def _stream(cloud: CloudApi, since: int = 0) -> list[Change]:
    found = []
    async for change in cloud.changes(since):
        found.append(change)
        if change.marker == "synced":
            break
    return found


def _tail(text: str) -> str:
    return text.rsplit("/", 1)[-1]


async def test_absent_things(cloud: CloudApi) -> None:
    assert await cloud.find(RG) is None
    with pytest.raises(CloudError) as caught:
        await cloud.get(RG)
    assert caught.value.not_found
    with pytest.raises(CloudError) as caught:
        await cloud.put(CLUSTER, cluster_body())
    assert (caught.value.status, caught.value.code) == (404, "ResourceGroupNotFound")
    await cloud.delete(CLUSTER)
    await cloud.finalize(CLUSTER)


async def test_the_same_wish_again_is_no_change(cloud: CloudApi) -> None:
    await cloud.put(RG, {"location": "westcentralus"})
    first = await cloud.put(CLUSTER, cluster_body())
    assert (await cloud.put(CLUSTER, cluster_body()))["properties"]["podloom"] == first["properties"]["podloom"]
    assert await cloud.put(CLUSTER, await cloud.get(CLUSTER)) == await cloud.get(CLUSTER)
    assert [_tail(item["id"]) for item in await cloud.list(MANAGED_CLUSTERS)] == ["k"]
    assert [item["name"] for item in await cloud.list(f"{RG}/providers/{MANAGED_CLUSTERS}")] == ["k"]


async def test_reports_and_generations(cloud: CloudApi) -> None:
    await cloud.put(RG, {"location": "westcentralus"})
    await cloud.put(CLUSTER, cluster_body())
    assert (await cloud.get(CLUSTER))["properties"]["provisioningState"] == "Creating"
    pools = [{"name": "nodepool1", "note": "x"}]
    await cloud.report(CLUSTER, {"provisioningState": "Succeeded", "agentPoolProfiles": pools}, generation=1)
    told = (await cloud.get(CLUSTER))["properties"]
    assert (told["provisioningState"], told["agentPoolProfiles"][0]["note"]) == ("Succeeded", "x")
    await cloud.put(CLUSTER, cluster_body(count=2))
    late = await cloud.report(CLUSTER, {"provisioningState": "Succeeded"}, generation=1)
    assert late["properties"]["provisioningState"] == "Updating"
    assert late["properties"]["podloom"]["generation"] == 2


async def test_waiting_ends_with_the_report(cloud: CloudApi) -> None:
    await cloud.put(RG, {"location": "westcentralus"})
    waiting = asyncio.create_task(cloud.put(CLUSTER, cluster_body(), wait=True))
    while await cloud.find(CLUSTER) is None:
        await asyncio.sleep(0.01)
    await cloud.report(CLUSTER, {"provisioningState": "Succeeded"})
    assert (await asyncio.wait_for(waiting, 5))["properties"]["provisioningState"] == "Succeeded"
    assert (await cloud.put(ADDRESS, {}, wait=True))["properties"]["provisioningState"] == "Succeeded"


async def test_deleting_waits_for_finalize(cloud: CloudApi) -> None:
    await cloud.put(RG, {"location": "westcentralus"})
    await cloud.put(CLUSTER, cluster_body())
    with pytest.raises(CloudError) as caught:
        await cloud.finalize(CLUSTER)
    assert caught.value.status == 409
    await cloud.delete(CLUSTER)
    await cloud.report(CLUSTER, {"provisioningState": "Succeeded"})
    assert (await cloud.get(CLUSTER))["properties"]["provisioningState"] == "Deleting"
    with pytest.raises(CloudError) as caught:
        await cloud.put(CLUSTER, cluster_body())
    assert caught.value.status == 409
    await cloud.finalize(CLUSTER)
    assert await cloud.find(CLUSTER) is None


async def test_the_stream_tells_everything_then_what_changed(cloud: CloudApi) -> None:
    await cloud.put(RG, {"location": "westcentralus"})
    await cloud.put(ADDRESS, {})
    first = await _stream(cloud)
    assert first[0].marker == "snapshot"
    shown = {_tail(change.id) for change in first if not change.marker and not change.deleted}
    assert {"rg", "p"} <= shown
    last = max(change.seq for change in first)
    await cloud.delete(ADDRESS)
    second = await _stream(cloud, last)
    assert second[0].marker == "resume"
    assert {(_tail(change.id), change.deleted) for change in second if not change.marker} == {("p", True)}
    assert [change.resource for change in second if change.deleted] == [None]


async def test_a_group_takes_its_resources_with_it(cloud: CloudApi) -> None:
    await cloud.put(RG, {"location": "westcentralus"})
    await cloud.put(ADDRESS, {})
    await cloud.delete(RG, wait=True)
    assert await cloud.find(RG) is None
    assert await cloud.list(PUBLIC_ADDRESSES) == []
