"""Recordings of a real API server, and a small world for hooks to look at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from podloom.kube.api.contract import Context, Object, Settings
from podloom.kube.api.kinds import TYPES, kind_for
from podloom.kube.api.schema import Schemas

ROOT = Path(__file__).resolve().parents[4]


@cache
def _load(topic: str) -> list[dict[str, Any]] | None:
    folder = Path(os.environ.get("PODLOOM_KUBE_RECORDINGS", ROOT.parent / "shared/data/kube-api"))
    path = folder / f"{topic}.json"
    if not path.exists():
        return None
    entries: list[dict[str, Any]] = json.loads(path.read_text())
    return entries


@pytest.fixture
def recording() -> Callable[[str], list[dict[str, Any]]]:
    """The entries of a topic: note, request, response."""

    def load(topic: str) -> list[dict[str, Any]]:
        entries = _load(topic)
        if entries is None:
            pytest.skip("no recordings of a real API server")
        return entries

    return load


class World:
    """Objects by group, plural, namespace and name; what hooks read, and a server's order of calls for them."""

    now = "2026-01-01T00:00:00Z"

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas
        self.objects: dict[tuple[str, str, str, str], Object] = {}
        self.settings = Settings(service_cidrs=("10.96.0.0/16",))
        self.kinds = {(t.group, t.version, t.plural): kind_for(t) for t in TYPES}

    def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        return self.objects.get((group, plural, namespace, name))

    def list(self, group: str, plural: str, namespace: str = "") -> list[Object]:
        found = [(key, obj) for key, obj in self.objects.items() if key[:2] == (group, plural)]
        return [obj for key, obj in found if not namespace or key[2] == namespace]

    def put(self, group: str, plural: str, obj: Object) -> None:
        meta = obj["metadata"]
        self.objects[group, plural, meta.get("namespace", ""), meta["name"]] = obj

    def context(self, verb: str, **more: Any) -> Context:
        return Context(reader=self, settings=self.settings, now=self.now, verb=verb, **more)

    def kind(self, plural: str, group: str = "", version: str = "v1") -> Any:
        return self.kinds[group, version, plural]

    def create(self, kind: Any, body: Object, **more: Any) -> Any:
        """What a POST does: the object as it would be stored, or the causes of a 422."""
        ctx = self.context("create", namespace=body["metadata"].get("namespace", ""), **more)
        obj, _ = self.schemas.decode(kind.type, body, "Ignore")
        kind.default(obj, ctx)
        kind.admit(obj, None, ctx)
        kind.default(obj, ctx)
        obj["metadata"].setdefault("uid", "00000000-0000-0000-0000-000000000001")
        kind.prepare_create(obj, ctx)
        causes = kind.validate_create(obj, ctx)
        if causes:
            return causes
        obj = self.schemas.finish(kind.type, obj)
        if not ctx.dry_run:
            self.put(kind.type.group, kind.type.plural, obj)
            for write in kind.after_store(obj, None, ctx):
                self._write(write)
        return obj

    def update(self, kind: Any, body: Object, old: Object, **more: Any) -> Any:
        """What a PUT does."""
        ctx = self.context("update", namespace=body["metadata"].get("namespace", ""), **more)
        obj, _ = self.schemas.decode(kind.type, body, "Ignore")
        kind.default(obj, ctx)
        kind.prepare_update(obj, old, ctx)
        causes = kind.validate_update(obj, old, ctx)
        if causes:
            return causes
        obj = self.schemas.finish(kind.type, obj)
        self.put(kind.type.group, kind.type.plural, obj)
        for write in kind.after_store(obj, old, ctx):
            self._write(write)
        return obj

    def _write(self, write: Any) -> None:
        key = (write.type.group, write.type.plural, write.namespace, write.name)
        if write.obj is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = write.obj


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas()


@pytest.fixture
def world(schemas: Schemas) -> World:
    """An empty cluster with the default account in namespace `ns`."""
    made = World(schemas)
    made.put("", "serviceaccounts", {"metadata": {"name": "default", "namespace": "ns"}})
    return made
