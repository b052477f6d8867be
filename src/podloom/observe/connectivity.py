"""`podloom connectivity`: real connections between everything in a cluster, and what the other side saw.

The problem: a matrix of facts needs workloads to probe from and to. They are made as a user would make them: a
namespace with two pods and one hostNetwork pod on every node, and a Service; probes run in them by exec.
Hosts outside the cluster (a machine of the VNet, one on the internet) are given by the caller, who knows how to run
a program there; without them those rows and columns are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from podloom.drivers.kube import KubeClient, KubeError
from podloom.drivers.kube.podexec import pod_exec
from podloom.model.errors import Unavailable
from podloom.model.kube import DAEMONSETS, NAMESPACES, NODES, PODS, SERVICES
from podloom.plan.connectivity import (
    NODE_ECHO,
    NODE_HTTP,
    POD_ECHO,
    POD_HTTP,
    Endpoint,
    Outcome,
    Probe,
    World,
    judge,
    plan_probes,
)

NAMESPACE = "podloom-connectivity"
IMAGE = "podloom.local/echo:1"
READY_TIMEOUT_S = 60.0
PROBE_TIMEOUT_MS = 2000
PAUSE_S = 0.1
SETTLE_S = 3.0  # a node learns of a new service's backends a moment after they are ready
SETTLING = ("service", "DNS")
Run = Callable[[Sequence[str]], Awaitable[bytes]]
Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class OutsideHost:
    """A host outside the cluster and how to run `probe` there with the given targets."""

    endpoint: Endpoint
    run: Run


@dataclass(frozen=True)
class Outside:
    """What lies around the cluster: hosts, the prefixes the internet sees it as, a name known outside."""

    hosts: tuple[OutsideHost, ...] = ()
    public_prefixes: tuple[str, ...] = ()
    name: str = ""
    address: str = ""


async def check(kube: KubeClient, outside: Outside, progress: Progress, *, keep: bool = False) -> list[Outcome]:
    """Run every probe; with `keep` the workloads stay for the next run. Raises Unavailable when they do not start."""
    async with _workloads(kube, progress, keep=keep):
        world = await _world(kube, outside)
        probes = plan_probes(world)
        progress(f"{len(probes)} probes", "running")
        runners = {host.endpoint.name: host.run for host in outside.hosts}
        for endpoint in world.endpoints:
            if endpoint.kind in {"pod", "node"}:
                runners[endpoint.name] = _runner(kube, endpoint.name)
        by_source: dict[str, list[Probe]] = {}
        for probe in probes:
            by_source.setdefault(probe.source, []).append(probe)
        results = await asyncio.gather(*(run_probes(runners[s], batch) for s, batch in by_source.items()))
        progress(f"{len(probes)} probes", "done")
    return [outcome for batch in results for outcome in batch]


async def run_probes(run: Run, probes: Sequence[Probe], settle_s: float = SETTLE_S) -> list[Outcome]:
    """What came of each probe; what a new service takes time for is asked again for at most `settle_s` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settle_s
    outcomes = await _run(run, probes)
    while (again := [o.probe for o in outcomes if o.problem and o.probe.column in SETTLING]) and loop.time() < deadline:
        await asyncio.sleep(PAUSE_S)
        newer = {outcome.probe: outcome for outcome in await _run(run, again)}
        outcomes = [newer.get(outcome.probe, outcome) for outcome in outcomes]
    return outcomes


async def _run(run: Run, probes: Sequence[Probe]) -> list[Outcome]:
    arguments = ["--timeout", str(PROBE_TIMEOUT_MS), *(probe.target for probe in probes)]
    try:
        lines = (await run(arguments)).splitlines()
    except Unavailable as error:
        lost = {"ok": False, "error": str(error), "us": 0}
        return [judge(probe, lost) for probe in probes]
    return [judge(probe, orjson.loads(line)) for probe, line in zip(probes, lines, strict=True)]


def _runner(kube: KubeClient, pod: str) -> Run:
    async def run(arguments: Sequence[str]) -> bytes:
        return (await pod_exec(kube, NAMESPACE, pod, ["/probe", *arguments])).stdout

    return run


@asynccontextmanager
async def _workloads(kube: KubeClient, progress: Progress, *, keep: bool) -> AsyncIterator[None]:
    progress("probe pods", "running")
    await _apply(kube)
    await _ready(kube)
    progress("probe pods", "done")
    try:
        yield
    finally:
        if not keep:
            with contextlib.suppress(KubeError):
                await kube.delete(NAMESPACES, NAMESPACE)


async def _apply(kube: KubeClient) -> None:
    deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    while (found := await _namespace(kube)) and found["metadata"].get("deletionTimestamp"):
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable(f"make namespace {NAMESPACE}", "the one of an earlier run does not go away")
        await asyncio.sleep(PAUSE_S)
    objects = [
        (NAMESPACES, {"metadata": {"name": NAMESPACE}}),
        (DAEMONSETS, _daemon("client", host_network=False)),
        (DAEMONSETS, _daemon("server", host_network=False)),
        (DAEMONSETS, _daemon("host", host_network=True)),
        (SERVICES, _service()),
    ]
    for resource, obj in objects:
        namespace = NAMESPACE if resource.namespaced else ""
        document = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        name = obj["metadata"]["name"]
        await kube.patch(resource, name, document, namespace, kind="apply", manager="podloom", force=True)


async def _namespace(kube: KubeClient) -> dict[str, Any] | None:
    try:
        return await kube.get(NAMESPACES, NAMESPACE)
    except KubeError as error:
        if error.status == 404:
            return None
        raise


def _daemon(name: str, *, host_network: bool) -> dict[str, Any]:
    http, echo = (NODE_HTTP, NODE_ECHO) if host_network else (POD_HTTP, POD_ECHO)
    container = {
        "name": "echo",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--http", str(http), "--echo", str(echo)],
    }
    spec = {
        "hostNetwork": host_network,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    labels = {"app": name}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def _service() -> dict[str, Any]:
    port = {"name": "http", "port": POD_HTTP, "targetPort": POD_HTTP, "protocol": "TCP"}
    return {
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "server"}, "ports": [port]},
    }


async def _ready(kube: KubeClient) -> None:
    """Wait until every node has its three pods running with an address."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_TIMEOUT_S
    while True:
        nodes, _ = await kube.list(NODES)
        pods, _ = await kube.list(PODS, NAMESPACE)
        up = [pod for pod in pods if _is_up(pod)]
        if len(up) == 3 * len(nodes) == len(pods) and nodes:
            return
        if loop.time() > deadline:
            waiting = ", ".join(pod["metadata"]["name"] for pod in pods if not _is_up(pod)) or "not created"
            raise Unavailable(
                "start the probe pods",
                f"{len(up)} of {3 * len(nodes)} run after {READY_TIMEOUT_S:.0f} s ({waiting})",
                f"see `kubectl describe pods -n {NAMESPACE}`",
            )
        await asyncio.sleep(PAUSE_S)


def _is_up(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and bool(pod["status"].get("podIP")) and not pod["metadata"].get("deletionTimestamp")


async def _world(kube: KubeClient, outside: Outside) -> World:
    pods, _ = await kube.list(PODS, NAMESPACE)
    service = await kube.get(SERVICES, "server", NAMESPACE)
    inside = sorted((_endpoint(pod) for pod in pods), key=lambda e: (e.kind, e.node, e.name))
    return World(
        endpoints=(*inside, *(host.endpoint for host in outside.hosts)),
        service_address=service["spec"]["clusterIP"],
        service_name=f"server.{NAMESPACE}.svc.cluster.local",
        outside_name=outside.name,
        outside_address=outside.address,
        public_prefixes=outside.public_prefixes,
    )


def _endpoint(pod: Mapping[str, Any]) -> Endpoint:
    host = bool(pod["spec"].get("hostNetwork"))
    http, echo = (NODE_HTTP, NODE_ECHO) if host else (POD_HTTP, POD_ECHO)
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    return Endpoint(name, "node" if host else "pod", address, pod["spec"]["nodeName"], http, echo)
