"""An API server in memory with the client's interface, for tests of everything that speaks Kubernetes.

The problem: controllers, agent and operator are tested in milliseconds, with restarts, compaction and outages at
chosen moments. So this keeps what such clients depend on: resourceVersions and conflicts, status as a
subresource, finalizers, graceful pod deletion, watch history with 410 after `compact()`, selectors. It does no
validation and no defaulting: that is the API server's own test. Seed with `put`, look with `peek`.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import orjson

from podloom.drivers.kube.api import KubeError
from podloom.drivers.kube.patching import json_patch, merge, strategic
from podloom.model.errors import Unavailable
from podloom.model.kube import BUILTIN, NAMESPACES, NODES, PODS, Key, Object, Resource, key_of
from podloom.model.kubeselector import Selector, fields_match, parse_fields, parse_labels

_NO_STATUS = {"configmaps", "secrets", "events", "endpoints", "endpointslices", "leases", "serviceaccounts"}
_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


@dataclass
class _Watcher:
    res: Resource
    namespace: str
    labels: Selector
    fields: tuple[tuple[str, bool, str], ...]
    queue: asyncio.Queue[tuple[str, Object] | None]

    def matches(self, obj: Object | None) -> bool:
        if obj is None or (self.namespace and obj["metadata"].get("namespace") != self.namespace):
            return False
        return self.labels.matches(obj["metadata"].get("labels")) and fields_match(self.fields, obj)

    def offer(self, old: Object | None, new: Object | None, version: int) -> None:
        """Queue what this watcher sees of a change: an object leaving its selection is DELETED."""
        was, now = self.matches(old), self.matches(new)
        if now and new is not None:
            self.queue.put_nowait(("MODIFIED" if was else "ADDED", _copy(new)))
        elif was and old is not None:
            gone = _copy(new or old)
            gone["metadata"]["resourceVersion"] = str(version)
            self.queue.put_nowait(("DELETED", gone))


class FakeKube:
    """`KubeApi` in memory. `down = True` makes every call fail as if the server were away."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.down = False
        self.calls: list[tuple[str, str, str]] = []  # (verb, plural, namespace/name) of every mutation
        self.extra: list[Resource] = []  # custom resources that discovery shows besides the built-in ones
        self._now = now
        self._version = itertools.count(1)
        self._last = 0
        self._oldest = 0
        self._stored: dict[str, dict[Key, Object]] = {}
        self._history: list[tuple[int, Resource, Object | None, Object | None]] = []
        self._watchers: list[_Watcher] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def put(self, res: Resource, obj: Object) -> Object:
        """Create or replace verbatim, status included, as if it had always been there."""
        old = self._of(res).get(key_of(obj))
        new = _copy(obj)
        new.setdefault("apiVersion", res.api_version)
        new.setdefault("kind", res.kind)
        if old is not None:
            new["metadata"]["uid"] = old["metadata"]["uid"]
        return self._write(res, old, self._stamped(new))

    def peek(self, res: Resource, name: str, namespace: str = "") -> Object | None:
        """The stored object, or None; a copy."""
        obj = self._of(res).get((namespace, name))
        return None if obj is None else _copy(obj)

    def all(self, res: Resource, namespace: str = "") -> list[Object]:
        """Every stored object, sorted by key; copies."""
        return [_copy(o) for k, o in sorted(self._of(res).items()) if not namespace or k[0] == namespace]

    def compact(self) -> None:
        """Forget the watch history: watches from an older resourceVersion get 410."""
        self._history.clear()
        self._oldest = self._last

    def drop_watches(self) -> None:
        """End every open watch, as a restarting server does."""
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)

    async def discover(self) -> list[tuple[Resource, frozenset[str]]]:
        await self._arrive("discover")
        verbs = frozenset(("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"))
        return [(res, verbs) for res in (*BUILTIN, *self.extra)]

    async def get(self, res: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        await self._arrive("get")
        return _copy(self._existing(res, name, namespace))

    async def list(
        self,
        res: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
    ) -> tuple[list[Object], str]:
        await self._arrive("list")
        chosen = self._watcher(res, namespace, label_selector, field_selector)
        found = [_copy(o) for _, o in sorted(self._of(res).items()) if chosen.matches(o)]
        return found, str(self._last)

    async def create(
        self, res: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        await self._arrive("create")
        namespace = namespace or obj.get("metadata", {}).get("namespace", "")
        if subresource:
            return self._create_sub(res, obj, namespace, name, subresource)
        new = _copy(obj)
        meta = new.setdefault("metadata", {})
        if res.namespaced:
            meta["namespace"] = namespace or "default"
            self._refuse_terminating(meta["namespace"], res)
        if not meta.get("name"):
            meta["name"] = meta.get("generateName", "") + uuid.uuid4().hex[:5]
        if key_of(new) in self._of(res):
            raise KubeError(409, "AlreadyExists", f'{res.group_resource} "{meta["name"]}" already exists')
        for field in _SERVER_OWNED:
            meta.pop(field, None)
        new.setdefault("apiVersion", res.api_version)
        new.setdefault("kind", res.kind)
        _initial_status(res, new)
        self._called("create", res, new)
        return self._write(res, None, self._stamped(new))

    async def replace(self, res: Resource, obj: Object, *, subresource: str = "") -> Object:
        await self._arrive("replace")
        return self._update(res, _copy(obj), subresource, "replace")

    async def patch(
        self,
        res: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        kind: str = "merge",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> Object:
        await self._arrive("patch")
        if kind == "apply" and (namespace, name) not in self._of(res):
            return await self.create(res, body, namespace=namespace)
        old = self._existing(res, name, namespace)
        if kind == "json":
            new = json_patch(old, body)
        else:
            self._check_preconditions(res, old, body.get("metadata") or {})
            new = (strategic if kind == "strategic" else merge)(old, body)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        return self._update(res, _copy(new), subresource, "patch")

    async def delete(
        self,
        res: Resource,
        name: str,
        namespace: str = "",
        *,
        grace_period_s: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
    ) -> Object:
        await self._arrive("delete")
        old = self._existing(res, name, namespace)
        if uid and uid != old["metadata"]["uid"]:
            raise KubeError(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        self._called("delete", res, old)
        return self._remove(res, old, grace_period_s, propagation)

    async def delete_collection(self, res: Resource, namespace: str = "") -> None:
        await self._arrive("delete")
        for obj in self.all(res, namespace):
            self._called("delete", res, obj)
            self._remove(res, obj, None, None)

    async def watch(
        self,
        res: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 0,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        await self._arrive("watch")
        watcher = self._watcher(res, namespace, label_selector, field_selector)
        since = int(resource_version or 0)
        if since and since < self._oldest:
            raise KubeError(410, "Expired", f"too old resource version: {since} ({self._oldest})")
        if not since:
            for _, obj in sorted(self._of(res).items()):
                watcher.offer(None, obj, self._last)
        for version, of, old, new in self._history if since else ():
            if of == res and version > since:
                watcher.offer(old, new, version)
        self._watchers.append(watcher)
        try:
            while (event := await watcher.queue.get()) is not None:
                yield event
        finally:
            self._watchers.remove(watcher)

    async def _arrive(self, verb: str) -> None:
        """Every call lets others run first, as a network does, and fails while the server is down."""
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(f"{verb} at the API server in memory", "it is down")

    def _of(self, res: Resource) -> dict[Key, Object]:
        return self._stored.setdefault(res.group_resource, {})

    def _watcher(self, res: Resource, namespace: str, labels: str, fields: str) -> _Watcher:
        return _Watcher(res, namespace, parse_labels(labels), parse_fields(fields), asyncio.Queue())

    def _existing(self, res: Resource, name: str, namespace: str) -> Object:
        obj = self._of(res).get((namespace if res.namespaced else "", name))
        if obj is None:
            details = {"name": name, "kind": res.plural}
            raise KubeError(404, "NotFound", f'{res.group_resource} "{name}" not found', details)
        return obj

    def _refuse_terminating(self, namespace: str, res: Resource) -> None:
        found = self._of(NAMESPACES).get(("", namespace))
        if found is not None and found["metadata"].get("deletionTimestamp"):
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise KubeError(403, "Forbidden", text, {"causes": [{"reason": "NamespaceTerminating"}]})

    def _create_sub(self, res: Resource, obj: Object, namespace: str, name: str, subresource: str) -> Object:
        old = self._existing(res, name or obj["metadata"]["name"], namespace)
        if subresource == "binding":
            if old["spec"].get("nodeName"):
                raise KubeError(409, "Conflict", f"pod {name} is already assigned to node")
            new = _copy(old)
            new["spec"]["nodeName"] = obj["target"]["name"]
            now = _time(self._now())
            done = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
            new["status"] = strategic(new.get("status") or {}, {"conditions": [done]})
            self._called("bind", res, new)
            return self._write(res, old, new)
        if subresource == "eviction":
            self._called("evict", res, old)
            return self._remove(res, old, None, None)
        raise KubeError(404, "NotFound", f"no subresource {subresource}")

    def _check_preconditions(self, res: Resource, old: Object, meta: Object) -> None:
        version = meta.get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            text = f'Operation cannot be fulfilled on {res.group_resource} "{old["metadata"]["name"]}"'
            raise KubeError(409, "Conflict", f"{text}: the object has been modified")
        if meta.get("uid") and meta["uid"] != old["metadata"]["uid"]:
            raise KubeError(409, "Conflict", f"uid {meta['uid']} is not that of {old['metadata']['name']}")

    def _update(self, res: Resource, new: Object, subresource: str, verb: str) -> Object:
        old = self._existing(res, new["metadata"]["name"], new["metadata"].get("namespace", ""))
        self._check_preconditions(res, old, new["metadata"])
        if subresource == "status":
            new = {**_copy(old), "status": new.get("status", {})}
        elif subresource == "finalize":
            new = {**_copy(old), "spec": new.get("spec", {})}
        elif subresource == "scale":
            new = merge(old, {"spec": {"replicas": new["spec"]["replicas"]}})
        elif res.plural not in _NO_STATUS and "status" in old:
            new["status"] = _copy(old["status"])
        for field in _SERVER_OWNED:
            new["metadata"].pop(field, None)
            if field in old["metadata"]:
                new["metadata"][field] = old["metadata"][field]
        if "generation" in old["metadata"] and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._called(verb, res, new)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return _copy(old)
        if new["metadata"].get("deletionTimestamp") and not _held(res, new):
            return self._write(res, old, None)
        return self._write(res, old, new)

    def _remove(self, res: Resource, old: Object, grace_s: int | None, propagation: str | None) -> Object:
        new = _copy(old)
        meta = new["metadata"]
        hold = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(propagation or "")
        if hold and hold not in meta.get("finalizers", ()):
            meta["finalizers"] = [*meta.get("finalizers", ()), hold]
        grace = _grace_s(res, old, grace_s)
        meta.setdefault("deletionTimestamp", _time(self._now()))
        meta["deletionGracePeriodSeconds"] = min(grace, meta.get("deletionGracePeriodSeconds", grace))
        if res == NAMESPACES:
            new["status"] = {**new.get("status", {}), "phase": "Terminating"}
        return self._write(res, old, new if _held(res, new) else None)

    def _stamped(self, new: Object) -> Object:
        meta = new["metadata"]
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", _time(self._now()))
        if "spec" in new:
            meta.setdefault("generation", 1)
        return new

    def _called(self, verb: str, res: Resource, obj: Object) -> None:
        self.calls.append((verb, res.plural, "/".join(filter(None, key_of(obj)))))

    def _write(self, res: Resource, old: Object | None, new: Object | None) -> Object:
        """Store (or, with new None, remove) and tell the watchers."""
        if new is not None and old is not None:
            same = {**new["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}
            if {**new, "metadata": same} == old:
                return _copy(old)
        version = self._last = next(self._version)
        key = key_of(new or old or {})
        if new is None:
            self._of(res).pop(key)
        else:
            new["metadata"]["resourceVersion"] = str(version)
            self._of(res)[key] = new
        self._history.append((version, res, old, new))
        for watcher in self._watchers:
            if watcher.res == res:
                watcher.offer(old, new, version)
        return _copy(new or old or {})


def _copy(obj: Object) -> Object:
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


def _time(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _initial_status(res: Resource, new: Object) -> None:
    """What the server puts into a new object's status, where clients depend on it."""
    if res == PODS:
        new["status"] = {"phase": "Pending"}
    elif res == NAMESPACES:
        new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        new["status"] = {"phase": "Active"}
    elif res != NODES and res.plural not in _NO_STATUS and "spec" in new:
        new["status"] = {}


def _grace_s(res: Resource, old: Object, asked_s: int | None) -> int:
    """Pods bound to a node and not finished get their grace; everything else goes at once."""
    if res != PODS or not old["spec"].get("nodeName"):
        return 0
    if old.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if asked_s is not None:
        return asked_s
    return int(old["spec"].get("terminationGracePeriodSeconds", 30))


def _held(res: Resource, obj: Object) -> bool:
    """Whether something still has to happen before a deleted object may go."""
    meta = obj["metadata"]
    spec_finalizers = obj.get("spec", {}).get("finalizers") if res == NAMESPACES else None
    return bool(meta.get("finalizers") or spec_finalizers or meta.get("deletionGracePeriodSeconds"))
