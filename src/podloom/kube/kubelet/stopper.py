"""Stopping: preStop hooks, stop signals, sidecars last; a shorter deadline may arrive while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.hooks import run_hook
from podloom.model.runtime import Container
from podloom.plan.kubelet.configs import every_container
from podloom.plan.kubelet.sync import PodRuntime, stop_order

_LEAST_S = 2  # what a container gets after its preStop hook used up the time (kubelet minimumGracePeriodInSeconds)


class Stopper:
    """Stops containers of one pod; `hurry` shortens the time they have."""

    def __init__(self, node: Node, pod: Mapping[str, Any]) -> None:
        self._node, self._pod = node, pod
        self._hurried = asyncio.Event()
        self._grace_s: int | None = None

    def hurry(self, grace_s: int) -> None:
        self._grace_s = grace_s
        self._hurried.set()

    async def pod(self, runtime: PodRuntime, grace_s: int, message: str = "") -> None:
        """Stop all containers: the main ones at once, then sidecars, sharing one deadline."""
        end = time.monotonic() + grace_s
        ips = runtime.sandbox.ips if runtime.sandbox else ()
        for group in stop_order(self._pod, runtime):
            left = max(_LEAST_S if grace_s >= _LEAST_S else grace_s, int(end - time.monotonic()))
            await asyncio.gather(*(self._one(one, min(left, grace_s), ips, message) for one in group))

    async def _one(self, container: Container, grace_s: int, ips: Sequence[str], message: str) -> None:
        text = message or f"Stopping container {container.name}"
        self._node.recorder.pod(self._pod, "Normal", "Killing", text, container=container.name)
        spec = self._spec(container.name)
        await self.container(spec, container.id, grace_s, ips)

    def _spec(self, name: str) -> Mapping[str, Any]:
        return next((one for one in every_container(self._pod) if one["name"] == name), {"name": name})

    async def container(self, spec: Mapping[str, Any], container_id: str, grace_s: int, ips: Sequence[str]) -> None:
        """preStop, then the stop signal; killed when grace_s is over."""
        began = time.monotonic()
        hook = (spec.get("lifecycle") or {}).get("preStop")
        if hook and grace_s > 0:
            await self._pre_stop(spec, hook, container_id, grace_s, ips)
        left = max(grace_s - int(time.monotonic() - began), min(_LEAST_S, grace_s))
        await self._stop(container_id, left)

    async def _pre_stop(
        self, spec: Mapping[str, Any], hook: Mapping[str, Any], container_id: str, grace_s: int, ips: Sequence[str]
    ) -> None:
        work = asyncio.ensure_future(
            run_hook(self._node, spec, hook, container_id, pod_ips=ips, timeout_s=float(grace_s))
        )
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.wait({work, hurried}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not work.done():
            work.cancel()
            return
        failure = work.result()
        if failure:
            text = f"PreStopHook failed: {failure}"
            self._node.recorder.pod(self._pod, "Warning", "FailedPreStopHook", text, container=spec["name"])

    async def _stop(self, container_id: str, grace_s: int) -> None:
        while True:
            if self._grace_s is not None:
                grace_s = min(grace_s, self._grace_s)
            self._hurried.clear()
            work = asyncio.ensure_future(self._node.runtime.stop_container(container_id, grace_s))
            hurried = asyncio.ensure_future(self._hurried.wait())
            await asyncio.wait({work, hurried}, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            if work.done():
                return work.result()
            work.cancel()
