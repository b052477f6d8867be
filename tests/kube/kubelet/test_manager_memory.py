"""The node's pods over a runtime and an API server in memory, also when every tenth call fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from podloom.drivers.kube.api import KubeApi
from podloom.drivers.kube.fake import FakeKube
from podloom.drivers.kube.faulty import FaultyKube
from podloom.drivers.kube.informer import Informer
from podloom.drivers.runtime.api import Runtime
from podloom.drivers.runtime.fake import FakeRuntime
from podloom.drivers.runtime.faulty import FaultyRuntime
from podloom.kube.kubelet import manager as manager_module
from podloom.kube.kubelet import worker
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.manager import PodManager
from podloom.kube.kubelet.settings import Settings
from podloom.model.kube import CONFIGMAPS, EVENTS, PODS, SERVICES, Object
from podloom.model.runtime import State
from podloom.plan.kubelet import sync


class Kit:
    """One kubelet without node object and server; `restart` is a kill -9."""

    def __init__(self, folder: Path, kube: FakeKube, runtime: FakeRuntime) -> None:
        self.folder, self.kube, self.runtime = folder, kube, runtime
        self.share, self.seed, self.max_pods = 0.0, 0, 50
        self.tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        api: KubeApi = FaultyKube(self.kube, share=self.share, seed=self.seed) if self.share else self.kube  # type: ignore[assignment]
        runtime: Runtime = self.runtime
        if self.share:
            runtime = FaultyRuntime(self.runtime, share=self.share, seed=self.seed)  # type: ignore[assignment]
        settings = Settings(
            "",
            "node",
            ("10.224.0.4",),
            root=str(self.folder / "kubelet"),
            log_root=str(self.folder / "log"),
            max_pods=self.max_pods,
        )
        Path(settings.root).mkdir(exist_ok=True)
        services = Informer(api, SERVICES)
        node = Node.build(settings, api, runtime, services)
        node.network_ready = True
        self.manager = PodManager(node)
        self.tasks = [asyncio.create_task(one) for one in (services.run(), node.recorder.run(), self.manager.run())]

    async def kill(self) -> None:
        workers = [one.task for one in self.manager.workers.values()]
        for task in [*self.tasks, *workers]:
            task.cancel()
        await asyncio.gather(*self.tasks, *workers, return_exceptions=True)

    async def until(self, what: str, check: Callable[[], Any], timeout_s: float = 20.0) -> None:
        for _ in range(int(timeout_s / 0.01)):
            if check():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not seen: {what}; {self.kube.all(PODS)}; {self.runtime.containers}")

    def pod(self, name: str) -> Object:
        return self.kube.peek(PODS, name, "default") or {}

    def ready(self, name: str) -> bool:
        shown = (self.pod(name).get("status") or {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in shown)

    async def add(self, name: str, **spec: Any) -> None:
        body = {"nodeName": "node", "containers": [{"name": "main", "image": "app:1"}], **spec}
        await self.kube.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": body})


@pytest.fixture
async def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kit]:
    monkeypatch.setattr(sync, "BACKOFF_FIRST_S", 1)
    monkeypatch.setattr(worker, "_RETRY_S", (0.01, 0.05))
    monkeypatch.setattr(worker, "_MOUNT_RETRY_S", (0.01, 0.05))
    monkeypatch.setattr(manager_module, "_COMPARE_S", 0.2)
    async with _kit(tmp_path) as made:
        yield made


@asynccontextmanager
async def _kit(folder: Path) -> AsyncIterator[Kit]:
    runtime = FakeRuntime()
    runtime.images = {"app:1"}
    made = Kit(folder, FakeKube(), runtime)
    made.start()
    try:
        yield made
    finally:
        await made.kill()


async def test_a_pod_comes_and_goes(kit: Kit) -> None:
    await kit.add("a")
    await kit.until("ready", lambda: kit.ready("a"))
    await kit.kube.delete(PODS, "a", "default")
    await kit.until("gone", lambda: not kit.pod("a"))
    assert not kit.runtime.sandboxes and not kit.runtime.containers
    assert {e["reason"] for e in kit.kube.all(EVENTS)} >= {"Pulled", "Created", "Started"}


async def test_an_exit_restarts_at_once_then_waits(kit: Kit) -> None:
    await kit.add("a")
    await kit.until("ready", lambda: kit.ready("a"))
    for _ in range(2):
        (running,) = [one for one in kit.runtime.containers.values() if one.state is State.RUNNING]
        kit.runtime.exit(running.id, 1)
        await kit.until(
            "moved on", lambda r=running: kit.runtime.containers[r.id].state is State.EXITED and _shown(kit) != r.id
        )
    await kit.until("back-off", lambda: "CrashLoopBackOff" in str(kit.pod("a")["status"]))
    assert kit.pod("a")["status"]["containerStatuses"][0]["restartCount"] == 1


def _shown(kit: Kit) -> str:
    status = kit.pod("a")["status"]["containerStatuses"][0]
    waits = "waiting" in status["state"]
    return "" if waits else str(status.get("containerID", "")).removeprefix("containerd://")


async def test_missing_configmap_heals(kit: Kit) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
    await kit.add("a", containers=[{"name": "main", "image": "app:1", "env": env}])
    await kit.until("error", lambda: "CreateContainerConfigError" in str(kit.pod("a").get("status")))
    await kit.kube.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "default"}, "data": {"k": "v"}})
    await kit.until("ready", lambda: kit.ready("a"))


async def test_too_many_pods_are_refused(tmp_path: Path) -> None:
    """OVL-15: max-pods is a limit of the node itself; the pod beyond it fails as OutOfpods."""
    async with _kit(tmp_path) as kit:
        await kit.kill()
        kit.max_pods = 2
        kit.start()
        for name in ("a", "b", "c"):
            await kit.add(name)
        await kit.until("refused", lambda: [_reason(kit, n) for n in "abc"].count("OutOfpods") == 1)
        await kit.until("others ready", lambda: sum(kit.ready(n) for n in "abc") == 2)


def _reason(kit: Kit, name: str) -> str:
    return str((kit.pod(name).get("status") or {}).get("reason", ""))


async def test_restarted_kubelet_takes_over(kit: Kit) -> None:
    """After kill -9: running containers are kept, unknown sandboxes removed, deleted pods finished."""
    for name in ("keep", "gone", "going"):
        await kit.add(name)
    await kit.until("ready", lambda: all(kit.ready(n) for n in ("keep", "gone", "going")))
    kept = kit.pod("keep")["status"]["containerStatuses"][0]["containerID"]
    await kit.kill()
    await kit.kube.delete(PODS, "gone", "default", grace_period_s=0)
    await kit.kube.delete(PODS, "going", "default")
    kit.start()
    await kit.until("removed", lambda: len(kit.runtime.sandboxes) == 1 and not kit.pod("going"))
    assert kit.ready("keep") and kit.pod("keep")["status"]["containerStatuses"][0]["containerID"] == kept
    assert len(kit.runtime.calls) and all(c.attempt == 0 for c in kit.runtime.containers.values())


@pytest.mark.parametrize("seed", range(6))
async def test_converges_when_calls_fail(kit: Kit, seed: int) -> None:
    """A tenth of all calls fails, half of them after taking effect; kills in between: the end is the same."""
    await kit.kill()
    kit.share, kit.seed = 0.1, seed
    kit.start()
    names = [f"p{n}" for n in range(5)]
    for name in names:
        await kit.add(name, initContainers=[{"name": "init", "image": "app:1"}])
    kit.runtime.ends_at_once["init"] = 0
    await asyncio.sleep(0.05 * seed)
    await kit.kill()
    kit.seed = seed + 100
    kit.start()
    await kit.until("all ready", lambda: all(kit.ready(name) for name in names))
    live = [one for one in kit.runtime.sandboxes.values() if one.ready]
    assert sorted(one.name for one in live) == names
    for name in names:
        await kit.kube.delete(PODS, name, "default")
    await kit.until("all gone", lambda: not kit.kube.all(PODS) and not kit.runtime.sandboxes)
    assert not kit.runtime.containers


async def test_a_replaced_pod_of_the_same_name(kit: Kit) -> None:
    """Delete and create under one name at once: the old one ends, the new one runs."""
    await kit.add("a")
    await kit.until("ready", lambda: kit.ready("a"))
    await kit.kube.delete(PODS, "a", "default", grace_period_s=0)
    await kit.add("a")
    await kit.until("only the new", lambda: kit.ready("a") and len(kit.runtime.sandboxes) == 1)
    (sandbox,) = kit.runtime.sandboxes.values()
    assert sandbox.uid == kit.pod("a")["metadata"]["uid"]
