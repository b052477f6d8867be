"""The garbage collector: what nobody owns any more goes; foreground and orphan deletion wait for it.

The problem: owners and dependents are of any kind, custom ones included, events come in any order and may be
missed while the process is away. So the graph is not built from history: it is the indexes over all resources'
current objects. An object is visited when it appears, changes, or one of its owners vanishes; an owner that is not
in the copy is asked for at the server before anything is deleted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import ClassVar

import structlog

from podloom.drivers.kube import KubeError, View
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.queue import WorkQueue
from podloom.model.errors import PodloomError
from podloom.model.kube import CRDS, EVENTS, Key, Object, Resource, key_of
from podloom.plan.kube.claims import disowning
from podloom.plan.kube.garbage import (
    FOREGROUND,
    ORPHAN,
    OwnerState,
    blocks,
    judge,
    owner_uids,
    without_finalizer,
)

_WORKERS = 8
_ABSENT_MOST = 4096
_DISCOVER_S = 30.0
_VERBS = {"list", "watch", "delete", "patch"}
log = structlog.get_logger()


class GarbageCollector:
    """Follows every deletable resource that discovery shows."""

    name: ClassVar[str] = "garbage-collector"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._views: dict[Resource, View] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._uids: dict[str, tuple[Resource, Key]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._queue: WorkQueue[tuple[Resource, Key]] = WorkQueue()
        self._ready = False
        self._rediscover = asyncio.Event()
        definitions = cluster.view(CRDS)
        definitions.informer.trim = _only_metadata
        definitions.listen(lambda *_: self._rediscover.set())

    async def run(self) -> None:
        """Collect until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._discover())
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def _discover(self) -> None:
        """Follow new resources and drop vanished ones; at once when definitions change, else now and then."""
        while True:
            self._rediscover.clear()
            try:
                await self._follow_all()
            except PodloomError as e:
                log.debug("garbage.discover", error=e.message)
                await asyncio.sleep(1.0)
                continue
            try:
                async with asyncio.timeout(_DISCOVER_S):
                    await self._rediscover.wait()
                await asyncio.sleep(0.2)  # a definition becomes served a moment after it is stored
            except TimeoutError:
                pass

    async def _follow_all(self) -> None:
        found = {
            r for r, verbs in await self.cluster.client.discover() if verbs >= _VERBS and r.plural != EVENTS.plural
        }
        for res in found - self._views.keys():
            self._follow(res)
        for res in self._views.keys() - found:
            del self._views[res]
            await self.cluster.drop(res)
        synced = [view.informer.synced.wait() for view in self._views.values()]
        try:
            async with asyncio.timeout(10.0):
                await asyncio.gather(*synced)
        except TimeoutError:
            log.warning(
                "garbage.unsynced",
                resources=[r.plural for r, v in self._views.items() if not v.informer.synced.is_set()],
            )
        if not self._ready:
            self._ready = True
            for res, view in self._views.items():
                for obj in list(view.objects.values()):
                    self._mark(res, obj)

    def _follow(self, res: Resource) -> None:
        known = self.cluster.has_view(res)
        view = self._views[res] = self.cluster.view(res)
        if not known:
            view.informer.trim = _only_metadata
        self._by_kind[(res.api_version, res.kind)] = res
        view.index("owned-by", owner_uids)
        view.listen(lambda kind, obj, old: self._changed(res, kind, obj, old))
        for obj in view.objects.values():
            self._uids[obj["metadata"]["uid"]] = (res, key_of(obj))

    def _changed(self, res: Resource, kind: str, obj: Object, _old: Object | None) -> None:
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            self._uids.pop(uid, None)
            self._remember_absent(uid)
            self._mark_dependents(uid)
            for owner in owner_uids(obj):  # an owner in foreground deletion may have waited for this one
                if owner in self._uids:
                    self._queue.add(self._uids[owner])
            return
        self._uids[uid] = (res, key_of(obj))
        self._mark(res, obj)

    def _mark(self, res: Resource, obj: Object) -> None:
        meta = obj["metadata"]
        waits = meta.get("deletionTimestamp") and {FOREGROUND, ORPHAN} & set(meta.get("finalizers") or ())
        if self._ready and (meta.get("ownerReferences") or waits):
            self._queue.add((res, key_of(obj)))

    def _dependents(self, uid: str) -> list[tuple[Resource, Object]]:
        return [(res, obj) for res, view in self._views.items() for obj in view.by("owned-by", uid)]

    def _mark_dependents(self, uid: str) -> None:
        for res, obj in self._dependents(uid):
            self._queue.add((res, key_of(obj)))

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > _ABSENT_MOST:
            self._absent.popitem(last=False)

    async def _work(self) -> None:
        while True:
            item = await self._queue.take()
            try:
                await self._visit(*item)
            except PodloomError as e:
                wait_s = self._queue.failed(item)
                say = log.debug if wait_s < 5 else log.warning
                say("garbage.retry", resource=item[0].plural, key="/".join(item[1]), error=e.message)
            except Exception:  # a bug with one object must not stop the others
                log.exception("garbage.bug", resource=item[0].plural, key="/".join(item[1]))
                self._queue.failed(item)
            else:
                self._queue.done(item)

    async def _visit(self, res: Resource, key: Key) -> None:
        view = self._views.get(res)
        obj = view.objects.get(key) if view else None
        if obj is None:
            return
        if obj["metadata"].get("deletionTimestamp"):
            await self._leave(res, obj)
            return
        owners = {}
        for ref in obj["metadata"].get("ownerReferences") or ():
            owners[ref["uid"]] = await self._owner_state(ref, key[0])
        uid = obj["metadata"]["uid"]
        verdict = judge(obj, owners, bool(self._dependents(uid)))
        if verdict.keep_refs is not None:
            meta = {"uid": uid, "resourceVersion": obj["metadata"]["resourceVersion"]}
            await self.cluster.patch(res, obj, {"metadata": {**meta, "ownerReferences": verdict.keep_refs}})
        elif verdict.delete:
            await self.cluster.delete(res, obj, propagation=verdict.delete)

    async def _owner_state(self, ref: Object, namespace: str) -> OwnerState:
        """From the copy; when it is not there, from the server, since copies of different kinds lag differently."""
        found = self._uids.get(ref["uid"])
        owner = self._views[found[0]].objects.get(found[1]) if found and found[0] in self._views else None
        if owner is None or owner["metadata"]["uid"] != ref["uid"]:
            if ref["uid"] in self._absent:
                return OwnerState(False)
            owner = await self._ask(ref, namespace)
            if owner is None:
                self._remember_absent(ref["uid"])
                return OwnerState(False)
        meta = owner["metadata"]
        waiting = bool(meta.get("deletionTimestamp")) and FOREGROUND in (meta.get("finalizers") or ())
        return OwnerState(True, waiting)

    async def _ask(self, ref: Object, namespace: str) -> Object | None:
        res = self._by_kind.get((ref["apiVersion"], ref["kind"]))
        if res is None:
            raise KubeError(503, "", f"owner kind {ref['kind']} of {ref['apiVersion']} is not served")
        try:
            owner = await self.cluster.client.get(res, ref["name"], namespace if res.namespaced else "")
        except KubeError as e:
            if e.not_found and e.details.get("name") == ref["name"]:
                return None
            raise  # another 404 means the kind is not served just now: that says nothing about the owner
        return owner if owner["metadata"]["uid"] == ref["uid"] else None

    async def _leave(self, res: Resource, obj: Object) -> None:
        """An object being deleted: orphan its dependents, or wait until those that block are gone."""
        finalizers, uid = obj["metadata"].get("finalizers") or (), obj["metadata"]["uid"]
        dependents = self._dependents(uid)
        if ORPHAN in finalizers:
            for dependent_res, dependent in dependents:
                await self._orphan(dependent_res, dependent, uid)
            await self.cluster.patch(res, obj, without_finalizer(obj, ORPHAN))
        elif FOREGROUND in finalizers:
            for dependent_res, dependent in dependents:
                self._queue.add((dependent_res, key_of(dependent)))
            if not any(blocks(dependent, uid) for _, dependent in dependents):
                await self.cluster.patch(res, obj, without_finalizer(obj, FOREGROUND))

    async def _orphan(self, res: Resource, dependent: Object, uid: str) -> None:
        try:
            await self.cluster.patch(res, dependent, disowning(uid, dependent))
        except KubeError as e:
            if not e.not_found:
                raise


def _only_metadata(obj: Object) -> Object:
    """Enough of an object nobody else here reads."""
    wanted = (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "ownerReferences",
        "finalizers",
        "deletionTimestamp",
    )
    return {"metadata": {name: obj["metadata"][name] for name in wanted if name in obj["metadata"]}}
