"""Followers of a resource survive kill -9 of the API server and a 410: ours, and the Python client's informer."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from podloom.drivers.kube import Informer, KubeClient
from podloom.model.kube import CONFIGMAPS, Object


def config(name: str, **data: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def restart_compacted(api: Any) -> None:
    """Kill the server, forget its whole history while it is down, start it: every old version is now too old."""
    api.stop(signal.SIGKILL)
    for path in (api.folder / "data").glob("*.db"):
        with sqlite3.connect(path) as db:
            (last,) = db.execute("SELECT max(rv) FROM events").fetchone()
            db.execute("DELETE FROM events")
            db.execute("INSERT OR REPLACE INTO meta VALUES('compacted', ?)", (last,))
        db.close()
    api.start()


async def until(test: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.05)


async def test_our_informer(api: Any) -> None:
    """The copy follows through a restart that keeps history and one that forgets it."""
    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        informer = Informer(client, CONFIGMAPS, namespace="default")
        work = asyncio.create_task(informer.run())
        await informer.synced.wait()
        for restart in (lambda: (api.stop(signal.SIGKILL), api.start()), lambda: restart_compacted(api)):
            made = await client.create(
                CONFIGMAPS, {**config("x"), "metadata": {"generateName": "c-"}}, namespace="default"
            )
            await until(lambda made=made: ("default", made["metadata"]["name"]) in informer.objects)
            await asyncio.to_thread(restart)
            late = await client.create(
                CONFIGMAPS, {**config("x"), "metadata": {"generateName": "c-"}}, namespace="default"
            )
            await client.delete(CONFIGMAPS, made["metadata"]["name"], "default")
            await until(
                lambda made=made, late=late: (
                    ("default", late["metadata"]["name"]) in informer.objects
                    and ("default", made["metadata"]["name"]) not in informer.objects
                )
            )
        work.cancel()


async def test_python_client_informer(api: Any) -> None:
    """kubernetes.informer.SharedInformer, unmodified: its cache follows through both kinds of restart."""
    kubernetes = pytest.importorskip("kubernetes", reason="needs the Python kubernetes package")
    from kubernetes.informer import SharedInformer

    kubernetes.config.load_kube_config(str(api.kubeconfig))
    core = kubernetes.client.CoreV1Api()
    informer = SharedInformer(core.list_namespaced_config_map, namespace="default")
    informer.start()

    def names() -> set[str]:
        return {item.metadata.name for item in informer.cache.list()}

    try:
        await asyncio.to_thread(core.create_namespaced_config_map, "default", config("a"))
        await until(lambda: "a" in names())
        for number, restart in enumerate(
            (lambda: (api.stop(signal.SIGKILL), api.start()), lambda: restart_compacted(api))
        ):
            await asyncio.to_thread(restart)
            await asyncio.to_thread(core.create_namespaced_config_map, "default", config(f"late{number}"))
            await asyncio.to_thread(core.delete_namespaced_config_map, "a", "default")
            await until(lambda number=number: f"late{number}" in names() and "a" not in names())
            await asyncio.to_thread(core.create_namespaced_config_map, "default", config("a"))
    finally:
        await asyncio.to_thread(informer.stop)
