"""Writing a pod's status: newest wish only, one write at a time, through refusals and outages."""

from __future__ import annotations

import asyncio
from typing import Any

from podloom.drivers.kube.fake import FakeKube
from podloom.kube.kubelet.reporter import StatusReporter
from podloom.model.kube import PODS


async def made(kube: FakeKube) -> StatusReporter:
    pod = await kube.create(PODS, {"metadata": {"name": "a", "namespace": "d"}, "spec": {"nodeName": "n"}})
    kube.calls.clear()
    return StatusReporter(kube, pod)


def status(kube: FakeKube) -> dict[str, Any]:
    return dict((kube.peek(PODS, "a", "d") or {}).get("status") or {})


async def test_a_quick_start_is_one_write() -> None:
    kube = FakeKube()
    reporter = await made(kube)
    reporter.want({"phase": "Pending", "x": 1})
    await asyncio.sleep(0.02)
    reporter.want({"phase": "Pending", "x": 2})
    await asyncio.sleep(0.02)
    reporter.want({"phase": "Running", "x": 3})
    await reporter.flush()
    assert status(kube) == {"phase": "Running", "x": 3} and len(kube.calls) == 1


async def test_a_slow_start_is_seen() -> None:
    kube = FakeKube()
    reporter = await made(kube)
    reporter.want({"phase": "Pending", "x": 1})
    await asyncio.sleep(0.4)
    assert status(kube)["x"] == 1
    reporter.want({"phase": "Pending"})
    await reporter.flush()
    assert status(kube) == {"phase": "Pending"}  # what is no longer wanted is removed


async def test_equal_wishes_cost_nothing() -> None:
    kube = FakeKube()
    reporter = await made(kube)
    for _ in range(3):
        reporter.want({"phase": "Running"})
        await reporter.flush()
    assert len(kube.calls) == 1


async def test_an_outage_is_outlived() -> None:
    kube = FakeKube()
    reporter = await made(kube)
    kube.down = True
    reporter.want({"phase": "Running", "x": 1})
    await asyncio.sleep(0.05)
    reporter.want({"phase": "Running", "x": 2})
    kube.down = False
    await reporter.flush()
    assert status(kube)["x"] == 2 and len(kube.calls) == 1


async def test_an_old_copy_does_not_win() -> None:
    """The informer's copy from before our write is ignored; a newer one counts."""
    kube = FakeKube()
    reporter = await made(kube)
    old = kube.peek(PODS, "a", "d")
    assert old is not None
    reporter.want({"phase": "Running"})
    await reporter.flush()
    reporter.seen(old)
    assert reporter.view()["status"] == {"phase": "Running"}
    new = await kube.patch(PODS, "a", {"status": {"phase": "Failed"}}, "d", subresource="status")
    reporter.seen(new)
    assert reporter.view()["status"] == {"phase": "Failed"}


async def test_another_pod_of_the_name_is_left_alone() -> None:
    """The uid is a precondition: the successor of a deleted pod never gets its status."""
    kube = FakeKube()
    reporter = await made(kube)
    await kube.delete(PODS, "a", "d", grace_period_s=0)
    await kube.create(PODS, {"metadata": {"name": "a", "namespace": "d"}, "spec": {"nodeName": "n"}})
    before = status(kube)
    reporter.want({"phase": "Running"})
    await reporter.flush(0.5)
    assert status(kube) == before
