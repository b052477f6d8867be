"""Custom resource definitions at work: names accepted, types served, instances removed with their definition.

The problem: a CustomResourceDefinition is an object like any other until it is established; then it is an API, and
when it is deleted its instances must go first. One loop follows the visible definitions and brings the registry and
the definitions' status in line (Kubernetes "Custom Resources", apiextensions controllers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.core import Api
from podloom.kube.api.create import commit
from podloom.kube.api.delete import CRD_FINALIZER, CRD_KEY, delete_record
from podloom.kube.api.meta import now_text
from podloom.kube.api.options import DeleteOptions
from podloom.kube.api.registry import Served
from podloom.kube.api.state import Record

log = structlog.get_logger()

_RETRY_S = 0.2


class Definitions:
    """Keeps the registry in line with the stored definitions. `on_gone(storage_key)` ends a type's watches."""

    def __init__(self, api: Api, on_gone: Callable[[str], None]) -> None:
        self._api = api
        self._on_gone = on_gone
        self._dirty = asyncio.Event()
        self._known: dict[str, int] = {}
        api.state.table(CRD_KEY).listeners.add(lambda _event: self._dirty.set())

    def load(self) -> None:
        """Serve the established definitions of the store, before the first request."""
        for record in self._api.state.table(CRD_KEY).records(None):
            self._serve(record)

    async def run(self) -> None:
        """Follow changes until cancelled."""
        self._dirty.set()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                again = await self._pass()
            except Exception:
                log.exception("custom resource definitions: pass failed")
                again = True
            if again:
                await asyncio.sleep(_RETRY_S)
                self._dirty.set()

    async def _pass(self) -> bool:
        """One look at all definitions; True when something remains to be done."""
        state = self._api.state
        records = state.table(CRD_KEY).records(None)
        names = {r.name for r in records}
        for name in [n for n in self._known if n not in names]:
            self._drop(name)
        again = False
        for record in records:
            if record.obj["metadata"].get("deletionTimestamp"):
                again = await self._terminate(record) or again
            else:
                await self._settle(record, [r.obj for r in records if r.name != record.name])
        return again

    def _served(self) -> Served | None:
        return self._api.registry.get("apiextensions.k8s.io", "v1", "customresourcedefinitions")

    async def _store(self, record: Record, obj: Object | None) -> None:
        served = self._served()
        newest = self._api.state.head.get(record.key)
        if served is not None and newest is not None and newest.rv == record.rv:
            await commit(self._api, served, obj, namespace="", name=record.name)

    async def _settle(self, record: Record, others: list[Object]) -> None:
        settled = self._api.schemas.settle_crd(record.obj, others, now_text())
        if settled is not None:
            await self._store(record, settled)
            return
        if self._known.get(record.name) != record.rv:
            self._serve(record)

    def _serve(self, record: Record) -> None:
        before = {s.type.group_version for s in self._api.registry.custom(record.name)}
        kinds = self._api.schemas.add_crd(record.obj)
        self._api.registry.set_custom(record.name, kinds)
        self._known[record.name] = record.rv
        after = {k.type.group_version for k in kinds}
        if before - after:
            self._on_gone(_storage_key(record.obj))

    def _drop(self, name: str) -> None:
        custom = self._api.registry.custom(name)
        self._api.schemas.remove_crd(name)
        self._api.registry.set_custom(name, [])
        del self._known[name]
        for served in custom[:1]:
            self._on_gone(served.storage_key)

    async def _terminate(self, record: Record) -> bool:
        """Delete the instances, then let the definition go. True while instances remain."""
        if CRD_FINALIZER not in (record.obj["metadata"].get("finalizers") or []):
            return False
        key = _storage_key(record.obj)
        custom = self._api.registry.custom(record.name)
        instances = self._api.state.head_list(key)
        if instances and custom:
            marked = self._api.schemas.terminate_crd(
                record.obj, "InstanceDeletionInProgress", "CustomResource deletion is in progress", now_text()
            )
            if not _same_conditions(marked, record.obj):
                await self._store(record, marked)
                return True
            for instance in instances:
                if not instance.obj["metadata"].get("deletionTimestamp"):
                    await delete_record(self._api, custom[0], instance, DeleteOptions(), self._context())
            if self._api.state.head_list(key):
                return True
        obj: Object = {**record.obj, "metadata": dict(record.obj["metadata"])}
        left = [f for f in obj["metadata"]["finalizers"] if f != CRD_FINALIZER]
        obj["metadata"]["finalizers"] = left
        if not left:
            del obj["metadata"]["finalizers"]
        await self._store(record, obj if left else None)
        return False

    def _context(self) -> Context:
        return Context(
            reader=self._api.reader,
            settings=self._api.settings,
            now=now_text(),
            verb="delete",
            user="system:apiserver",
            powers=self._api.powers,
        )


def _storage_key(crd: Object) -> str:
    return f"{crd['spec']['group']}/{crd['spec']['names']['plural']}"


def _same_conditions(a: Object, b: Object) -> bool:
    def shown(crd: Object) -> list[tuple[str, str, str]]:
        conditions = (crd.get("status") or {}).get("conditions") or []
        return sorted((c["type"], c["status"], c.get("reason", "")) for c in conditions)

    return shown(a) == shown(b)
