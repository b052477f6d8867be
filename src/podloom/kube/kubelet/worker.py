"""One pod's worker: look, decide one step, do it, look again, until the pod is as wanted or gone.

The problem: a pod changes while it starts, the kubelet may be killed between any two calls, and thirty pods start
at once. Each pod has one task that never does two things at a time; all it knows is read from the runtime; it
sleeps until something is marked dirty or a deadline (a restart back-off) passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from podloom.drivers.kube.api import KubeError
from podloom.drivers.runtime.api import RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.hooks import run_hook
from podloom.kube.kubelet.prober import Prober
from podloom.kube.kubelet.reader import RuntimeReader
from podloom.kube.kubelet.reporter import StatusReporter
from podloom.kube.kubelet.starter import ImageProblem, Starter, StartProblem
from podloom.kube.kubelet.stopper import Stopper
from podloom.model.errors import PodloomError
from podloom.model.kube import PODS, Object
from podloom.model.runtime import Sandbox
from podloom.plan.kubelet.configs import every_container, log_directory
from podloom.plan.kubelet.env import EnvInputs
from podloom.plan.kubelet.status import TERMINAL, StatusInputs, failed_status, is_finished, plan_status
from podloom.plan.kubelet.sync import SECOND, Actions, Kill, PodRuntime, Start, plan_actions
from podloom.plan.kubelet.volumes import changing_volumes

log = structlog.get_logger()
T = TypeVar("T")
_STEPS_MAX = 50
_RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_REFRESH_S = 60.0
_MOUNT_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SANDBOX = ""  # the key of a sandbox's retry: no container has this name


class Stopped(Exception):
    """The pod is to be stopped: whatever was awaited is not wanted any more."""


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodWorker:
    """Drives one pod (one uid) from its first sight to its end."""

    def __init__(self, node: Node, starter: Starter, pod: Object, on_done: Callable[[str], None]) -> None:
        self.node, self.starter, self.pod, self._on_done = node, starter, pod, on_done
        self.uid: str = pod["metadata"]["uid"]
        self.reader = RuntimeReader(node.runtime, self.uid)
        self.reporter = StatusReporter(node.kube, pod)
        self.prober = Prober(node, self.mark)
        self.runtime = PodRuntime()
        self.problems: dict[str, tuple[str, str]] = {}
        self.rejected: tuple[str, str] | None = None
        self.removed = False
        self._retry: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._stopper: Stopper | None = None
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._volumes_until = 0.0
        self._failures = self._mount_failures = 0
        self._log = log.bind(pod=f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
        self.task = asyncio.create_task(self._run())
        self.mark()

    def mark(self) -> None:
        """Something changed: look again."""
        self._dirty.set()

    def update(self, pod: Object) -> None:
        """The API server's newest copy of the pod."""
        before, old = self.grace_s(), self.pod["metadata"]
        self.pod = pod
        if any(old.get(key) != pod["metadata"].get(key) for key in ("labels", "annotations")):
            self._volumes_until = 0.0  # files of the downward API show them
        self.reporter.seen(pod)
        if self.stopping:
            self._stop.set()
            if self.grace_s() < before or not pod["metadata"].get("deletionTimestamp"):
                self.stopper_wake()
        self.mark()

    def remove(self, pod: Object) -> None:
        """The API server has no such pod any more; `pod` is its last state."""
        self.pod, self.removed = pod, True
        self.reporter.gone = True
        self._stop.set()
        self.stopper_wake()
        self.mark()

    def stopper_wake(self) -> None:
        if self._stopper is not None:
            self._stopper.hurry(self.grace_s())

    def exited(self, container_id: str) -> None:
        self.reader.exited.add(container_id)
        self.mark()

    def runtime_ids(self) -> set[str]:
        """Ids of its sandboxes and containers, as last read."""
        return {one.id for one in self.runtime.sandboxes} | {one.id for one in self.runtime.containers}

    @property
    def stopping(self) -> bool:
        return self.removed or bool(self.pod["metadata"].get("deletionTimestamp"))

    def grace_s(self) -> int:
        """Seconds its containers get to end: the deletion's, else the pod's."""
        meta, spec = self.pod["metadata"], self.pod["spec"]
        given = meta.get("deletionGracePeriodSeconds")
        if given is None:
            given = spec.get("terminationGracePeriodSeconds")
        return max(1, 30 if given is None else int(given))

    async def _run(self) -> None:
        deadline: float | None = None
        while True:
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._dirty.wait()
            self._dirty.clear()
            try:
                wait_s, done = await self._sync()
                self._failures = 0
            except Stopped:
                wait_s, done = 0.0, False
            except PodloomError as e:
                self._log.warning("pod sync", error=e.message)
                wait_s, done = _RETRY_S[min(self._failures, len(_RETRY_S) - 1)], False
                self._failures += 1
            except Exception:
                self._log.exception("pod sync")
                wait_s, done = 5.0, False
            if done:
                self._on_done(self.uid)
                return
            deadline = None if wait_s is None else time.monotonic() + wait_s

    async def or_stop(self, work: Awaitable[T]) -> T:
        """The result of `work`, cancelled with Stopped when the pod is to be stopped meanwhile."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()

    async def _sync(self) -> tuple[float | None, bool]:
        """One round; (seconds until the next one without an event, whether the pod is done for)."""
        self.runtime = await self.reader.read()
        if self.stopping:
            await self._finish()
            return None, True
        if self.rejected or (self.reporter.known.get("phase") in TERMINAL):
            await self._ended()
            return None, False
        if self._overdue():
            await self._stop_containers("Pod was active on the node longer than the specified deadline")
            text = "Pod was active on the node longer than the specified deadline"
            self.node.recorder.pod(self.pod, "Normal", "DeadlineExceeded", text)
            self.rejected = ("DeadlineExceeded", text)
            await self._ended()
            return None, False
        waits = await self._advance()
        if is_finished(self.pod, self.runtime):
            await self._stop_containers()
            self.publish(ending=True)
            await self._release()
        return waits, False

    def _overdue(self) -> bool:
        seconds, start = self.pod["spec"].get("activeDeadlineSeconds"), self.reporter.known.get("startTime")
        if not seconds or not start:
            return False
        return time.time() >= datetime.fromisoformat(start).timestamp() + int(seconds)

    async def _advance(self) -> float | None:
        """Do steps until nothing is left to do now; seconds until something may be."""
        self.publish()
        for _ in range(_STEPS_MAX):
            self._note_probes()
            actions = plan_actions(self.pod, self.runtime, self.prober.health, time.time_ns())
            self._note_waiting(actions)
            if is_finished(self.pod, self.runtime) or not await self._act(actions):
                break
            self.runtime = await self.reader.read()
            self.publish()
            if self._stop.is_set():
                raise Stopped
        self.publish()
        return self._next_wait(actions)

    def _next_wait(self, actions: Actions) -> float | None:
        now_ns, now = time.time_ns(), time.monotonic()
        waits = [(one.until_ns - now_ns) / SECOND for one in actions.waiting]
        wanted = {one.name for one in actions.start} | ({_SANDBOX} if actions.create_sandbox is not None else set())
        self._retry = {name: until for name, until in self._retry.items() if name in wanted}
        waits += [until - now for until in self._retry.values()]
        if self.runtime.sandbox is not None and changing_volumes(self.pod):
            waits.append(max(1.0, self._volumes_until - now))
        if self.pod["spec"].get("activeDeadlineSeconds"):
            start = self.reporter.view()["status"].get("startTime")
            if start:
                end = datetime.fromisoformat(start).timestamp() + int(self.pod["spec"]["activeDeadlineSeconds"])
                waits.append(end - time.time() + 0.05)
        return max(0.0, min(waits)) + 0.01 if waits else None

    def _note_probes(self) -> None:
        self.prober.follow(self.pod, self.runtime, self.reporter.known)

    def _note_waiting(self, actions: Actions) -> None:
        """Containers in restart back-off show CrashLoopBackOff; the others lose it."""
        waiting = {one.name: one for one in actions.waiting}
        meta = self.pod["metadata"]
        who = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        for name, (reason, _) in list(self.problems.items()):
            if reason == "CrashLoopBackOff" and name not in waiting:
                del self.problems[name]
        for name, one in waiting.items():
            shown = f"{one.delay_s // 60}m{one.delay_s % 60}s" if one.delay_s >= 60 else f"{one.delay_s}s"
            text = f"back-off {shown} restarting failed container={name} pod={who}"
            if self.problems.get(name) != ("CrashLoopBackOff", text):
                self.problems[name] = ("CrashLoopBackOff", text)
                event = f"Back-off restarting failed container {name} in pod {who}"
                self.node.recorder.pod(self.pod, "Warning", "BackOff", event, container=name)

    async def _act(self, actions: Actions) -> bool:
        """Do the first kind of step that is wanted; False when there was none that can be done now."""
        for sandbox_id in actions.stop_sandboxes:
            await self._stop_sandbox(sandbox_id)
        if actions.create_sandbox is not None:
            return await self._new_sandbox(actions.create_sandbox)
        if actions.kill:
            await asyncio.gather(*(self._kill(one) for one in actions.kill))
            return True
        for container_id in actions.remove:
            await self._forget_container(container_id)
        for sandbox_id in actions.remove_sandboxes:
            await self.node.runtime.remove_sandbox(sandbox_id)
        now = time.monotonic()
        ready = [one for one in actions.start if self._retry.get(one.name, 0.0) <= now]
        sandbox = self.runtime.sandbox
        if sandbox is None or not (ready or (changing_volumes(self.pod) and now >= self._volumes_until)):
            return False
        inputs = await self.or_stop(self.starter.inputs(self.pod, sandbox.ips))
        volumes = await self._volumes(inputs, ready)
        if volumes is None:
            return False
        started = [await self._start(one, sandbox, volumes, inputs) for one in ready]
        return any(started)

    async def _volumes(self, inputs: EnvInputs, starts: list[Start]) -> Any:
        self._volumes_until = time.monotonic() + _REFRESH_S
        try:
            found = await self.or_stop(self.starter.volumes(self.pod, inputs, only_files=not starts))
        except StartProblem:
            wait_s = _MOUNT_RETRY_S[min(self._mount_failures, len(_MOUNT_RETRY_S) - 1)]
            self._mount_failures += 1
            for one in starts:
                self._retry[one.name] = time.monotonic() + wait_s
            return None
        self._mount_failures = 0
        return found

    async def _new_sandbox(self, attempt: int) -> bool:
        if not self.node.network_ready and not self.pod["spec"].get("hostNetwork"):
            text = f"network is not ready: {self.node.network_message}"
            self.node.recorder.pod(self.pod, "Warning", "NetworkNotReady", text)
            self._retry[_SANDBOX] = time.monotonic() + 5.0
            return False
        if attempt:
            self.node.recorder.pod(
                self.pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
            )
        self._retry.pop(_SANDBOX, None)
        await self.starter.sandbox(self.pod, attempt)
        return True

    async def _start(self, start: Start, sandbox: Sandbox, volumes: Mapping[str, Any], inputs: EnvInputs) -> bool:
        """Start one container; a failure is remembered as what it waits for."""
        self._retry.pop(start.name, None)
        try:
            container_id = await self.or_stop(self.starter.container(self.pod, start, sandbox, volumes, inputs))
        except (StartProblem, ImageProblem) as e:
            self.problems[start.name] = (e.reason, e.found)
            self._retry[start.name] = time.monotonic() + e.retry_s
            return e.retry_s == 0.0
        self.problems.pop(start.name, None)
        spec = self._spec(start.name)
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(spec, hook, container_id, sandbox)
        return True

    async def _post_start(self, spec: Mapping[str, Any], hook: Object, container_id: str, sandbox: Sandbox) -> None:
        failure = await self.or_stop(run_hook(self.node, spec, hook, container_id, pod_ips=sandbox.ips))
        if failure:
            text = f"PostStartHook failed: {failure}"
            self.node.recorder.pod(self.pod, "Warning", "FailedPostStartHook", text, container=spec["name"])
            await self._kill(Kill(container_id, spec["name"], "FailedPostStartHook"))

    def _spec(self, name: str) -> Mapping[str, Any]:
        return next(one for one in every_container(self.pod) if one["name"] == name)

    async def _kill(self, kill: Kill) -> None:
        self.node.recorder.pod(self.pod, "Normal", "Killing", kill.message, container=kill.name)
        self._stopper = Stopper(self.node, self.pod)
        ips = self.runtime.sandbox.ips if self.runtime.sandbox else ()
        try:
            await self._stopper.container(self._spec(kill.name), kill.container_id, self.grace_s(), ips)
        finally:
            self._stopper = None
        self.reader.exited.add(kill.container_id)

    async def _forget_container(self, container_id: str) -> None:
        one = next((c for c in self.runtime.containers if c.id == container_id), None)
        await self.node.runtime.remove_container(container_id)
        if one is not None:
            self.node.volumes.termination_log(self.uid, one.name, one.attempt).unlink(missing_ok=True)
            if one.log_path:
                Path(one.log_path).unlink(missing_ok=True)

    def publish(self, *, ending: bool = False) -> None:
        """Recompute the pod's status and have it written when it changed."""
        inputs = StatusInputs(
            self.runtime,
            self.node.facts,
            now_text(),
            self.prober.health,
            self.problems,
            self.reader.messages,
            ending,
        )
        self.reporter.want(plan_status(self.reporter.view(), inputs))

    async def _stop_containers(self, message: str = "") -> None:
        """Stop everything that runs, in order; ends with the runtime's new state read."""
        self.prober.stop()
        self._stopper = Stopper(self.node, self.pod)
        try:
            await self._stopper.pod(self.runtime, self.grace_s(), message)
        finally:
            self._stopper = None
        self.runtime = await self.reader.read()

    async def _release(self) -> None:
        """Give the network back; containers stay for their logs."""
        self.prober.stop()
        for sandbox in self.runtime.sandboxes:
            await self._stop_sandbox(sandbox.id)

    async def _stop_sandbox(self, sandbox_id: str) -> None:
        """Once for each, dead ones too: what they hold of the network is given back only by this."""
        if sandbox_id not in self._stopped:
            await self.node.runtime.stop_sandbox(sandbox_id)
            self._stopped.add(sandbox_id)

    async def _ended(self) -> None:
        """A pod that has failed or succeeded: nothing of it may run."""
        await self._stop_containers()
        if self.rejected:
            reason, text = self.rejected
            inputs = StatusInputs(self.runtime, self.node.facts, now_text(), messages=self.reader.messages, ending=True)
            base = plan_status(self.reporter.view(), inputs) if self.runtime.containers else self.reporter.known
            self.reporter.want(failed_status({**self.pod, "status": base}, reason, text, now_text()))
        await self._release()

    async def _finish(self) -> None:
        """Stop and remove all of the pod, then let the API server forget it."""
        await self._stop_containers()
        if not self.removed and self.runtime.containers:
            self.publish(ending=True)
        for sandbox in self.runtime.sandboxes:
            await self.node.runtime.stop_sandbox(sandbox.id)
            await self.node.runtime.remove_sandbox(sandbox.id)
        await self.reporter.flush()
        await asyncio.to_thread(self._clean_disk)
        self.node.objects.forget_pod(self.uid)
        self.starter.images.forget_pod(self.uid)
        if not self.removed:
            await self._delete_object()

    def _clean_disk(self) -> None:
        self.node.volumes.remove(self.uid)
        shutil.rmtree(log_directory(self.pod, self.node.settings.log_root), ignore_errors=True)
        meta = self.pod["metadata"]
        for link in (self.node.log_root / "containers").glob(f"{meta['name']}_{meta['namespace']}_*.log"):
            if link.is_symlink() and not link.exists():
                link.unlink(missing_ok=True)

    async def _delete_object(self) -> None:
        meta = self.pod["metadata"]
        try:
            await self.node.kube.delete(PODS, meta["name"], meta["namespace"], grace_period_s=0, uid=self.uid)
        except KubeError as e:
            if not (e.not_found or e.conflict):
                raise


__all__ = ["PodWorker", "RuntimeFailed"]
