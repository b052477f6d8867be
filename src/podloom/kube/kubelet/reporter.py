"""Writes one pod's status to the API server: the newest wanted one, never two at a time, only what changed.

The problem: starting a pod must not wait for the API server, and a status computed from an old copy of the pod
must not move transition times. The reporter keeps the last status the server is known to have, sends a merge patch
with the pod's uid as precondition, and drops everything but the newest wish. While a pod is Pending nobody waits
for its details, so those are held back for a moment: a pod that starts quickly costs one write.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import structlog

from podloom.drivers.kube.api import KubeApi, KubeError
from podloom.model.errors import PodloomError, Rejected
from podloom.model.kube import PODS, Object

log = structlog.get_logger()
_PENDING_S = 0.25
_RETRY_S = (0.1, 0.3, 1.0, 2.0, 5.0)


def _version(obj: Mapping[str, Any]) -> int:
    text = obj["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


class StatusReporter:
    """`known` is the server's status as far as we know; `want` asks for another."""

    def __init__(self, kube: KubeApi, pod: Object) -> None:
        self._kube, self._pod = kube, pod
        self._seen_version = _version(pod)
        self.known: Object = dict(pod.get("status") or {})
        self._wanted: Object | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._urgent = False
        self.gone = False

    def seen(self, pod: Object) -> None:
        """The informer shows the pod: take its status unless ours is newer."""
        self._pod = pod
        if _version(pod) >= self._seen_version:
            self._seen_version = _version(pod)
            self.known = dict(pod.get("status") or {})

    def view(self) -> Object:
        """The pod with the newest status known or wanted."""
        return {**self._pod, "status": self._wanted if self._wanted is not None else self.known}

    def want(self, status: Object) -> None:
        """Make the server have this status, soon."""
        if self.gone or status == (self._wanted if self._wanted is not None else self.known):
            return
        self._wanted = status
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send())

    async def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until what was wanted is written, or it is clear that it cannot be."""
        self._urgent = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_s)

    async def _settle(self) -> None:
        """Wait while one Pending would only follow another, at most a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PENDING_S):
                while not self._urgent and (self._wanted or {}).get("phase") == "Pending":
                    self._news.clear()
                    await self._news.wait()

    async def _send(self) -> None:
        failures = 0
        while self._wanted is not None and not self.gone:
            if self.known.get("phase", "Pending") == "Pending":
                await self._settle()
            wanted = self._wanted
            try:
                answer = await self._patch(wanted)
            except KubeError as e:
                if e.not_found or (e.conflict and failures >= len(_RETRY_S)):
                    self.gone = True
                    return
                failures = await self._wait(failures, e)
                continue
            except PodloomError as e:
                failures = await self._wait(failures, e)
                continue
            failures = 0
            self._seen_version = max(self._seen_version, _version(answer))
            self.known = dict(answer.get("status") or wanted)
            if self._wanted is wanted:
                self._wanted = None

    async def _wait(self, failures: int, error: PodloomError) -> int:
        say = log.warning if isinstance(error, Rejected) and failures == 0 else log.debug
        say("status not written", pod=self._pod["metadata"]["name"], error=error.message)
        await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
        return failures + 1

    async def _patch(self, wanted: Object) -> Object:
        meta = self._pod["metadata"]
        gone = {key: None for key in self.known if key not in wanted}
        body = {"metadata": {"uid": meta["uid"]}, "status": {**gone, **wanted}}
        return await self._kube.patch(PODS, meta["name"], body, meta["namespace"], subresource="status")
