"""What all controllers share: one informer per resource, indexes, and writes that are seen at once.

The problem: a dozen controllers in one process must not keep a dozen copies of the pods, nor decide on a copy
that lacks what they wrote themselves. `Cluster` makes one `View` per resource and passes every write's answer
into it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from podloom.drivers.kube import KubeApi, KubeError, View, wait_synced
from podloom.model.kube import Object, Resource, key_of
from podloom.plan.kube.times import format_time

_SAY_S = 10.0
log = structlog.get_logger()


class Cluster:
    """The API server as controllers see it: views to read, verbs to write. `clock` gives epoch seconds."""

    def __init__(self, client: KubeApi, clock: Callable[[], float] = time.time) -> None:
        self.client, self.clock = client, clock
        self._views: dict[Resource, View] = {}
        self._tasks: dict[Resource, asyncio.Task[None]] = {}
        self._running = False

    def view(self, res: Resource) -> View:
        """The one view of a resource; made on first use, followed once the cluster runs."""
        if res not in self._views:
            self._views[res] = View(self.client, res)
            if self._running:
                self._follow(res)
        return self._views[res]

    def has_view(self, res: Resource) -> bool:
        """Whether somebody already looks at the resource."""
        return res in self._views

    async def start(self) -> None:
        """Follow all views and return when each has its first list."""
        self._running = True
        for res in self._views:
            self._follow(res)
        waiting = asyncio.create_task(wait_synced(*(view.informer for view in self._views.values())))
        try:
            while not (await asyncio.wait((waiting,), timeout=_SAY_S))[0]:
                missing = [res.plural for res, v in self._views.items() if not v.informer.synced.is_set()]
                log.warning("controllers.waiting", resources=missing)
        finally:
            waiting.cancel()

    def _follow(self, res: Resource) -> None:
        self._tasks[res] = asyncio.create_task(self._views[res].informer.run(), name=f"informer {res.plural}")

    async def drop(self, res: Resource) -> None:
        """Stop following a resource that is no longer served."""
        self._views.pop(res, None)
        if task := self._tasks.pop(res, None):
            task.cancel()

    async def stop(self) -> None:
        """End all informers."""
        self._running = False
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def now(self) -> str:
        """The time as the API writes it."""
        return format_time(self.clock())

    def _observe(self, res: Resource, obj: Object) -> Object:
        if res in self._views and obj.get("metadata", {}).get("resourceVersion"):
            self._views[res].informer.observe(obj)
        return obj

    async def create(self, res: Resource, obj: Object, namespace: str = "") -> Object:
        """Create and see it at once."""
        return self._observe(res, await self.client.create(res, obj, namespace=namespace))

    async def replace(self, res: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace (with the resourceVersion it was read at) and see it at once."""
        return self._observe(res, await self.client.replace(res, obj, subresource=subresource))

    async def patch(
        self, res: Resource, obj: Object, body: Any, *, subresource: str = "", kind: str = "merge"
    ) -> Object:
        """Patch the object of this name and namespace and see it at once."""
        namespace, name = key_of(obj)
        new = await self.client.patch(res, name, body, namespace, kind=kind, subresource=subresource)
        return self._observe(res, new)

    async def delete(self, res: Resource, obj: Object, **options: Any) -> None:
        """Delete exactly this object (by uid) and see it terminating at once; already gone is success."""
        namespace, name = key_of(obj)
        try:
            await self.client.delete(res, name, namespace, uid=obj["metadata"]["uid"], **options)
        except KubeError as e:
            if not e.not_found and not e.conflict:
                raise
        if res in self._views:
            self._views[res].informer.observe_deletion(obj, self.now())
