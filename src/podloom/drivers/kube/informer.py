"""A local copy of a resource that follows the API server by list and watch.

The problem: a controller wants to look at all objects of a kind without asking each time, and to hear which
changed, through server restarts, dropped connections and compaction. The informer lists once, then watches from
the list's resourceVersion; after a broken watch it goes on from the last version seen (bookmarks keep it
young), after 410 it lists again and reports only what differs. There is no periodic resync: an event is missed
only with a broken watch, and that is noticed. Waits between attempts double up to a bound, with jitter.

A writer wants to see its own writes at once, else it would repeat them: `observe` takes the object a write
returned. Versions of one resource are compared as numbers (Kubernetes "Resource versions": monotonic integers), so
neither a late event nor a late answer can replace what is newer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing

import structlog

from podloom.drivers.kube.api import KubeApi, KubeError
from podloom.model.errors import PodloomError
from podloom.model.kube import Key, Object, Resource, key_of

OnEvent = Callable[[str, Object, Object | None], None]  # (ADDED|MODIFIED|DELETED, object, object before)

_PAGE = 500
_WATCH_S = (240, 480)
_LIST_AGAIN = (400, 410, 504)  # too old, or (400, 504) newer than the server: it was restored from a backup
log = structlog.get_logger()


class Backoff:
    """Waits that double from `first_s` to `most_s`, each cut by up to half at random."""

    def __init__(self, first_s: float = 0.05, most_s: float = 10.0) -> None:
        self.first_s, self.most_s = first_s, most_s
        self.failures = 0

    def reset(self) -> None:
        self.failures = 0

    def next_s(self) -> float:
        """The next wait in seconds."""
        wait = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return wait * random.uniform(0.5, 1.0)


def without_managed_fields(obj: Object) -> Object:
    """The default trim: managedFields are half of an object's size and the server keeps them on updates."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """`.objects` mirrors the resource once `.synced` is set; `run()` keeps it so until cancelled.

    `on_event(type, object, before)` is called synchronously after `.objects` changed; it must only mark things
    dirty. `trim` may drop fields nobody here reads (to save memory). Objects are shared: copy before changing.
    """

    def __init__(
        self,
        client: KubeApi,
        res: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        on_event: OnEvent | None = None,
        trim: Callable[[Object], Object] = without_managed_fields,
    ) -> None:
        self.client, self.res, self.namespace = client, res, namespace
        self.label_selector, self.field_selector = label_selector, field_selector
        self.on_event, self.trim = on_event, trim
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self.resource_version = ""
        self._seen = 0  # the newest version list or watch gave us
        self._backoff = Backoff()

    def get(self, name: str, namespace: str = "") -> Object | None:
        """The object, or None; shared, not a copy."""
        return self.objects.get((namespace, name))

    async def run(self) -> None:
        """Follow the resource for ever; returns only by cancellation."""
        while True:
            try:
                if not self.resource_version:
                    await self._relist()
                if await self._follow():
                    continue
            except KubeError as e:
                if e.status in _LIST_AGAIN:
                    self.resource_version = ""
                self._trouble(e)
            except PodloomError as e:
                self._trouble(e)
            await asyncio.sleep(self._backoff.next_s())

    def _trouble(self, error: PodloomError) -> None:
        say = log.warning if self._backoff.failures == 6 else log.debug
        say("kube.follow", resource=self.res.group_resource, error=error.message)

    async def _relist(self) -> None:
        items, version = await self.client.list(
            self.res,
            self.namespace,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            limit=_PAGE,
        )
        before = self.objects
        keep = _number(version) >= self._seen  # else the server's state was replaced: nothing of ours is newer
        self.objects = {k: o for k, o in before.items() if keep and _version(o) > _number(version)}
        for obj in items:
            self.objects.setdefault(key_of(obj), self.trim(obj))
        self.resource_version = version
        self._seen = _number(version)
        self._emit_difference(before)
        self.synced.set()

    def _emit_difference(self, before: dict[Key, Object]) -> None:
        """Events that lead from the copy before a relist to the one after."""
        for key, old in before.items():
            new = self.objects.get(key)
            if new is None or new["metadata"].get("uid") != old["metadata"].get("uid"):
                self._emit("DELETED", old, old)
        for key, obj in list(self.objects.items()):
            was = before.get(key)
            if was is None or obj["metadata"].get("uid") != was["metadata"].get("uid"):
                self._emit("ADDED", obj, None)
            elif obj["metadata"].get("resourceVersion") != was["metadata"].get("resourceVersion"):
                self._emit("MODIFIED", obj, was)

    def observe(self, obj: Object) -> None:
        """Take an object that a write of ours returned, unless the copy is already newer."""
        old = self.objects.get(key_of(obj))
        if _version(obj) > (_version(old) if old else self._seen):
            self._store(obj, old)

    def observe_deletion(self, obj: Object, at: str) -> None:
        """Show an object we deleted as terminating since `at` (RFC 3339) until the server's event says more."""
        old = self.objects.get(key_of(obj))
        if old is None or old["metadata"].get("uid") != obj["metadata"].get("uid"):
            return
        if not old["metadata"].get("deletionTimestamp"):
            new = {**old, "metadata": {**old["metadata"], "deletionTimestamp": at}}
            self.objects[key_of(obj)] = new
            self._emit("MODIFIED", new, old)

    async def _follow(self) -> bool:
        """One watch, from the version we have to the stream's end; whether it was worth something."""
        stream = self.client.watch(
            self.res,
            self.namespace,
            resource_version=self.resource_version,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            timeout_s=random.randint(*_WATCH_S),
        )
        started = asyncio.get_running_loop().time()
        events = 0
        async with aclosing(stream):
            async for kind, obj in stream:
                events += 1
                self._backoff.reset()
                self._take(kind, obj)
        return events > 0 or asyncio.get_running_loop().time() - started > 1.0

    def _take(self, kind: str, obj: Object) -> None:
        self.resource_version = obj["metadata"].get("resourceVersion") or self.resource_version
        self._seen = max(self._seen, _number(self.resource_version))
        if kind == "BOOKMARK":
            return
        old = self.objects.get(key_of(obj))
        if kind == "DELETED":
            if old is not None and _version(old) <= _version(obj):
                del self.objects[key_of(obj)]
                self._emit("DELETED", self.trim(obj), old)
        elif old is None or _version(old) < _version(obj):
            self._store(obj, old)

    def _store(self, obj: Object, old: Object | None) -> None:
        new = self.objects[key_of(obj)] = self.trim(obj)
        if old is not None and old["metadata"].get("uid") != new["metadata"].get("uid"):
            self._emit("DELETED", old, old)
            old = None
        self._emit("ADDED" if old is None else "MODIFIED", new, old)

    def _emit(self, kind: str, obj: Object, old: Object | None) -> None:
        if self.on_event is not None:
            self.on_event(kind, obj, old)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0


def _version(obj: Object) -> int:
    return _number(obj["metadata"].get("resourceVersion") or "")


async def wait_synced(*informers: Informer) -> None:
    """Return when every informer has its first full list."""
    for informer in informers:
        await informer.synced.wait()
