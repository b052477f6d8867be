"""The pods of this node: one worker each, told of every change by the API server and by the runtime.

The problem: changes come from two sides, either side may be away or restart, and what neither claims must not
stay. The API server's side is an informer on spec.nodeName; the runtime's is its event stream, or a look every
second where it has none. Both only mark workers dirty. A slow comparison catches what was missed and removes
sandboxes and directories of pods nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any

import structlog

from podloom.drivers.kube.informer import Informer
from podloom.drivers.runtime.api import RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.images import Images
from podloom.kube.kubelet.logs import rotate_logs
from podloom.kube.kubelet.starter import Starter
from podloom.kube.kubelet.worker import PodWorker
from podloom.model.errors import PodloomError
from podloom.model.kube import PODS, Object
from podloom.plan.kubelet.status import TERMINAL

log = structlog.get_logger()
_COMPARE_S = 30.0
_COMPARE_BLIND_S = 1.0


class PodManager:
    """`workers` by pod uid; `run` follows both sides for ever."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.workers: dict[str, PodWorker] = {}
        self._starter = Starter(node, Images(node))
        self._owners: dict[str, str] = {}  # sandbox or container id -> pod uid
        self._snapshot: dict[str, Any] = {}
        self._compare_now = asyncio.Event()
        self._blind = False
        self.pods = Informer(
            node.kube,
            PODS,
            field_selector=f"spec.nodeName={node.settings.node_name}",
            on_event=self._on_pod,
        )

    async def run(self) -> None:
        """Follow the API server and the runtime; ends only by cancellation."""
        await self.node.services.synced.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            await self.pods.synced.wait()
            group.create_task(self._follow_runtime())
            group.create_task(self._compare_loop())

    def by_name(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of the pod the API server shows under this name, else any that still has it."""
        shown = self.pods.get(name, namespace)
        if shown is not None:
            return self.workers.get(shown["metadata"]["uid"])
        for worker in self.workers.values():
            meta = worker.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                return worker
        return None

    def mark_all(self) -> None:
        for worker in self.workers.values():
            worker.mark()

    def _on_pod(self, kind: str, pod: Object, _before: Object | None) -> None:
        uid = pod["metadata"]["uid"]
        worker = self.workers.get(uid)
        if kind == "DELETED":
            if worker is not None:
                worker.remove(pod)
        elif worker is not None:
            worker.update(pod)
        else:
            worker = PodWorker(self.node, self._starter, pod, self._done)
            worker.rejected = self._refusal(pod)
            self.workers[uid] = worker
            if worker.stopping:
                worker.update(pod)
            if worker.rejected:
                reason, text = worker.rejected
                self.node.recorder.pod(pod, "Warning", reason, text)

    def _refusal(self, pod: Object) -> tuple[str, str] | None:
        """Why this node does not take a pod that is new to it: (reason, message), or None."""
        status = pod.get("status") or {}
        if status.get("phase") in TERMINAL or status.get("startTime"):
            return None
        active = sum(1 for one in self.workers.values() if one.reporter.known.get("phase") not in TERMINAL)
        most = self.node.settings.max_pods
        if active >= most:
            detail = f"Node didn't have enough resource: pods, requested: 1, used: {active}, capacity: {most}"
            return "OutOfpods", detail
        return None

    def _done(self, uid: str) -> None:
        self.workers.pop(uid, None)

    async def _follow_runtime(self) -> None:
        """Runtime events for ever; after every break everything is looked at again."""
        while True:
            self._compare_now.set()
            try:
                async for event in self.node.runtime.events():
                    self._blind = False
                    uid = self._owners.get(event.container_id)
                    worker = self.workers.get(uid or "")
                    if worker is None:
                        uid = await self._find_owner(event.container_id)
                        worker = self.workers.get(uid or "")
                    if worker is not None and event.exited:
                        worker.exited(event.container_id)
                    elif worker is not None:
                        worker.mark()
            except RuntimeFailed as e:
                if e.code == "UNIMPLEMENTED":
                    self._blind = True
                    self._compare_now.set()
                    return
                log.warning("runtime events", error=e.message)
            await asyncio.sleep(0.5)

    async def _find_owner(self, container_id: str) -> str | None:
        known = next((uid for uid, one in self.workers.items() if container_id in one.runtime_ids()), None)
        if known is None:
            with contextlib.suppress(PodloomError):
                await self._list()
            known = self._owners.get(container_id)
        return known

    async def _list(self) -> dict[str, Any]:
        """What runs, by pod uid; remembers whose is whose."""
        sandboxes = await self.node.runtime.list_sandboxes()
        containers = await self.node.runtime.list_containers()
        self._owners = {one.id: one.uid for one in sandboxes} | {one.id: one.uid for one in containers}
        found: dict[str, Any] = {}
        for sandbox in sandboxes:
            found.setdefault(sandbox.uid, set()).add((sandbox.id, sandbox.ready))
        for container in containers:
            found.setdefault(container.uid, set()).add((container.id, container.state))
        return found

    async def _compare_loop(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_COMPARE_BLIND_S if self._blind else _COMPARE_S):
                    await self._compare_now.wait()
            self._compare_now.clear()
            try:
                await self._compare()
                await rotate_logs(self.node, [w.runtime for w in self.workers.values()])
            except PodloomError as e:
                log.warning("runtime comparison", error=e.message)
                await asyncio.sleep(1.0)

    async def _compare(self) -> None:
        """Mark pods whose runtime state differs from the last look; remove what belongs to no pod."""
        found = await self._list()
        for uid in found.keys() | self._snapshot.keys():
            worker = self.workers.get(uid)
            if worker is not None and found.get(uid) != self._snapshot.get(uid):
                worker.mark()
        self._snapshot = found
        for uid in found.keys() - self.workers.keys():
            await self._remove_orphan(uid)
        for uid in self.node.volumes.uids() - self.workers.keys() - found.keys():
            await asyncio.to_thread(self.node.volumes.remove, uid)

    async def _remove_orphan(self, uid: str) -> None:
        log.info("removing a pod nobody knows", uid=uid)
        runtime = self.node.runtime
        for container in await runtime.list_containers(uid):
            await runtime.stop_container(container.id, 1)
        for sandbox in await runtime.list_sandboxes(uid):
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)
            await asyncio.to_thread(_remove_logs, self.node.log_root / "pods", f"_{uid}")
        await asyncio.to_thread(self.node.volumes.remove, uid)


def _remove_logs(root: Path, suffix: str) -> None:
    for path in root.glob(f"*{suffix}"):
        shutil.rmtree(path, ignore_errors=True)
