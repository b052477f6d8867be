"""One cluster of the lab: turns a managedClusters resource into a control plane and nodes, and keeps them.

The problem: a create is a dozen steps over several processes, any of which may die half way, and the user may
change or delete the cluster meanwhile. So there is no script of a creation: `reconcile` makes what is missing,
removes what is not wanted any more, and can be run from the start at any time; only then does it report
Succeeded. What a step made is found again by name (plan.cluster), never by memory.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from podloom.drivers.arm import CloudClient
from podloom.drivers.kube import KubeClient, KubeError
from podloom.drivers.pki import kubeconfig
from podloom.lab.controlplane import ControlPlane
from podloom.lab.imagestore import ImageStore
from podloom.lab.node import Node, NodeContext
from podloom.lab.state import LabPaths
from podloom.lab.steps import Steps
from podloom.lab.system import apply_system, system_ready
from podloom.model.errors import PodloomError
from podloom.model.kube import NODES, PODS
from podloom.plan.cluster import (
    API_PORT,
    MANAGED_SUBNET_PREFIX,
    MANAGED_VNET_PREFIX,
    ClusterParts,
    NodeParts,
    plan_cluster,
)

log = structlog.get_logger()
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
READY_PAUSE_S = 0.1
DRAIN_TIMEOUT_S = 30.0
SETTLED_FAILURES = 3


@dataclass(frozen=True)
class LabContext:
    """What every cluster of a lab shares."""

    tag: str
    paths: LabPaths
    cloud: CloudClient
    cloud_url: str
    cloud_ca: Path
    registry: str
    proxy: str


class Cluster:
    """Brings one cluster to what its resource says, each time `wanted` changes."""

    def __init__(self, context: LabContext) -> None:
        self.context = context
        self.wanted: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self.steps = Steps(self._publish)
        self.plane: ControlPlane | None = None
        self.nodes: dict[str, Node] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.settled = asyncio.Event()  # as wanted for the first time, or known not to get there soon
        self._failures = 0

    def want(self, resource: Mapping[str, Any]) -> None:
        """Tell the cluster its resource; a report of our own that changed nothing wanted wakes nobody."""
        if _wish(resource) != _wish(self.wanted):
            self.wanted = dict(resource)
            self._changed.set()

    async def run(self) -> None:
        """Until the cluster is deleted (returns) or the lab stops (cancelled; what runs goes on running)."""
        publisher = asyncio.create_task(self.steps.run())
        try:
            while not await self._serve_wish():
                pass
        finally:
            publisher.cancel()
            await self._release()

    async def _serve_wish(self) -> bool:
        """Act on the next wish; a newer one interrupts it, except a removal. Tells whether the cluster is gone."""
        await self._changed.wait()
        self._changed.clear()
        if _state(self.wanted) == "Deleting":
            await self._try(self._delete)
            return not self.wanted
        work = asyncio.create_task(self._try(self._reconcile))
        newer = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait([work, newer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            newer.cancel()
            await asyncio.gather(work, newer, return_exceptions=True)
        return False

    async def _try(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
            self._failures = 0
            self.settled.set()
        except Exception as error:  # whatever it is, the user must hear of it and the cluster be tried again
            known = isinstance(error, (PodloomError, KubeError, OSError))
            log.warning("cluster is not as wanted", cluster=self.wanted.get("id"), error=str(error), exc_info=not known)
            await self._report_failure(error)
            asyncio.get_running_loop().call_later(RETRY_S[min(self._failures, len(RETRY_S) - 1)], self._changed.set)
            self._failures += 1
            if self._failures >= SETTLED_FAILURES:
                self.settled.set()

    async def _reconcile(self) -> None:
        resource = self.wanted
        parts = plan_cluster(resource)
        self.steps.restart()
        async with self.steps.step("network"):
            await self._network(parts)
        async with self.steps.step("control plane"):
            address = await self._public_address(parts)
            await self._control_plane(parts, address)
        async with self.steps.step(f"{len(parts.nodes)} nodes"):
            self._start_nodes(parts, address)
            async with KubeClient.from_kubeconfig(self._admin_kubeconfig(parts)) as kube:
                await apply_system(kube, parts, ImageStore(self.context.paths.images))
                await self._remove_nodes(parts, kube)
                await self._nodes_ready(parts, kube)
                await system_ready(kube)
        await self._report_success(parts, resource)

    async def _network(self, parts: ClusterParts) -> None:
        """The node resource group, the managed VNet unless the user brought one, and the routing domain."""
        cloud = self.context.cloud
        await _ensure(cloud, str(parts.node_group), {"location": parts.location, "managedBy": str(parts.id)})
        if parts.managed_vnet:
            subnet = {"name": "aks-subnet", "properties": {"addressPrefix": MANAGED_SUBNET_PREFIX}}
            properties = {"addressSpace": {"addressPrefixes": [MANAGED_VNET_PREFIX]}, "subnets": [subnet]}
            await _ensure(cloud, str(parts.vnet), {"location": parts.location, "properties": properties})
        domain = {"virtualNetwork": {"id": str(parts.vnet)}, "podCidrs": list(parts.pod_cidrs)}
        await _ensure(cloud, str(parts.routing_domain), {"location": parts.location, "properties": domain})

    async def _public_address(self, parts: ClusterParts) -> str:
        properties = {"publicIPAllocationMethod": "Static"}
        body = {"location": parts.location, "properties": properties}
        found = await _ensure(self.context.cloud, str(parts.api_address), body)
        address: str = found["properties"]["ipAddress"]
        return address

    async def _control_plane(self, parts: ClusterParts, address: str) -> None:
        if self.plane is None:
            self.plane = ControlPlane(self.context, parts, address)
            self.plane.start()
        await self.plane.ready()

    def _start_nodes(self, parts: ClusterParts, address: str) -> None:
        assert self.plane is not None
        context = NodeContext(
            tag=self.context.tag,
            folder=self.context.paths.root / "nodes",
            cloud=self.context.cloud,
            authority=self.plane.authority,
            parts=parts,
            api_url=f"https://{address}:{API_PORT}",
            registry=self.context.registry,
            proxy=self.context.proxy,
        )
        for node in parts.nodes:
            if node.name not in self.nodes:
                self.nodes[node.name] = Node(node, context)
                self._tasks[node.name] = asyncio.create_task(self.nodes[node.name].run())

    async def _nodes_ready(self, parts: ClusterParts, kube: KubeClient) -> None:
        wanted = {node.name for node in parts.nodes}
        while True:
            items, _ = await kube.list(NODES)
            if wanted <= {item["metadata"]["name"] for item in items if _is_ready(item)}:
                return
            await asyncio.sleep(READY_PAUSE_S)

    async def _remove_nodes(self, parts: ClusterParts, kube: KubeClient) -> None:
        """Drain and remove the nodes that are not wanted any more, those of an earlier life of the lab included."""
        wanted = {node.name for node in parts.nodes}
        items, _ = await kube.list(NODES)
        gone = {item["metadata"]["name"] for item in items} - wanted | set(self.nodes) - wanted
        await asyncio.gather(*(self._remove_node(parts, name, kube) for name in sorted(gone)))

    async def _remove_node(self, parts: ClusterParts, name: str, kube: KubeClient) -> None:
        await drain(kube, name)
        await self._stop_task(name)
        node = self.nodes.pop(name, None)
        if node is None:
            context = self._bare_node_context(parts)
            node = Node(_unknown_node(parts, name), context)
        await node.end()
        try:  # before its NIC goes: nobody must route pods to an address that may be another machine's by then
            await kube.delete(NODES, name)
        except KubeError as error:
            if error.status != 404:
                raise
        await node.remove()

    async def _stop_task(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _bare_node_context(self, parts: ClusterParts) -> NodeContext:
        assert self.plane is not None
        root = self.context.paths.root / "nodes"
        return NodeContext(self.context.tag, root, self.context.cloud, self.plane.authority, parts, "", "", "")

    async def _report_success(self, parts: ClusterParts, resource: Mapping[str, Any]) -> None:
        assert self.plane is not None
        loopback = f"https://127.0.0.1:{self.plane.port}"
        authority = self.plane.authority
        texts = {
            kind: kubeconfig(
                loopback,
                authority.cert_path,
                authority.issue(user, user, groups=["system:masters"]),
                cluster=parts.name,
                user=f"{user}_{parts.id.group}_{parts.name}",
            )
            for kind, user in (("user", "clusterUser"), ("admin", "clusterAdmin"))
        }
        await self.context.cloud.report(
            str(parts.id),
            {
                "provisioningState": "Succeeded",
                "powerState": {"code": "Running"},
                "fqdn": parts.fqdn,
                "currentKubernetesVersion": parts.version,
                "kubeconfigs": texts,
                "podloom": {"steps": self.steps.entries, "apiServerAddress": loopback},
            },
            generation=_generation(resource),
        )

    async def _report_failure(self, error: Exception) -> None:
        """After the last pause of the schedule the operation fails; the cluster goes on being tried."""
        if self._failures != len(RETRY_S):
            return
        found = {"code": getattr(error, "arm_code", "InternalServerError"), "message": str(error)}
        patch = {"provisioningState": "Failed", "error": found}
        await self.context.cloud.report(self.wanted["id"], patch, generation=_generation(self.wanted))

    async def _publish(self, entries: list[dict[str, Any]]) -> None:
        await self.context.cloud.report(self.wanted["id"], {"podloom": {"steps": entries}})

    def _admin_kubeconfig(self, parts: ClusterParts) -> Path:
        return self.context.paths.cluster(parts.key) / "admin.conf"

    async def _delete(self) -> None:
        """Everything of the cluster goes: nodes, control plane, cloud resources, files."""
        parts = plan_cluster(self.wanted)
        self.steps.restart()
        async with self.steps.step("nodes"):
            names = list(self._tasks)
            await asyncio.gather(*(self._stop_task(name) for name in names))
            plane = self.plane or ControlPlane(self.context, parts, "")
            self.plane = plane
            context = self._bare_node_context(parts)
            every = {node.name: node for node in parts.nodes} | {n: node.parts for n, node in self.nodes.items()}
            await asyncio.gather(*(Node(node, context).remove() for node in every.values()))
        async with self.steps.step("control plane"):
            await plane.remove()
            shutil.rmtree(self.context.paths.cluster(parts.key), ignore_errors=True)
        async with self.steps.step("network"):
            await self.context.cloud.delete(str(parts.node_group), wait=True)
        await self.context.cloud.finalize(str(parts.id))
        self.wanted = {}

    async def _release(self) -> None:
        """Stop looking after the processes; they go on running and are adopted by the next supervisor."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.plane is not None:
            await self.plane.release()


async def drain(kube: KubeClient, node: str) -> None:
    """Cordon a node and end its pods gracefully, at most DRAIN_TIMEOUT_S; a node that is gone is drained."""
    try:
        await kube.patch(NODES, node, {"spec": {"unschedulable": True}})
    except KubeError as error:
        if error.status == 404:
            return
        raise
    for _ in range(int(DRAIN_TIMEOUT_S / 0.5)):
        pods, _ = await kube.list(PODS, field_selector=f"spec.nodeName={node}")
        leaving = [pod for pod in pods if not _is_daemon(pod)]
        if not leaving:
            return
        for pod in leaving:
            if not pod["metadata"].get("deletionTimestamp"):
                await kube.delete(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"])
        await asyncio.sleep(0.5)


def _is_daemon(pod: Mapping[str, Any]) -> bool:
    return any(owner["kind"] == "DaemonSet" for owner in pod["metadata"].get("ownerReferences", ()))


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _state(resource: Mapping[str, Any]) -> str:
    return str(resource.get("properties", {}).get("provisioningState", ""))


def _wish(resource: Mapping[str, Any]) -> tuple[Any, bool]:
    """What of a resource is the user's wish: its generation, and whether it is to go."""
    return (resource.get("id"), _generation(resource)), _state(resource) == "Deleting"


def _generation(resource: Mapping[str, Any]) -> int | None:
    """Which wish of the user this is; a report says which one it is about."""
    found: int | None = resource.get("properties", {}).get("podloom", {}).get("generation")
    return found


async def _ensure(cloud: CloudClient, id_: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Have the resource; one that is already there and realised is left as it is."""
    existing = await cloud.find(id_)
    if existing is not None and existing["properties"].get("provisioningState") == "Succeeded":
        return existing
    return await cloud.put(id_, dict(body), wait=True)


def _unknown_node(parts: ClusterParts, name: str) -> NodeParts:
    """A node known only by name, to be removed."""
    template = parts.nodes[0]
    return replace(template, name=name, nic=parts.node_group.within(template.nic.type, f"{name}-nic"))
