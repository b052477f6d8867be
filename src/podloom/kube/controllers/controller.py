"""The loop every controller runs: take a dirty key, decide, act, wait for the next.

The problem: a controller's own file should hold only what makes a key dirty and what to do with it. Here is the
rest: workers, retries, and which errors are news. A key's `sync` must bring the world closer to the wish from
any state, since it may be cut off (kill -9) between any two writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, TypeVar

import structlog

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.queue import WorkQueue
from podloom.model.errors import PodloomError, Unavailable
from podloom.model.kube import Key, Object, Resource, key_of, owner_of

log = structlog.get_logger()
T = TypeVar("T")
_PARALLEL = 16


async def each(items: Iterable[T], act: Callable[[T], Awaitable[object]], parallel: int = _PARALLEL) -> None:
    """`act` on every item, at most `parallel` at a time; all are tried, then the first error is raised."""
    room = asyncio.Semaphore(parallel)

    async def one(item: T) -> None:
        async with room:
            await act(item)

    outcomes = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def is_ending(error: KubeError) -> bool:
    """Whether a create was refused because the namespace is being deleted."""
    causes = error.details.get("causes") or ()
    return error.status == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


class Controller:
    """Base of all controllers: subclasses subscribe in `__init__` and implement `sync`."""

    name: ClassVar[str]
    workers: ClassVar[int] = 4

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.queue: WorkQueue[Key] = WorkQueue()

    async def sync(self, key: Key) -> float | None:
        """Bring `key` in order; a number asks for another visit in so many seconds."""
        raise NotImplementedError

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                again_s = await self.sync(key)
            except PodloomError as e:
                self._failed(key, e)
            except asyncio.CancelledError:
                raise
            except Exception:  # a bug with one object must not stop the others
                log.exception("controller.bug", controller=self.name, key="/".join(key))
                self.queue.failed(key)
            else:
                self.queue.done(key)
                if again_s is not None:
                    self.queue.add_after(key, again_s)

    def _failed(self, key: Key, error: PodloomError) -> None:
        wait_s = self.queue.failed(key)
        expected = isinstance(error, Unavailable)
        if isinstance(error, KubeError):
            expected = expected or error.conflict or is_ending(error)
        say = log.debug if expected and wait_s < 5 else log.warning
        say("controller.retry", controller=self.name, key="/".join(key), error=error.message, wait_s=round(wait_s, 2))

    def watch_own(self, res: Resource) -> None:
        """Mark each changed object of `res`."""
        self.cluster.view(res).listen(lambda _kind, obj, _old: self.queue.add(key_of(obj)))

    def watch_owned(self, res: Resource, owner: Resource) -> None:
        """Mark the controlling `owner` of each changed object of `res`."""

        def listener(_kind: str, obj: Object, old: Object | None) -> None:
            for version in (obj, old):
                ref = owner_of(version) if version else None
                if ref and ref["kind"] == owner.kind and ref["apiVersion"] == owner.api_version:
                    self.queue.add((obj["metadata"].get("namespace", ""), ref["name"]))

        self.cluster.view(res).listen(listener)
