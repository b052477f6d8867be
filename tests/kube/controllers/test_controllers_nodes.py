"""Silent nodes, their pods, and what is swept up: against the API server in memory, with short graces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from podloom.drivers.kube.fake import FakeKube
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.housekeeping import EventExpiry
from podloom.kube.controllers.podgc import PodGarbage
from podloom.kube.controllers.run import Options, run_controllers
from podloom.model.kube import ENDPOINTSLICES, EVENTS, LEASES, NAMESPACES, NODES, PODS, SERVICES, Object
from podloom.plan.kube.pods import condition, is_ready


def node(name: str) -> Object:
    conditions = [{"type": "Ready", "status": "True"}]
    return {"metadata": {"name": name}, "spec": {}, "status": {"conditions": conditions}}


def beat(kube: FakeKube, name: str) -> None:
    now = datetime.now(UTC).isoformat()
    kube.put(LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": now}})


def pod(name: str, on: str, *, tolerates_s: int | None = None, phase: str = "Running", **meta: Any) -> Object:
    tolerations = [{"operator": "Exists", "effect": "NoExecute"}]
    if tolerates_s is not None:
        tolerations[0]["tolerationSeconds"] = tolerates_s  # type: ignore[assignment]
    status = {"phase": phase, "podIP": "10.1.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    meta = {"name": name, "namespace": "default", "labels": {"app": "a"}, **meta}
    return {"metadata": meta, "spec": {"nodeName": on, "containers": [], "tolerations": tolerations}, "status": status}


async def until(test: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (found := test()):
            await asyncio.sleep(0.01)
    return found


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.put(NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
    return fake


async def test_a_silent_node_loses_its_pods_and_comes_back(kube: FakeKube) -> None:
    """Silence: Unknown, tainted, pods unready and out of the Service, the impatient evicted; a beat undoes it."""
    for name in ("live", "lost"):
        kube.put(NODES, node(name))
        kube.put(PODS, pod(f"on-{name}", name))
    kube.put(PODS, pod("impatient", "lost", tolerates_s=0))
    spec = {"selector": {"app": "a"}, "ports": [{"port": 80}]}
    kube.put(SERVICES, {"metadata": {"name": "s", "namespace": "default"}, "spec": spec})
    beating = {"live", "lost"}

    async def beats() -> None:
        while True:
            for name in beating:
                beat(kube, name)
            await asyncio.sleep(0.05)

    def ready_names() -> list[str]:
        endpoints = [e for s in kube.all(ENDPOINTSLICES) for e in s["endpoints"] if e["conditions"]["ready"]]
        return sorted(e["targetRef"]["name"] for e in endpoints)

    tasks = [asyncio.create_task(beats()), asyncio.create_task(run_controllers(kube, Options(node_grace_s=0.4)))]
    try:
        await until(lambda: ready_names() == ["impatient", "on-live", "on-lost"])
        beating.discard("lost")
        await until(lambda: condition(kube.peek(NODES, "lost") or {}, "Ready").get("status") == "Unknown")
        await until(lambda: ready_names() == ["on-live"])
        await until(lambda: (kube.peek(PODS, "impatient", "default") or {})["metadata"].get("deletionTimestamp"))
        assert not kube.peek(PODS, "on-lost", "default")["metadata"].get("deletionTimestamp")
        assert {t["key"] for t in kube.peek(NODES, "lost")["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
        beating.add("lost")
        back = kube.peek(NODES, "lost")
        await kube.patch(
            NODES, "lost", {"status": {"conditions": node("lost")["status"]["conditions"]}}, subresource="status"
        )
        await until(lambda: not kube.peek(NODES, "lost")["spec"].get("taints"))
        assert back and is_ready(kube.peek(PODS, "on-live", "default"))
        assert not kube.peek(NODES, "live")["spec"].get("taints")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_pods_of_gone_nodes_and_old_finished_ones_are_swept(kube: FakeKube) -> None:
    """Pods on nodes that are gone go after the quarantine, finished ones beyond the bound the oldest first."""
    now = [1000.0]
    kube.put(NODES, node("live"))
    kube.put(PODS, pod("stays", "live"))
    kube.put(PODS, pod("stranded", "gone"))
    for number in range(4):
        old = {"creationTimestamp": f"2026-01-01T00:00:0{number}Z"}
        kube.put(PODS, pod(f"done{number}", "live", phase="Succeeded", **old))
    cluster = Cluster(kube, lambda: now[0])
    garbage = PodGarbage(cluster, quarantine_s=40.0, finished_most=2)
    await cluster.start()
    await garbage.collect()
    assert {p["metadata"]["name"] for p in kube.all(PODS)} == {"stays", "stranded", "done2", "done3"}
    now[0] += 41.0
    await garbage.collect()
    await until(lambda: kube.peek(PODS, "stranded", "default") is None)
    assert kube.peek(PODS, "stays", "default")
    await cluster.stop()


async def test_old_events_expire(kube: FakeKube) -> None:
    """Events that last happened over an hour ago go, others stay."""
    for name, last in (("old", "2026-01-01T00:00:00Z"), ("new", "2026-01-01T01:30:00Z")):
        kube.put(EVENTS, {"metadata": {"name": name, "namespace": "default"}, "lastTimestamp": last})
    clock = datetime(2026, 1, 1, 2, 0, tzinfo=UTC).timestamp()
    assert await EventExpiry(Cluster(kube, lambda: clock)).expire() == 1
    assert [e["metadata"]["name"] for e in kube.all(EVENTS)] == ["new"]
