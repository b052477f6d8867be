"""Runs the probes of one pod's containers and keeps what they say.

The problem: each probe has its own clock, a startup probe holds the others back, and a kubelet that restarts must
not make ready pods unready. One task per probe; a verdict that changes marks the pod dirty; containers that the
API server already shows as ready begin ready.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from podloom.drivers.runtime.api import RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.request import http_get, tcp_connect
from podloom.model.runtime import Container, State
from podloom.plan.kubelet.probe import Health, ProbeState, first_state, named_port, probes_of, step, timing
from podloom.plan.kubelet.sync import PodRuntime, is_sidecar

Object = Mapping[str, Any]
_began = time.monotonic()


class Prober:
    """`health` by container id; `follow` starts and ends probe tasks as containers come and go."""

    def __init__(self, node: Node, mark: Callable[[], None]) -> None:
        self._node, self._mark = node, mark
        self.health: dict[str, Health] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pod: Object = {}
        self._ips: tuple[str, ...] = ()

    def follow(self, pod: Object, runtime: PodRuntime, known_status: Object) -> None:
        """Probe exactly the running containers that have probes."""
        self._pod = pod
        sandbox = runtime.sandbox
        self._ips = self._node.facts.ips if pod["spec"].get("hostNetwork") else sandbox.ips if sandbox else ()
        wanted: dict[str, tuple[Object, Container]] = {}
        specs = [one for one in pod["spec"].get("initContainers") or () if is_sidecar(one)]
        for spec in [*specs, *pod["spec"]["containers"]]:
            running = runtime.latest(spec["name"])
            if running and running.state is State.RUNNING and probes_of(spec):
                wanted[running.id] = (spec, running)
        for gone in set(self._tasks) - set(wanted):
            self._tasks.pop(gone).cancel()
            self.health.pop(gone, None)
        for container_id, (spec, running) in wanted.items():
            if container_id not in self._tasks:
                self.health[container_id] = _first_health(spec, container_id, known_status)
                self._tasks[container_id] = asyncio.create_task(self._container(spec, running))

    def stop(self) -> None:
        """End all probes; what they said last stays."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _container(self, spec: Object, container: Container) -> None:
        probes = probes_of(spec)
        if "startup" in probes and not self.health[container.id].started:
            await self._until_started(spec, probes["startup"], container)
        others = [
            self._loop(spec, kind, probes[kind], container) for kind in ("liveness", "readiness") if kind in probes
        ]
        await asyncio.gather(*others)

    async def _until_started(self, spec: Object, probe: Object, container: Container) -> None:
        state = first_state("startup")
        await self._first_wait(probe, container)
        while state.good is None:
            state = await self._once(spec, "startup", probe, container, state)
            if state.good is None:
                await asyncio.sleep(timing(probe).period_s)
        self._set(container.id, replace(self.health[container.id], started=state.good))
        if not state.good:
            await asyncio.Event().wait()  # the container will be killed, and this task with it

    async def _first_wait(self, probe: Object, container: Container) -> None:
        """The initial delay counts from the container's start; after a kubelet restart probes spread over a period."""
        numbers = timing(probe)
        age = time.time() - container.started_at_ns / 1e9
        if age > numbers.initial_delay_s + numbers.period_s and time.monotonic() - _began < numbers.period_s:
            await asyncio.sleep(random.uniform(0, numbers.period_s))
        else:
            await asyncio.sleep(max(0.0, numbers.initial_delay_s - age))

    async def _loop(self, spec: Object, kind: str, probe: Object, container: Container) -> None:
        health = self.health[container.id]
        good = health.ready if kind == "readiness" else health.alive
        state = ProbeState(good if good is not None else first_state(kind).good)
        await self._first_wait(probe, container)
        while True:
            state = await self._once(spec, kind, probe, container, state)
            before = self.health[container.id]
            is_readiness = kind == "readiness"
            after = replace(before, ready=state.good) if is_readiness else replace(before, alive=state.good)
            self._set(container.id, after)
            await asyncio.sleep(timing(probe).period_s)

    def _set(self, container_id: str, health: Health) -> None:
        if self.health.get(container_id) != health:
            self.health[container_id] = health
            self._mark()

    async def _once(
        self, spec: Object, kind: str, probe: Object, container: Container, state: ProbeState
    ) -> ProbeState:
        ok, text = await self._try(spec, probe, container)
        if not ok:
            words = f"{kind.capitalize()} probe failed: {text}"
            self._node.recorder.pod(self._pod, "Warning", "Unhealthy", words, container=spec["name"])
        return step(state, ok, probe)

    async def _try(self, spec: Object, probe: Object, container: Container) -> tuple[bool, str]:
        limit = timing(probe).timeout_s
        host = self._ips[0] if self._ips else "127.0.0.1"
        if action := probe.get("httpGet"):
            port = named_port(action["port"], spec)
            return await http_get(action, action.get("host") or host, port, limit) if port else (False, "no such port")
        if action := probe.get("tcpSocket") or probe.get("grpc"):
            port = named_port(action["port"], spec)
            return await tcp_connect(action.get("host") or host, port, limit) if port else (False, "no such port")
        if action := probe.get("exec"):
            return await self._exec(container.id, list(action.get("command") or ()), limit)
        return True, ""

    async def _exec(self, container_id: str, command: list[str], limit_s: float) -> tuple[bool, str]:
        try:
            out, err, code = await self._node.runtime.exec_sync(container_id, command, max(1, int(limit_s)))
        except RuntimeFailed as e:
            if e.code == "DEADLINE_EXCEEDED":
                return False, f'command timed out: "{" ".join(command)}" timed out after {limit_s:g}s'
            return False, e.found
        return code == 0, (out + err).decode(errors="replace")[:1024]


def _first_health(spec: Object, container_id: str, status: Object) -> Health:
    """Nothing known, or what the API server last heard of this very container."""
    probes = probes_of(spec)
    shown = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    before: Object = next((one for one in shown if one.get("containerID") == f"containerd://{container_id}"), {})
    return Health(
        started=(True if before.get("started") else None) if "startup" in probes else None,
        ready=bool(before.get("ready")) if "readiness" in probes else None,
        alive=True if "liveness" in probes else None,
    )
