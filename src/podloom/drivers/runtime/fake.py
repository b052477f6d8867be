"""A container runtime in memory, with the rules of containerd that callers lean on.

The problem: the node runtime's workers must be tested in thousands of interleavings, without a kernel. This body keeps
sandboxes and containers as values, reserves names by pod and attempt as containerd does, refuses what containerd
refuses (a container in a dead sandbox, removing a running container), gives addresses from one range and tells
exits as events. A container runs until it is stopped or a test calls `exit`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from podloom.drivers.runtime.api import Config, RuntimeFailed, RuntimeNotFound
from podloom.model.runtime import LABEL_POD_UID, Condition, Container, Event, Image, Sandbox, State, Usage


class FakeRuntime:
    """Runtime (see api.py). `images` are present; others can be pulled when in `registry`."""

    def __init__(self) -> None:
        self.sandboxes: dict[str, Sandbox] = {}
        self.containers: dict[str, Container] = {}
        self.configs: dict[str, Config] = {}
        self.images: set[str] = set()
        self.registry: set[str] = set()
        self.network_ready = True
        self.exec_code = 0
        self.ends_at_once: dict[str, int] = {}  # container name -> exit code of containers that end by themselves
        self.calls: list[str] = []
        self._ids = itertools.count(1)
        self._listeners: list[asyncio.Queue[Event]] = []
        self._free = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1000)][::-1]

    def _tell(self, container_id: str, exited: bool) -> None:
        for listener in self._listeners:
            listener.put_nowait(Event(container_id, exited))

    def _now(self) -> int:
        return time.time_ns()

    async def _arrive(self, call: str) -> None:
        self.calls.append(call)
        await asyncio.sleep(0)

    def exit(self, container_id: str, code: int) -> None:
        """The container's process ends by itself."""
        one = self.containers[container_id]
        if one.state is State.RUNNING:
            reason = "Completed" if code == 0 else "Error"
            ended = replace(one, state=State.EXITED, exit_code=code, reason=reason, finished_at_ns=self._now())
            self.containers[container_id] = ended
            self._tell(container_id, True)

    async def version(self) -> str:
        await self._arrive("version")
        return "fake://1.0"

    async def conditions(self) -> list[Condition]:
        await self._arrive("conditions")
        reason = "" if self.network_ready else "NetworkPluginNotReady"
        return [Condition("RuntimeReady", True), Condition("NetworkReady", self.network_ready, reason)]

    async def list_sandboxes(self, uid: str = "") -> list[Sandbox]:
        await self._arrive("list_sandboxes")
        return [replace(one, ips=()) for one in self.sandboxes.values() if uid in ("", one.uid)]

    async def sandbox(self, sandbox_id: str, *, verbose: bool = False) -> Sandbox:
        await self._arrive("sandbox")
        return self._sandbox(sandbox_id)

    def _sandbox(self, sandbox_id: str) -> Sandbox:
        if sandbox_id not in self.sandboxes:
            raise RuntimeNotFound(f"find sandbox {sandbox_id}", "not found", "NOT_FOUND")
        return self.sandboxes[sandbox_id]

    async def run_sandbox(self, config: Config) -> str:
        await self._arrive("run_sandbox")
        meta = config["metadata"]
        for one in self.sandboxes.values():
            if (one.uid, one.attempt) == (meta["uid"], meta["attempt"]):
                raise RuntimeFailed("RunPodSandbox", f"name is reserved for {one.id}", "UNKNOWN")
        on_host = config["linux"]["security_context"]["namespace_options"]["network"] == "NODE"
        if not self.network_ready and not on_host:
            raise RuntimeFailed("RunPodSandbox", "cni plugin not initialized", "UNKNOWN")
        sandbox_id = f"s{next(self._ids)}"
        ips = () if on_host else (self._free.pop(),)
        self.sandboxes[sandbox_id] = Sandbox(
            sandbox_id, meta["uid"], meta["namespace"], meta["name"], meta["attempt"], True, self._now(), ips
        )
        return sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._arrive("stop_sandbox")
        one = self.sandboxes.get(sandbox_id)
        if one is None or not one.ready:
            return
        for container in list(self.containers.values()):
            if container.sandbox_id == sandbox_id:
                self.exit(container.id, 137)
        self._free += one.ips
        self.sandboxes[sandbox_id] = replace(one, ready=False, ips=())
        self._tell(sandbox_id, True)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self.sandboxes.pop(sandbox_id, None)
        for container in [one for one in self.containers.values() if one.sandbox_id == sandbox_id]:
            del self.containers[container.id]

    async def list_containers(self, uid: str = "") -> list[Container]:
        await self._arrive("list_containers")
        return [one for one in self.containers.values() if uid in ("", one.uid)]

    async def container(self, container_id: str, sandbox_id: str = "") -> Container:
        await self._arrive("container")
        return self._container(container_id)

    def _container(self, container_id: str) -> Container:
        if container_id not in self.containers:
            raise RuntimeNotFound(f"find container {container_id}", "not found", "NOT_FOUND")
        return self.containers[container_id]

    async def create_container(self, sandbox_id: str, config: Config, sandbox_config: Config) -> str:
        await self._arrive("create_container")
        sandbox, meta = self._sandbox(sandbox_id), config["metadata"]
        if not sandbox.ready:
            raise RuntimeFailed("CreateContainer", f"sandbox {sandbox_id} is not running", "UNKNOWN")
        uid = config["labels"][LABEL_POD_UID]
        for one in self.containers.values():
            if (one.uid, one.name, one.attempt) == (uid, meta["name"], meta["attempt"]):
                raise RuntimeFailed("CreateContainer", f"name is reserved for {one.id}", "UNKNOWN")
        container_id = f"c{next(self._ids)}"
        image = config["image"]["image"]
        self.configs[container_id] = config
        self.containers[container_id] = Container(
            container_id,
            sandbox_id,
            uid,
            meta["name"],
            meta["attempt"],
            State.CREATED,
            image,
            image,
            self._now(),
            annotations=dict(config["annotations"]),
        )
        return container_id

    async def start_container(self, container_id: str) -> None:
        await self._arrive("start_container")
        one = self._container(container_id)
        if one.state is not State.CREATED:
            raise RuntimeFailed("StartContainer", f"container is {one.state.name}", "UNKNOWN")
        self.containers[container_id] = replace(one, state=State.RUNNING, started_at_ns=self._now())
        if one.name in self.ends_at_once:
            self.exit(container_id, self.ends_at_once[one.name])

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        await self._arrive("stop_container")
        if container_id in self.containers:
            self.exit(container_id, 143)

    async def remove_container(self, container_id: str) -> None:
        await self._arrive("remove_container")
        one = self.containers.get(container_id)
        if one is not None and one.state is State.RUNNING:
            raise RuntimeFailed("RemoveContainer", "container is running", "UNKNOWN")
        self.containers.pop(container_id, None)

    async def reopen_log(self, container_id: str) -> None:
        await self._arrive("reopen_log")

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: int) -> tuple[bytes, bytes, int]:
        await self._arrive("exec_sync")
        if self._container(container_id).state is not State.RUNNING:
            raise RuntimeFailed("ExecSync", "container is not running", "UNKNOWN")
        return b"", b"", self.exec_code

    async def exec_url(
        self, container_id: str, command: list[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        raise RuntimeFailed("Exec", "no streams in memory", "UNIMPLEMENTED")

    async def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        raise RuntimeFailed("Attach", "no streams in memory", "UNIMPLEMENTED")

    async def port_forward_url(self, sandbox_id: str) -> str:
        raise RuntimeFailed("PortForward", "no streams in memory", "UNIMPLEMENTED")

    async def image(self, name: str) -> Image | None:
        await self._arrive("image")
        return Image(name, (name,), (), 1) if name in self.images else None

    async def list_images(self) -> list[Image]:
        await self._arrive("list_images")
        return [Image(name, (name,), (), 1) for name in sorted(self.images)]

    async def pull_image(self, name: str, auth: Config | None, sandbox_config: Config) -> str:
        await self._arrive("pull_image")
        if name not in self.registry:
            raise RuntimeNotFound(f"PullImage {name}", f"{name}: not found", "NOT_FOUND")
        self.images.add(name)
        return name

    async def usage(self) -> list[Usage]:
        await self._arrive("usage")
        return [Usage(one.id, one.uid, one.name, 0, 0, 0) for one in self.containers.values()]

    async def events(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    async def close(self) -> None:
        return None
