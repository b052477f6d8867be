"""All controllers against the API server in memory: rollouts keep their promises, any interruption ends the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podloom.drivers.kube import KubeApi
from podloom.drivers.kube.fake import FakeKube
from podloom.drivers.kube.faulty import FaultyKube
from podloom.kube.controllers.run import Options, run_controllers
from podloom.model.kube import (
    CONTROLLERREVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    EVENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICES,
    STATEFULSETS,
    Object,
)
from podloom.plan.kube.deployment import limits
from podloom.plan.kube.pods import is_active, is_ready


def node(name: str, **spec: Any) -> Object:
    room = {"cpu": "8", "memory": "16Gi", "pods": "110"}
    status = {"allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}
    labels = {"kubernetes.io/hostname": name}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def workload(name: str, image: str = "a:1", **spec: Any) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    body = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.put(NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
    for name in ("n1", "n2", "n3"):
        fake.put(NODES, node(name))
    return fake


@asynccontextmanager
async def running(*parts: Awaitable[None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        yield tasks  # type: ignore[misc]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def controllers(client: KubeApi) -> Awaitable[None]:
    return run_controllers(client, Options(ca_pem="PEM"))


async def until(test: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (found := test()):
            await asyncio.sleep(0.005)
    return found


def images(kube: FakeKube) -> list[str]:
    return sorted(p["spec"]["containers"][0]["image"] for p in kube.all(PODS) if is_active(p))


def rolled_out(kube: FakeKube, name: str = "web") -> bool:
    """What `kubectl rollout status` waits for."""
    found = kube.peek(DEPLOYMENTS, name, "default")
    if found is None or found.get("status", {}).get("observedGeneration", 0) < found["metadata"]["generation"]:
        return False
    status, replicas = found["status"], found["spec"]["replicas"]
    return all(status.get(n, 0) == replicas for n in ("updatedReplicas", "replicas", "availableReplicas"))


async def set_image(kube: FakeKube, image: str, name: str = "web") -> None:
    containers = [{"name": "c", "image": image}]
    await kube.patch(DEPLOYMENTS, name, {"spec": {"template": {"spec": {"containers": containers}}}}, "default")


async def test_rolling_update_keeps_its_limits(kube: FakeKube, kubelets: Any) -> None:
    """At every moment at least replicas - maxUnavailable are ready and at most replicas + maxSurge exist."""
    async with running(controllers(kube), kubelets(kube, 0.003).run()):
        await kube.create(DEPLOYMENTS, workload("web", replicas=8))
        await until(lambda: rolled_out(kube))
        surge, unavailable = limits(workload("web", replicas=8))
        await set_image(kube, "a:2")
        while not (rolled_out(kube) and images(kube) == ["a:2"] * 8):
            pods = [p for p in kube.all(PODS) if is_active(p)]
            assert sum(is_ready(p) for p in pods) >= 8 - unavailable
            assert len(pods) <= 8 + surge
            await asyncio.sleep(0)
    sets = kube.all(REPLICASETS)
    assert sorted(rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for rs in sets) == ["1", "2"]
    assert sorted(rs["spec"]["replicas"] for rs in sets) == [0, 8]
    assert (
        kube.peek(DEPLOYMENTS, "web", "default")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    )


async def test_undo_moves_the_old_set_up(kube: FakeKube, kubelets: Any) -> None:
    """Going back to an earlier template reuses its ReplicaSet under a new revision."""
    async with running(controllers(kube), kubelets(kube).run()):
        await kube.create(DEPLOYMENTS, workload("web", replicas=2))
        await until(lambda: rolled_out(kube))
        for image in ("a:2", "a:1"):
            await set_image(kube, image)
            await until(lambda image=image: rolled_out(kube) and images(kube) == [image] * 2)
    revisions = {
        rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs["metadata"]["annotations"]
        for rs in kube.all(REPLICASETS)
    }
    assert revisions["a:1"]["deployment.kubernetes.io/revision"] == "3"
    assert revisions["a:1"]["deployment.kubernetes.io/revision-history"] == "1"


async def test_recreate_never_mixes_versions(kube: FakeKube, kubelets: Any) -> None:
    """Strategy Recreate: no new pod before the last old one is gone."""
    async with running(controllers(kube), kubelets(kube, 0.003).run()):
        await kube.create(DEPLOYMENTS, workload("web", replicas=3, strategy={"type": "Recreate"}))
        await until(lambda: rolled_out(kube))
        await set_image(kube, "a:2")
        while not (rolled_out(kube) and images(kube) == ["a:2"] * 3):
            assert len({p["spec"]["containers"][0]["image"] for p in kube.all(PODS)}) <= 1
            await asyncio.sleep(0)


async def test_pause_scales_but_does_not_roll(kube: FakeKube, kubelets: Any) -> None:
    """A paused Deployment follows replicas, not the template; resumed it rolls."""
    async with running(controllers(kube), kubelets(kube).run()):
        await kube.create(DEPLOYMENTS, workload("web", replicas=2))
        await until(lambda: rolled_out(kube))
        await kube.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}}, "default")
        await set_image(kube, "a:2")
        await kube.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 4}}, "default")
        await until(lambda: images(kube) == ["a:1"] * 4)
        await asyncio.sleep(0.05)
        assert images(kube) == ["a:1"] * 4
        await kube.patch(DEPLOYMENTS, "web", {"spec": {"paused": None}}, "default")
        await until(lambda: rolled_out(kube) and images(kube) == ["a:2"] * 4)


async def test_daemonset_follows_nodes_and_rolls(kube: FakeKube, kubelets: Any) -> None:
    """One pod per fitting node; an update replaces one after the other; revisions are kept."""
    kube.put(NODES, node("tainted", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]))
    async with running(controllers(kube), kubelets(kube, 0.002).run()):
        await kube.create(DAEMONSETS, workload("d"))

        def settled(count: int, image: str) -> bool:
            status = kube.peek(DAEMONSETS, "d", "default").get("status", {})
            done = status.get("numberAvailable", 0) == status.get("updatedNumberScheduled", 0) == count
            return done and images(kube) == [image] * count

        await until(lambda: settled(3, "a:1"))
        kube.put(NODES, node("n4"))
        await until(lambda: settled(4, "a:1"))
        assert sorted(p["spec"]["nodeName"] for p in kube.all(PODS)) == ["n1", "n2", "n3", "n4"]
        containers = [{"name": "c", "image": "a:2"}]
        await kube.patch(DAEMONSETS, "d", {"spec": {"template": {"spec": {"containers": containers}}}}, "default")
        while not settled(4, "a:2"):
            assert sum(is_ready(p) for p in kube.all(PODS) if is_active(p)) >= 3
            await asyncio.sleep(0)
        assert sorted(r["revision"] for r in kube.all(CONTROLLERREVISIONS)) == [1, 2]
        await kube.delete(NODES, "n4")
        await until(lambda: sorted(p["spec"]["nodeName"] for p in kube.all(PODS)) == ["n1", "n2", "n3"])


async def test_unschedulable_says_why_and_recovers(kube: FakeKube) -> None:
    """A pod that fits nowhere gets the reason in its condition and an event, and is bound once it fits."""
    async with running(controllers(kube)):
        spec = {"containers": [{"name": "c"}], "nodeSelector": {"disk": "fast"}}
        await kube.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."

        def said() -> bool:
            conditions = kube.peek(PODS, "p", "default")["status"].get("conditions") or []
            events = [e["message"] for e in kube.all(EVENTS)]
            return [c["message"] for c in conditions] == [message] and message in events

        await until(said)
        fast = node("n2")
        fast["metadata"]["labels"]["disk"] = "fast"
        kube.put(NODES, fast)
        await until(lambda: kube.peek(PODS, "p", "default")["spec"].get("nodeName") == "n2")


@pytest.mark.parametrize("seed", range(6))
async def test_interrupted_at_any_point_ends_the_same(kube: FakeKube, kubelets: Any, seed: int) -> None:
    """Lost calls, lost answers, dropped watches and controllers cut off at random: the end state is the wish."""
    dice = random.Random(seed)
    faulty = FaultyKube(kube, share=0.1, seed=seed)
    async with running(kubelets(kube, 0.001).run()):
        await kube.create(DEPLOYMENTS, workload("web", replicas=5))
        await kube.create(SERVICES, service("web"))
        for step in range(8):
            if step == 2:
                await set_image(kube, "a:2")
            if step == 5:
                await kube.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "default")
            if dice.random() < 0.3:
                kube.compact()
            async with running(controllers(faulty)):
                await asyncio.sleep(dice.uniform(0.0, 0.12))
        async with running(controllers(faulty)):
            await until(lambda: settled_as_wished(kube, 3, "a:2"), 20.0)
    names = [p["metadata"]["name"] for p in kube.all(PODS)]
    assert len(names) == 3 == len(set(names))


def service(name: str) -> Object:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}], "clusterIP": "10.0.0.9"}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def settled_as_wished(kube: FakeKube, count: int, image: str) -> bool:
    ready = {p["metadata"]["name"] for p in kube.all(PODS) if is_ready(p)}
    endpoints = [e for s in kube.all(ENDPOINTSLICES) for e in s["endpoints"]]
    shown = {e["targetRef"]["name"] for e in endpoints if e["conditions"]["ready"]}
    pods = kube.all(PODS)
    return rolled_out(kube) and len(pods) == count and images(kube) == [image] * count and shown == ready


async def test_statefulset_orders_and_updates(kube: FakeKube, kubelets: Any) -> None:
    """Pods come up one after the other with stable names; an update replaces them from above."""
    async with running(controllers(kube), kubelets(kube, 0.002).run()):
        await kube.create(STATEFULSETS, workload("db", replicas=3, serviceName="db"))

        def settled(image: str) -> bool:
            status = kube.peek(STATEFULSETS, "db", "default").get("status", {})
            return status.get("updatedReplicas") == status.get("availableReplicas") == 3 and images(kube) == [image] * 3

        await until(lambda: settled("a:1"))
        assert [p["metadata"]["name"] for p in kube.all(PODS)] == ["db-0", "db-1", "db-2"]
        uids = {p["metadata"]["uid"] for p in kube.all(PODS)}
        containers = [{"name": "c", "image": "a:2"}]
        await kube.patch(STATEFULSETS, "db", {"spec": {"template": {"spec": {"containers": containers}}}}, "default")
        while not settled("a:2"):
            assert sum(is_ready(p) for p in kube.all(PODS) if is_active(p)) >= 2
            await asyncio.sleep(0)
        assert not uids & {p["metadata"]["uid"] for p in kube.all(PODS)}
        status = kube.peek(STATEFULSETS, "db", "default")["status"]
        assert status["currentRevision"] == status["updateRevision"]


@pytest.mark.parametrize("seed", range(3))
async def test_job_completes_through_interruptions(kube: FakeKube, kubelets: Any, seed: int) -> None:
    """A Job of six under lost calls and cut-off controllers: six pods counted once each, none held back."""
    dice, faulty = random.Random(seed), FaultyKube(kube, share=0.1, seed=seed)
    job = workload("j", completions=6, parallelism=3)
    job["spec"]["selector"]["matchLabels"] = {"batch.kubernetes.io/controller-uid": "x"}
    job["spec"]["template"]["metadata"] = {"labels": {}, "annotations": {"exit": "0"}}
    async with running(kubelets(kube, 0.001).run()):
        await kube.create(JOBS, job)
        for _ in range(4):
            async with running(controllers(faulty)):
                await asyncio.sleep(dice.uniform(0.0, 0.1))
        async with running(controllers(faulty)):
            await until(lambda: "completionTime" in kube.peek(JOBS, "j", "default")["status"], 20.0)
            status = kube.peek(JOBS, "j", "default")["status"]
            assert (status["succeeded"], status.get("failed", 0)) == (6, 0)
            await until(lambda: not any(p["metadata"].get("finalizers") for p in kube.all(PODS)))
            assert len(kube.all(PODS)) == 6
            await kube.delete(JOBS, "j", "default")
            await until(lambda: not kube.all(PODS), 20.0)


async def test_pods_that_wait_for_others(kube: FakeKube) -> None:
    """A pod that must be near another waits for it; one with an unbound claim says so and waits for the claim."""
    term = {"labelSelector": {"matchLabels": {"app": "base"}}, "topologyKey": "kubernetes.io/hostname"}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    container = {"containers": [{"name": "c"}]}
    async with running(controllers(kube)):
        for name, spec in (("near", {"affinity": near}), ("claims", {"volumes": volumes})):
            await kube.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": {**container, **spec}})

        def said(name: str, words: str) -> bool:
            conditions = kube.peek(PODS, name, "default")["status"].get("conditions") or [{}]
            return words in conditions[0].get("message", "")

        await until(lambda: said("near", "didn't match pod affinity rules"))
        await until(lambda: said("claims", "unbound immediate PersistentVolumeClaims"))
        meta = {"name": "base", "namespace": "default", "labels": {"app": "base"}}
        await kube.create(PODS, {"metadata": meta, "spec": container})
        kube.put(
            PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data", "namespace": "default"}, "status": {"phase": "Bound"}}
        )

        def bound(name: str) -> str:
            return str(kube.peek(PODS, name, "default")["spec"].get("nodeName", ""))

        await until(lambda: bound("near") and bound("near") == bound("base") and bound("claims"))


async def test_an_unserved_owner_kind_deletes_nothing(kube: FakeKube) -> None:
    """While an owner's kind is not served (a server that starts), its dependents stay; an absent owner's go."""
    lost = {"apiVersion": "x.io/v1", "kind": "Thing", "name": "t", "uid": "u1"}
    gone = {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "u2"}
    for name, ref in (("kept", lost), ("dropped", gone)):
        meta = {"name": name, "namespace": "default", "ownerReferences": [ref]}
        kube.put(SECRETS, {"metadata": meta})
    async with running(controllers(kube)):
        await until(lambda: kube.peek(SECRETS, "dropped", "default") is None)
        await asyncio.sleep(0.1)
        assert kube.peek(SECRETS, "kept", "default")
