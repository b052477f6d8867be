"""The informer's copy equals the server's state whatever happens to the connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from podloom.drivers.kube import Informer, KubeError
from podloom.drivers.kube.fake import FakeKube
from podloom.drivers.kube.faulty import FaultyKube
from podloom.model.errors import Rejected, Stale, Unavailable
from podloom.model.kube import CONFIGMAPS, PODS, Object


def config(name: str, **data: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[Informer]:
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), 5)
        yield informer
    finally:
        task.cancel()


async def until_equal(kube: FakeKube, informer: Informer) -> None:
    async with asyncio.timeout(10):
        while list(informer.objects.values()) != kube.all(CONFIGMAPS):
            await asyncio.sleep(0.01)
            informer.objects = dict(sorted(informer.objects.items()))


async def test_informer_survives_410_and_outage() -> None:
    """Dropped watches, compaction and an outage at random moments leave copy and server equal."""
    kube, dice = FakeKube(), random.Random(4)
    seen: list[tuple[str, str]] = []
    informer = Informer(
        FaultyKube(kube, share=0.05, seed=2),
        CONFIGMAPS,
        on_event=lambda kind, obj, _: seen.append((kind, obj["metadata"]["name"])),
    )
    informer._backoff.most_s = 0.02
    async with running(informer):
        for step in range(300):
            name = f"c{dice.randrange(10)}"
            if dice.random() < 0.3 and kube.peek(CONFIGMAPS, name, "default"):
                await kube.delete(CONFIGMAPS, name, "default")
            else:
                kube.put(CONFIGMAPS, config(name, step=str(step)))
            if dice.random() < 0.05:
                kube.drop_watches()
            if dice.random() < 0.05:
                kube.compact()
            if dice.random() < 0.02:
                kube.down = True
                kube.drop_watches()
                await asyncio.sleep(0.01)
                kube.down = False
            await asyncio.sleep(0)
        await until_equal(kube, informer)
    alive: set[str] = set()
    for kind, name in seen:
        assert (kind == "ADDED") == (name not in alive), (kind, name)
        alive = alive - {name} if kind == "DELETED" else alive | {name}
    assert alive == {o["metadata"]["name"] for o in kube.all(CONFIGMAPS)}


async def test_selection_leaving_is_a_deletion() -> None:
    """An object that no longer meets the field selector leaves the copy."""
    kube = FakeKube()
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "n1"}}
    kube.put(PODS, pod)
    async with running(Informer(kube, PODS, field_selector="spec.nodeName=n1")) as informer:
        assert ("default", "p") in informer.objects
        kube.put(PODS, {**pod, "spec": {"nodeName": "n2"}})
        await asyncio.sleep(0.01)
        assert informer.objects == {}


def test_errors_carry_families() -> None:
    """A KubeError is at once of the family that says what to do."""
    assert isinstance(KubeError(409, "Conflict", "x"), Stale)
    assert isinstance(KubeError(404, "NotFound", "x"), Stale)
    assert isinstance(KubeError(503, "", "x"), Unavailable)
    assert isinstance(KubeError(422, "Invalid", "x"), Rejected)
    assert KubeError(409, "AlreadyExists", "x").already_exists
    assert not KubeError(409, "AlreadyExists", "x").conflict


async def test_outage_is_unavailable() -> None:
    """No answer is Unavailable, not a KubeError."""
    kube = FakeKube()
    kube.down = True
    with pytest.raises(Unavailable) as failure:
        await kube.get(PODS, "p", "default")
    assert not isinstance(failure.value, KubeError)
