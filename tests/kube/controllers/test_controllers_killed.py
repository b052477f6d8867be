"""kill -9 of controllers and API server at random during rolling updates: the right end state, no leftovers."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podloom.drivers.kube import KubeClient
from podloom.model.errors import PodloomError
from podloom.model.kube import DEPLOYMENTS, NODES, PODS, Object
from podloom.plan.kube.pods import is_active

NEEDS_KUBECTL = pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")


async def add_nodes(client: KubeClient, count: int, pods: int = 110) -> None:
    room = {"cpu": "8", "memory": "16Gi", "pods": str(pods)}
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
    for number in range(count):
        name = f"n{number}"
        await client.create(NODES, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        await client.patch(NODES, name, {"status": status}, subresource="status")


def deployment(name: str, replicas: int, image: str) -> Object:
    labels = {"app": name}
    spec = {"containers": [{"name": "c", "image": image}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


async def retried(act: Callable[[], Awaitable[Any]], timeout_s: float = 30.0) -> Any:
    """Repeat while the server is away; a truthy answer ends it."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if found := await act():
                return found
        except PodloomError:
            pass
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.05)


async def state(client: KubeClient) -> tuple[list[str], Object]:
    pods, _ = await client.list(PODS, "default")
    images = sorted(p["spec"]["containers"][0]["image"] for p in pods if is_active(p))
    return images, (await client.get(DEPLOYMENTS, "web", "default")).get("status", {})


async def test_kill_9_during_rolling_updates(api: Any, controllers: Any, kubelets: Any) -> None:
    """Controllers killed 6 times and the API server twice during two updates: 6 ready pods of the last template."""
    dice = random.Random(7)
    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        work = asyncio.create_task(kubelets(client, 0.02).run())
        await retried(lambda: add_nodes_once(client))
        await client.create(DEPLOYMENTS, deployment("web", 6, "a:1"))
        for step in range(8):
            await asyncio.sleep(dice.uniform(0.2, 0.8))
            if step in (2, 5):
                image = {"name": "c", "image": f"a:{step}"}
                body = {"spec": {"template": {"spec": {"containers": [image]}}}}
                await retried(lambda body=body: client.patch(DEPLOYMENTS, "web", body, "default", kind="strategic"))
            victim = api if step in (3, 6) else controllers
            victim.stop(signal.SIGKILL)
            victim.start()

        async def settled() -> bool:
            images, status = await state(client)
            return images == ["a:5"] * 6 and status.get("availableReplicas") == status.get("replicas") == 6

        await retried(settled, 60.0)
        await asyncio.sleep(0.5)
        assert await settled()
        work.cancel()


async def add_nodes_once(client: KubeClient) -> bool:
    await add_nodes(client, 2)
    return True


async def test_many_pods_spread_evenly(api: Any, controllers: Any) -> None:
    """200 pods on 10 nodes: all placed, 20 on each."""
    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        await add_nodes(client, 10)
        await client.create(DEPLOYMENTS, deployment("big", 200, "a:1"))

        async def placed() -> list[Object]:
            pods, _ = await client.list(PODS, "default")
            return pods if sum(bool(p["spec"].get("nodeName")) for p in pods) == 200 else []

        pods = await retried(placed)
        nodes = [p["spec"]["nodeName"] for p in pods]
        assert {node: nodes.count(node) for node in nodes} == {f"n{n}": 20 for n in range(10)}


@NEEDS_KUBECTL
async def test_kubectl_rollout_verbs(api: Any, controllers: Any, kubelets: Any) -> None:
    """kubectl rollout status, history, undo, restart, pause and scale do what they say."""

    async def kubectl(*words: str) -> str:
        command = ["kubectl", "--kubeconfig", str(api.kubeconfig), *words]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return str(done.stdout)

    async def images() -> list[str]:
        return (await state(client))[0]

    async with KubeClient.from_kubeconfig(api.kubeconfig) as client:
        work = asyncio.create_task(kubelets(client).run())
        await add_nodes(client, 2)
        await kubectl("create", "deployment", "web", "--image=a:1", "--replicas=3")
        assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        await kubectl("set", "image", "deployment/web", "a=a:2")
        assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        assert await images() == ["a:2"] * 3
        assert [
            line.split()[0] for line in (await kubectl("rollout", "history", "deployment/web")).splitlines()[2:4]
        ] == [
            "1",
            "2",
        ]
        await kubectl("rollout", "undo", "deployment/web")
        await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        assert await images() == ["a:1"] * 3
        await kubectl("rollout", "restart", "deployment/web")
        await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        await kubectl("scale", "deployment/web", "--replicas=5")
        await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=5", "deployment/web", "--timeout=20s")
        await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
        work.cancel()
