"""An informer with indexes and any number of listeners: what several readers of one resource share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog

from podloom.drivers.kube.api import KubeApi
from podloom.drivers.kube.informer import Informer, OnEvent
from podloom.model.kube import Key, Object, Resource, key_of

IndexOf = Callable[[Object], Iterable[str]]
log = structlog.get_logger()


class View:
    """One resource's objects, by key and by index; listeners hear of changes after the indexes follow."""

    def __init__(self, client: KubeApi, res: Resource, **options: Any) -> None:
        self.res = res
        self.informer = Informer(client, res, on_event=self._changed, **options)
        self._listeners: list[OnEvent] = []
        self._indexes: dict[str, tuple[IndexOf, dict[str, dict[Key, None]]]] = {}

    @property
    def objects(self) -> dict[Key, Object]:
        """All objects by (namespace, name); shared, never to be changed in place."""
        return self.informer.objects

    def get(self, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""
        return self.informer.objects.get((namespace, name))

    def index(self, name: str, keys: IndexOf) -> None:
        """Keep an index: `keys(object)` are the values under which `by` finds it. Repeating a name is free."""
        if name not in self._indexes:
            self._indexes[name] = (keys, {})
            for obj in self.objects.values():
                self._index(obj, None)

    def by(self, name: str, value: str) -> list[Object]:
        """The objects under `value` of index `name`."""
        found = self._indexes[name][1].get(value, ())
        return [self.objects[key] for key in found if key in self.objects]

    def listen(self, listener: OnEvent) -> None:
        """Call `listener(type, object, before)` after each change."""
        self._listeners.append(listener)

    def _index(self, new: Object | None, old: Object | None) -> None:
        for keys, table in self._indexes.values():
            for value in keys(old) if old else ():
                if bucket := table.get(value):
                    bucket.pop(key_of(old or {}), None)
                    if not bucket:
                        del table[value]
            for value in keys(new) if new else ():
                table.setdefault(value, {})[key_of(new or {})] = None

    def _changed(self, kind: str, obj: Object, old: Object | None) -> None:
        self._index(None if kind == "DELETED" else obj, old)
        for listener in self._listeners:
            try:
                listener(kind, obj, old)
            except Exception:  # one listener's bug must not cut the others off from events
                log.exception("kube.listener", resource=self.res.plural)
