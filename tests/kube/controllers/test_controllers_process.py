"""Controllers and API server as real processes: what a user of kubectl sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from podloom.drivers.kube import KubeClient, KubeError
from podloom.model.kube import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICEACCOUNTS,
    SERVICES,
    Object,
)


@pytest.fixture
async def client(api: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(api.kubeconfig) as kube:
        yield kube


async def add_node(client: KubeClient, name: str, pods: int = 110) -> Object:
    room = {"cpu": "8", "memory": "16Gi", "pods": str(pods), "ephemeral-storage": "100Gi"}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": now}
    status = {"capacity": room, "allocatable": room, "conditions": [{**ready, "lastTransitionTime": now}]}
    await client.create(NODES, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
    return await client.patch(NODES, name, {"status": status}, subresource="status")


def deployment(name: str, replicas: int, image: str = "nginx:1") -> Object:
    labels = {"app": name}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    }


async def until(look: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """Poll until `look` answers something true; the answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = await look()
        except KubeError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


async def pods_where(client: KubeClient, test: Callable[[Object], bool], count: int) -> list[Object]:
    pods, _ = await client.list(PODS, "default")
    return pods if len(pods) == count and all(test(p) for p in pods) else []


async def make_ready(client: KubeClient, pod: Object, ip: str) -> None:
    """What a kubelet would report."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [{"type": t, "status": "True", "lastTransitionTime": now} for t in ("Ready", "ContainersReady")]
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
    await client.patch(
        PODS, pod["metadata"]["name"], {"status": status}, "default", kind="strategic", subresource="status"
    )


async def test_deployment_to_endpoints(api: Any, controllers: Any, client: KubeClient) -> None:
    """A Deployment becomes scheduled pods spread over nodes, and its Service's endpoints follow readiness."""
    await until(lambda: client.get(SERVICEACCOUNTS, "default", "default"))
    await until(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", "default"))
    for name in ("n1", "n2"):
        await add_node(client, name)
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80}]}
    await client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": service})
    await client.create(DEPLOYMENTS, deployment("web", 4))
    started = time.monotonic()
    pods = await until(lambda: pods_where(client, lambda p: bool(p["spec"].get("nodeName")), 4))
    assert time.monotonic() - started < 2.0
    assert sorted(p["spec"]["nodeName"] for p in pods) == ["n1", "n1", "n2", "n2"]
    for number, pod in enumerate(pods):
        await make_ready(client, pod, f"10.1.0.{number + 1}")

    async def all_ready() -> bool:
        slices, _ = await client.list(ENDPOINTSLICES, "default", label_selector="kubernetes.io/service-name=web")
        ready = [e for s in slices for e in s["endpoints"] or () if e["conditions"]["ready"]]
        return len(slices) == 1 and len(ready) == 4

    await until(all_ready)

    async def all_listed() -> bool:
        endpoints = await client.get(ENDPOINTS, "web", "default")
        return len((endpoints.get("subsets") or [{}])[0].get("addresses") or ()) == 4

    await until(all_listed)
    status = (await until(lambda: rolled_out(client, "web")))["status"]
    assert status["availableReplicas"] == 4


async def rolled_out(client: KubeClient, name: str) -> Object | None:
    found = await client.get(DEPLOYMENTS, name, "default")
    reasons = {c["type"]: c["reason"] for c in found.get("status", {}).get("conditions") or ()}
    done = reasons.get("Progressing") == "NewReplicaSetAvailable"
    return found if done and found["status"]["observedGeneration"] == found["metadata"]["generation"] else None


async def test_namespace_goes_with_its_content(api: Any, controllers: Any, client: KubeClient) -> None:
    """Deleting a namespace deletes what is in it, then itself."""
    await client.create(NAMESPACES, {"metadata": {"name": "gone"}})
    await until(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", "gone"))
    await client.create(DEPLOYMENTS, {**deployment("web", 2), "metadata": {"name": "web", "namespace": "gone"}})
    await until(lambda: client.list(PODS, "gone"))
    await client.delete(NAMESPACES, "gone")

    async def is_gone() -> bool:
        try:
            await client.get(NAMESPACES, "gone")
        except KubeError as e:
            return e.not_found
        return False

    await until(is_gone)
    for res in (PODS, REPLICASETS, DEPLOYMENTS, CONFIGMAPS):
        assert (await client.list(res, "gone"))[0] == []


async def test_garbage_collection_by_policy(api: Any, controllers: Any, client: KubeClient) -> None:
    """Background and foreground deletion take the pods along; orphan leaves them."""
    for policy, left in (("Background", 0), ("Foreground", 0), ("Orphan", 1)):
        await client.create(DEPLOYMENTS, deployment("web", 2))
        await until(lambda: pods_where(client, lambda _: True, 2))
        await client.delete(DEPLOYMENTS, "web", "default", propagation=policy)

        async def settled(left: int = left) -> bool:
            deployments, _ = await client.list(DEPLOYMENTS, "default")
            sets, _ = await client.list(REPLICASETS, "default")
            owned = [o for o in sets if o["metadata"].get("ownerReferences")]
            return not deployments and len(sets) == left and not owned

        await until(settled)
        if policy != "Orphan":
            await until(lambda: no_pods(client))


async def no_pods(client: KubeClient) -> bool:
    return not (await client.list(PODS, "default"))[0]
