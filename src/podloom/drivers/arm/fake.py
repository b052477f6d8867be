"""A cloud in memory with the same manners as the real one, for tests of doors.

The problem: an operator or a fabric must be tested against a cloud that stores wishes, numbers generations, lets
reports and deletions meet, and streams changes, without a process. It does not judge wishes (plan.address does) and
gives no addresses; `realise` says which types come true by themselves, at once, since nobody else does it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from podloom.drivers.arm.api import Change, CloudError
from podloom.model.arm import MANAGED_CLUSTERS, RESOURCE_GROUPS, ResourceId
from podloom.render.arm import Json, is_named_list, merge_patch, named, overlay, without

_SERVER_OWNED = ("provisioningState", "podloom")


class FakeCloud:
    """`CloudApi` in memory. Types for which `realise` is true are Succeeded at once; others wait for a report."""

    def __init__(self, *, realise: Callable[[str], bool] = lambda _: True) -> None:
        self._realise = realise
        self._wishes: dict[str, Json] = {}
        self._said: dict[str, Json] = {}
        self._generations: dict[str, int] = {}
        self._ids: dict[str, ResourceId] = {}
        self._log: dict[str, Change] = {}
        self._seq = 0
        self._changed = asyncio.Event()

    async def get(self, id: str) -> Json:
        key = ResourceId.parse(id).key
        if key not in self._wishes:
            raise _error(404, "ResourceNotFound", f"'{id}' was not found")
        return self._view(key)

    async def find(self, id: str) -> Json | None:
        key = ResourceId.parse(id).key
        return self._view(key) if key in self._wishes else None

    async def list(self, path: str) -> list[Json]:
        wanted = path.lower()
        if path.startswith("/"):
            depth = wanted.count("/") + 1
            keys = [key for key in self._ids if key.startswith(wanted + "/") and key.count("/") == depth]
        else:
            keys = [key for key, id_ in self._ids.items() if id_.type.lower() == wanted]
        return [self._view(key) for key in sorted(keys)]

    async def put(self, id: str, body: Json, wait: bool = False) -> Json:
        id_ = ResourceId.parse(id)
        if id_.type != RESOURCE_GROUPS and id_.group_id.key not in self._wishes:
            raise _error(404, "ResourceGroupNotFound", f"Resource group '{id_.group}' could not be found.")
        key, old = id_.key, self._wishes.get(id_.key)
        if self._state(key) == "Deleting":
            raise _error(409, "OperationNotAllowed", f"'{id}' is being deleted")
        properties = {k: v for k, v in (body.get("properties") or {}).items() if k not in _SERVER_OWNED}
        if old is not None:
            properties = without(properties, self._said[key], old["properties"])
        wish = {k: v for k, v in body.items() if k not in ("id", "name", "type", "etag")} | {"properties": properties}
        if wish != old or self._state(key) == "Failed":
            state = "Succeeded" if self._realise(id_.type) else "Creating" if old is None else "Updating"
            self._ids.setdefault(key, id_)
            self._wishes[key] = wish
            self._generations[key] = self._generations.get(key, 0) + 1
            self._said[key] = {**self._said.get(key, {}), "provisioningState": state}
            self._tell(key)
        if wait:
            await self._until(key, lambda: self._state(key) in ("Succeeded", "Failed"))
            if self._state(key) == "Failed":
                raise CloudError(200, self._said[key].get("error") or {"code": "ReconcileFailed"})
        return self._view(key)

    async def delete(self, id: str, wait: bool = False) -> None:
        key = ResourceId.parse(id).key
        if key not in self._wishes:
            return
        if self._ids[key].type == MANAGED_CLUSTERS and not self._realise(MANAGED_CLUSTERS):
            if self._state(key) != "Deleting":
                self._generations[key] += 1
                self._said[key]["provisioningState"] = "Deleting"
                self._tell(key)
            if wait:
                await self._until(key, lambda: key not in self._wishes)
            return
        self._remove(key)

    async def report(self, id: str, properties_patch: Json, *, generation: int | None = None) -> Json:
        key = ResourceId.parse(id).key
        if key not in self._wishes:
            raise _error(404, "ResourceNotFound", f"'{id}' was not found")
        patch = {k: named(v) if is_named_list(v) else v for k, v in properties_patch.items() if k != "kubeconfigs"}
        late = generation is not None and generation < self._generations[key]
        if late or self._state(key) == "Deleting":
            patch.pop("provisioningState", None)
        said = merge_patch(self._said[key], patch)
        if said != self._said[key]:
            self._said[key] = said
            self._tell(key)
        return self._view(key)

    async def finalize(self, id: str) -> None:
        key = ResourceId.parse(id).key
        if key not in self._wishes:
            return
        if self._state(key) != "Deleting":
            raise _error(409, "OperationNotAllowed", f"'{id}' is not being deleted")
        self._remove(key)

    async def changes(self, since: int = 0) -> AsyncIterator[Change]:
        fresh = since <= 0 or since > self._seq
        position = 0 if fresh else since
        yield Change(position, "", False, marker="snapshot" if fresh else "resume")
        synced = False
        while True:
            changed = self._changed
            for change in sorted(self._log.values(), key=lambda found: found.seq):
                if change.seq > position:
                    position = change.seq
                    if not (change.deleted and fresh):
                        yield change
            if not synced:
                synced, fresh = True, False
                yield Change(position, "", False, marker="synced")
            elif changed is self._changed:
                await changed.wait()

    def _state(self, key: str) -> str:
        return str(self._said.get(key, {}).get("provisioningState", ""))

    def _view(self, key: str) -> Json:
        id_, wish = self._ids[key], self._wishes[key]
        said: Any = {k: v for k, v in self._said[key].items() if k != "error"}
        joined = overlay(wish["properties"], said)
        own = {**joined.get("podloom", {}), "generation": self._generations[key]}
        head = {"id": str(id_), "name": id_.name, "type": id_.type}
        return {**head, **wish, "properties": {**joined, "podloom": own}}

    def _remove(self, key: str) -> None:
        for inner in [other for other in self._wishes if other == key or other.startswith(key + "/")]:
            id_ = self._ids.pop(inner)
            for table in (self._wishes, self._said, self._generations):
                table.pop(inner)
            self._note(Change(self._seq + 1, str(id_), True, id_.type), inner)

    def _tell(self, key: str) -> None:
        view = self._view(key)
        self._note(Change(self._seq + 1, view["id"], False, view["type"], view), key)

    def _note(self, change: Change, key: str) -> None:
        self._seq = change.seq
        self._log[key] = change
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, key: str, done: Callable[[], bool]) -> None:
        while not done():
            await self._changed.wait()


def _error(status: int, code: str, message: str) -> CloudError:
    return CloudError(status, {"code": code, "message": message})
