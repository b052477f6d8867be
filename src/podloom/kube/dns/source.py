"""What the cluster has, for plan.kube.dns: followed copies of Services, slices and namespaces, indexed by address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podloom.drivers.kube import KubeApi, View, wait_synced
from podloom.model.kube import ENDPOINTSLICES, NAMESPACES, SERVICES, Object

_SLICE_LABEL = "kubernetes.io/service-name"


class ClusterSource:
    """`plan.kube.dns.Source` over the API server."""

    def __init__(self, client: KubeApi) -> None:
        self._services = View(client, SERVICES, trim=_slim)
        self._slices = View(client, ENDPOINTSLICES, trim=_slim)
        self._namespaces = View(client, NAMESPACES, trim=_slim)
        self._services.index("ip", _cluster_ips)
        self._slices.index("ip", _endpoint_ips)
        self._slices.index("service", _service_key)

    @property
    def views(self) -> tuple[View, View, View]:
        return self._services, self._slices, self._namespaces

    @property
    def synced(self) -> bool:
        """Whether every copy had its first list."""
        return all(view.informer.synced.is_set() for view in self.views)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the API server while the body runs."""
        tasks = [asyncio.create_task(view.informer.run()) for view in self.views]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self) -> None:
        """Return when every copy had its first list."""
        await wait_synced(*(view.informer for view in self.views))

    def service(self, namespace: str, name: str) -> Object | None:
        return self._services.get(name, namespace)

    def slices(self, namespace: str, name: str) -> list[Object]:
        return self._slices.by("service", f"{namespace}/{name}")

    def has_namespace(self, name: str) -> bool:
        return self._namespaces.get(name) is not None

    def services_at(self, ip: str) -> list[Object]:
        return self._services.by("ip", ip)

    def slices_at(self, ip: str) -> list[Object]:
        return self._slices.by("ip", ip)


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    meta.pop("managedFields", None)
    meta.pop("annotations", None)
    obj.pop("status", None)
    return obj


def _cluster_ips(service: Object) -> list[str]:
    spec = service["spec"]
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if ip and ip != "None"]


def _endpoint_ips(one: Object) -> set[str]:
    return {ip for endpoint in one.get("endpoints") or () for ip in endpoint["addresses"]}


def _service_key(one: Object) -> list[str]:
    meta = one["metadata"]
    return [f"{meta['namespace']}/{(meta.get('labels') or {}).get(_SLICE_LABEL, '')}"]
