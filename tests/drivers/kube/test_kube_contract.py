"""One contract for both bodies of the client: the API server in memory and a real one."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from podloom.drivers.kube import KubeApi, KubeClient, KubeError
from podloom.drivers.kube.fake import FakeKube
from podloom.model.errors import Unavailable
from podloom.model.kube import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS, Object

_API = Path(__file__).parents[2] / "kube" / "controllers" / "conftest.py"


def api_process(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("api_process", _API)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ApiServer(folder)


@pytest.fixture(params=["fake", "real"])
async def kube(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KubeApi]:
    if request.param == "fake":
        fake = FakeKube()
        fake.put(NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
        yield fake
        return
    server = api_process(tmp_path)
    server.start()
    try:
        async with KubeClient.from_kubeconfig(server.kubeconfig) as client:
            yield client
    finally:
        server.stop()


def config(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels or {}}, "data": data}


def pod(name: str, **meta: Any) -> Object:
    spec = {"containers": [{"name": "c", "image": "a:1"}]}
    return {"metadata": {"name": name, "namespace": "default", **meta}, "spec": spec}


async def refused(call: Any) -> KubeError:
    with pytest.raises(KubeError) as failure:
        await call
    return failure.value


async def test_create_get_conflict_delete(kube: KubeApi) -> None:
    """Create, duplicate, stale replace, missing: each error says what it is."""
    made = await kube.create(CONFIGMAPS, config("a", x="1"))
    assert made["metadata"]["uid"] and made["kind"] == "ConfigMap"
    assert (await refused(kube.create(CONFIGMAPS, config("a")))).already_exists
    newer = await kube.replace(CONFIGMAPS, {**made, "data": {"x": "2"}})
    assert int(newer["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert (await refused(kube.replace(CONFIGMAPS, {**made, "data": {"x": "3"}}))).conflict
    assert (await refused(kube.delete(CONFIGMAPS, "a", "default", uid="other"))).conflict
    await kube.delete(CONFIGMAPS, "a", "default", uid=made["metadata"]["uid"])
    assert (await refused(kube.get(CONFIGMAPS, "a", "default"))).not_found


async def test_an_unchanged_write_is_no_event(kube: KubeApi) -> None:
    """Writing what is there keeps the resourceVersion."""
    made = await kube.create(CONFIGMAPS, config("a", x="1"))
    same = await kube.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, "default")
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_selectors(kube: KubeApi) -> None:
    """Label and field selectors choose on the server."""
    for name, labels in (("a", {"t": "1"}), ("b", {"t": "2"}), ("c", {})):
        await kube.create(CONFIGMAPS, config(name, labels))

    async def names(**selectors: str) -> list[str]:
        return [
            o["metadata"]["name"]
            for o in (await kube.list(CONFIGMAPS, "default", **selectors))[0]
            if len(o["metadata"]["name"]) == 1
        ]

    assert await names(label_selector="t in (1,2)") == ["a", "b"]
    assert await names(label_selector="!t") == ["c"]
    assert await names(label_selector="t!=1") == ["b", "c"]
    assert await names(field_selector="metadata.name=b") == ["b"]
    assert await names(limit=1) == ["a", "b", "c"]  # type: ignore[arg-type]


async def test_watch_continues_from_a_list(kube: KubeApi) -> None:
    """A watch from a list's version shows exactly what happened after it, in order."""
    await kube.create(CONFIGMAPS, config("before"))
    _, version = await kube.list(CONFIGMAPS, "default")
    await kube.create(CONFIGMAPS, config("a"))
    await kube.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, "default")
    await kube.delete(CONFIGMAPS, "a", "default")
    seen = []
    async with asyncio.timeout(5), aclosing(kube.watch(CONFIGMAPS, "default", resource_version=version)) as events:
        async for kind, obj in events:
            if kind != "BOOKMARK":
                seen.append((kind, obj["metadata"]["name"]))
            if len(seen) == 3:
                break
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_status_and_spec_are_apart(kube: KubeApi) -> None:
    """The status subresource changes status only, the main resource spec only; spec changes count generations."""
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]},
    }
    made = await kube.create(DEPLOYMENTS, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    assert made["metadata"]["generation"] == 1
    body = {"spec": {"replicas": 7}, "status": {"observedGeneration": 1}}
    after = await kube.patch(DEPLOYMENTS, "d", body, "default", subresource="status")
    assert after["spec"].get("replicas") != 7 and after["status"]["observedGeneration"] == 1
    after = await kube.patch(
        DEPLOYMENTS, "d", {"spec": {"replicas": 7}, "status": {"observedGeneration": 9}}, "default"
    )
    assert after["spec"]["replicas"] == 7 and after["status"]["observedGeneration"] == 1
    assert after["metadata"]["generation"] == 2


async def test_binding_happens_once(kube: KubeApi) -> None:
    """A pod is bound to one node; a second binding is a conflict."""
    await kube.create(NODES, {"metadata": {"name": "n1"}})
    await kube.create(PODS, pod("p"))
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p", "namespace": "default"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
    }
    await kube.create(PODS, binding, namespace="default", name="p", subresource="binding")
    assert (await kube.get(PODS, "p", "default"))["spec"]["nodeName"] == "n1"
    again = kube.create(PODS, binding, namespace="default", name="p", subresource="binding")
    assert (await refused(again)).conflict


async def test_graceful_deletion_of_a_bound_pod(kube: KubeApi) -> None:
    """A bound pod stays, marked, until it is deleted with grace 0; finalizers hold any object."""
    await kube.create(NODES, {"metadata": {"name": "n1"}})
    bound = pod("p")
    bound["spec"]["nodeName"] = "n1"
    await kube.create(PODS, bound)
    await kube.delete(PODS, "p", "default", grace_period_s=5)
    marked = await kube.get(PODS, "p", "default")
    assert marked["metadata"]["deletionTimestamp"] and marked["metadata"]["deletionGracePeriodSeconds"] == 5
    await kube.delete(PODS, "p", "default", grace_period_s=0)
    assert (await refused(kube.get(PODS, "p", "default"))).not_found
    await kube.create(
        CONFIGMAPS, {**config("f"), "metadata": {"name": "f", "namespace": "default", "finalizers": ["x.io/y"]}}
    )
    await kube.delete(CONFIGMAPS, "f", "default")
    assert (await kube.get(CONFIGMAPS, "f", "default"))["metadata"]["deletionTimestamp"]
    await kube.patch(CONFIGMAPS, "f", {"metadata": {"finalizers": None}}, "default")
    assert (await refused(kube.get(CONFIGMAPS, "f", "default"))).not_found


async def test_patch_kinds(kube: KubeApi) -> None:
    """Merge, strategic and JSON patches."""
    await kube.create(PODS, pod("p", labels={"a": "1", "b": "2"}))
    merged = await kube.patch(PODS, "p", {"metadata": {"labels": {"a": None, "c": "3"}}}, "default")
    assert merged["metadata"]["labels"] == {"b": "2", "c": "3"}
    operations = [{"op": "replace", "path": "/metadata/labels/b", "value": "9"}]
    assert (await kube.patch(PODS, "p", operations, "default", kind="json"))["metadata"]["labels"]["b"] == "9"
    for kind in ("Ready", "Initialized"):
        body = {"status": {"conditions": [{"type": kind, "status": "True"}]}}
        last = await kube.patch(PODS, "p", body, "default", kind="strategic", subresource="status")
    assert {"Ready", "Initialized"} <= {c["type"] for c in last["status"]["conditions"]}
    stale = {"metadata": {"resourceVersion": "1"}}
    assert (await refused(kube.patch(PODS, "p", stale, "default"))).conflict


async def test_discovery_lists_resources(kube: KubeApi) -> None:
    """Discovery names the resources with their verbs, without subresources."""
    found = dict(await kube.discover())
    assert {"list", "watch", "delete"} <= found[DEPLOYMENTS]
    assert PODS in found and not any("/" in r.plural for r in found)


async def test_no_server_is_unavailable() -> None:
    """A refused connection is Unavailable and names the server."""
    from podloom.drivers.kube.config import Access

    async with KubeClient(Access("http://127.0.0.1:1")) as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await client.get(PODS, "p", "default")
