"""What the runtime has of one pod, read whole, with containers that are known to have ended shown as ended.

The problem: containerd tells of an exit before its CRI state shows it (its own event loop must store the exit
first). Acting on the old state would lose the event. So a reader that was told of an exit asks again, a few
milliseconds apart, until the state agrees or two seconds have passed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from podloom.drivers.runtime.api import Runtime, RuntimeNotFound
from podloom.model.runtime import ANNOTATION_MESSAGE_PATH, ANNOTATION_MESSAGE_POLICY, Container, Sandbox, State
from podloom.plan.kubelet.sync import PodRuntime, pod_runtime

_WAITS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.6)
_MESSAGE_MAX = 4096
_LOG_TAIL_MAX = 2048


class RuntimeReader:
    """Reads one pod; `exited` holds ids whose exit was announced and not yet seen."""

    def __init__(self, runtime: Runtime, uid: str) -> None:
        self._runtime, self._uid = runtime, uid
        self._ended: dict[str, Container] = {}
        self.exited: set[str] = set()
        self.messages: dict[str, str] = {}

    async def read(self) -> PodRuntime:
        """All sandboxes and containers of the pod, newest first."""
        sandboxes, listed = await asyncio.gather(
            self._runtime.list_sandboxes(self._uid), self._runtime.list_containers(self._uid)
        )
        newest = max(sandboxes, key=lambda s: (s.created_at_ns, s.attempt), default=None)
        containers = [found for one in listed if (found := await self._container(one)) is not None]
        full = [await self._sandbox(one) if one is newest and one.ready else one for one in sandboxes]
        ids = {one.id for one in listed}
        self._ended = {key: value for key, value in self._ended.items() if key in ids}
        self.messages = {key: value for key, value in self.messages.items() if key in ids}
        self.exited &= ids | {one.id for one in sandboxes}
        return pod_runtime([one for one in full if one is not None], containers)

    async def _sandbox(self, listed: Sandbox) -> Sandbox | None:
        try:
            found = await self._runtime.sandbox(listed.id)
            for wait in _WAITS_S:
                if not found.ready or listed.id not in self.exited:
                    break
                await asyncio.sleep(wait)
                found = await self._runtime.sandbox(listed.id)
        except RuntimeNotFound:
            return None
        self.exited.discard(listed.id)
        return found

    async def _container(self, listed: Container) -> Container | None:
        if listed.id in self._ended:
            return self._ended[listed.id]
        try:
            found = await self._runtime.container(listed.id, listed.sandbox_id)
            for wait in _WAITS_S:
                if found.state is not State.RUNNING or listed.id not in self.exited:
                    break
                await asyncio.sleep(wait)
                found = await self._runtime.container(listed.id, listed.sandbox_id)
        except RuntimeNotFound:
            return None
        self.exited.discard(listed.id)
        if found.state is State.EXITED:
            self._ended[found.id] = found
            self.messages[found.id] = termination_message(found)
        return found


def termination_message(container: Container) -> str:
    """What the container wrote to its termination log; by policy, else the end of its log (at most 2048 bytes)."""
    path = container.mounts.get(container.annotations.get(ANNOTATION_MESSAGE_PATH, ""))
    text = ""
    if path and Path(path).is_file():
        with Path(path).open("rb") as file:
            text = file.read(_MESSAGE_MAX).decode(errors="replace")
    policy = container.annotations.get(ANNOTATION_MESSAGE_POLICY)
    if text or policy != "FallbackToLogsOnError" or container.exit_code == 0 or not container.log_path:
        return text
    return _log_tail(Path(container.log_path))


def _log_tail(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4 * _LOG_TAIL_MAX))
        lines = file.read().splitlines()
    words = [line.split(b" ", 3) for line in lines]
    text = b"\n".join(parts[3] for parts in words if len(parts) == 4)
    return text[-_LOG_TAIL_MAX:].decode(errors="replace")
