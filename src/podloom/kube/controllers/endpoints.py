"""The endpoints controllers: EndpointSlices and Endpoints of Services, mirrored slices, the API server's own.

One key is one Service name. Events of a burst (pods becoming ready together) are collected for a moment, so they
cost one write.
"""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.kube.controllers.indexes import index_by_namespace
from podloom.model.kube import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES, Key, Object, Resource, key_of
from podloom.model.kubeselector import from_map
from podloom.plan.kube.endpoints import (
    CONTROLLER,
    ENDPOINTS_MANAGED_BY,
    MANAGED_BY,
    MIRROR,
    SERVICE_NAME,
    SKIP_MIRROR,
    ZONE,
    SlicePlan,
    is_mirrored,
    plan_endpoints,
    plan_mirror,
    plan_slices,
)

_GATHER_S = 0.01


class ServiceEndpoints(Controller):
    """Endpoints and EndpointSlices of every Service."""

    name: ClassVar[str] = "endpointslice-controller"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.services, self.pods, self.nodes = map(cluster.view, (SERVICES, PODS, NODES))
        self.slices, self.endpoints = cluster.view(ENDPOINTSLICES), cluster.view(ENDPOINTS)
        index_by_namespace(self.services)
        index_by_namespace(self.pods)
        self.slices.index("service", _service_of)
        self._gone: set[Key] = set()
        self.services.listen(self._service_changed)
        self.watch_own(ENDPOINTS)
        self.slices.listen(self._slice_changed)
        self.pods.listen(self._pod_changed)

    def _service_changed(self, kind: str, obj: Object, _old: Object | None) -> None:
        if kind == "DELETED":
            self._gone.add(key_of(obj))
        self.queue.add(key_of(obj))

    def _slice_changed(self, _kind: str, obj: Object, _old: Object | None) -> None:
        for name in _service_of(obj):
            namespace, _, service = name.partition("/")
            self.queue.add((namespace, service))

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        if old is not None and kind == "MODIFIED" and _matters(pod) == _matters(old):
            return
        for service in self.services.by("namespace", pod["metadata"]["namespace"]):
            selector = service["spec"].get("selector")
            chooses = from_map(selector).matches if selector else None
            if chooses and any(o and chooses(o["metadata"].get("labels")) for o in (pod, old)):
                self.queue.add_after(key_of(service), _GATHER_S)

    async def sync(self, key: Key) -> float | None:
        service, current = self.services.objects.get(key), self.endpoints.objects.get(key)
        own = self.slices.by("service", "/".join(key))
        managed = [s for s in own if s["metadata"]["labels"].get(MANAGED_BY) == CONTROLLER]
        mirrored = [s for s in own if s["metadata"]["labels"].get(MANAGED_BY) == MIRROR]
        if current is not None and service is not None and is_mirrored(service, current):
            await self._write(plan_mirror(service, current, mirrored))
        else:
            await self._write(SlicePlan(delete=mirrored))
        if service is None:
            if current is not None and (key in self._gone or _is_made_here(current)):
                await self.cluster.delete(ENDPOINTS, current)
            self._gone.discard(key)
            await self._write(SlicePlan(delete=managed))
        elif service["spec"].get("selector"):
            await self._sync_selected(service, current, managed)
        else:
            await self._write(SlicePlan(delete=managed))
        return None

    async def _sync_selected(self, service: Object, current: Object | None, managed: list[Object]) -> None:
        chooses = from_map(service["spec"]["selector"]).matches
        in_namespace = self.pods.by("namespace", service["metadata"]["namespace"])
        pods = [pod for pod in in_namespace if chooses(pod["metadata"].get("labels"))]
        zones = {n: (o["metadata"].get("labels") or {}).get(ZONE, "") for (_, n), o in self.nodes.objects.items()}
        await self._write(plan_slices(service, pods, managed, zones))
        if service["spec"].get("type") == "ExternalName":
            return
        wanted = plan_endpoints(service, pods, current)
        if wanted is not None:
            await (self.cluster.create if current is None else self.cluster.replace)(ENDPOINTS, wanted)

    async def _write(self, plan: SlicePlan) -> None:
        for new in plan.create:
            await self.cluster.create(ENDPOINTSLICES, new)
        for changed in plan.replace:
            await self.cluster.replace(ENDPOINTSLICES, changed)
        for gone in plan.delete:
            await self.cluster.delete(ENDPOINTSLICES, gone)


class ApiEndpoints(Controller):
    """Keeps default/kubernetes pointing at the API server: `address` and `port` as pods and nodes reach it."""

    name: ClassVar[str] = "kubernetes-endpoints"
    workers: ClassVar[int] = 1
    _KEY: ClassVar[Key] = ("default", "kubernetes")

    def __init__(self, cluster: Cluster, address: str, port: int) -> None:
        super().__init__(cluster)
        self.address, self.port = address, port
        for res in (ENDPOINTS, ENDPOINTSLICES):
            cluster.view(res).listen(self._changed)
        self.queue.add(self._KEY)

    def _changed(self, _kind: str, obj: Object, _old: Object | None) -> None:
        if key_of(obj) == self._KEY:
            self.queue.add(self._KEY)

    async def sync(self, key: Key) -> float | None:
        port = {"name": "https", "port": self.port, "protocol": "TCP"}
        meta = {"name": "kubernetes", "namespace": "default"}
        await self._keep(
            ENDPOINTS,
            {
                "metadata": {**meta, "labels": {SKIP_MIRROR: "true"}},
                "subsets": [{"addresses": [{"ip": self.address}], "ports": [port]}],
            },
        )
        await self._keep(
            ENDPOINTSLICES,
            {
                "metadata": {**meta, "labels": {SERVICE_NAME: "kubernetes"}},
                "addressType": "IPv6" if ":" in self.address else "IPv4",
                "endpoints": [{"addresses": [self.address], "conditions": {"ready": True}}],
                "ports": [port],
            },
        )
        return None

    async def _keep(self, res: Resource, wanted: Object) -> None:
        current = self.cluster.view(res).objects.get(self._KEY)
        if current is None:
            try:
                await self.cluster.create(res, wanted)
                return
            except KubeError as e:
                if not e.already_exists:
                    raise
                current = await self.cluster.client.get(res, "kubernetes", "default")
        parts = {name: value for name, value in wanted.items() if name != "metadata"}
        if any(current.get(name) != value for name, value in parts.items()):
            await self.cluster.replace(res, {**current, **parts})


def _service_of(obj: Object) -> tuple[str, ...]:
    meta = obj["metadata"]
    name = (meta.get("labels") or {}).get(SERVICE_NAME)
    return (f"{meta['namespace']}/{name}",) if name else ()


def _is_made_here(endpoints: Object) -> bool:
    labels = endpoints["metadata"].get("labels") or {}
    return bool(labels.get(ENDPOINTS_MANAGED_BY) == "endpoint-controller")


def _matters(pod: Object) -> tuple[object, ...]:
    """What of a pod endpoints depend on."""
    status, meta = pod.get("status", {}), pod["metadata"]
    ready = [c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"]
    return (
        meta.get("labels"),
        bool(meta.get("deletionTimestamp")),
        status.get("phase"),
        status.get("podIP"),
        status.get("podIPs"),
        ready,
        pod["spec"].get("nodeName"),
    )
