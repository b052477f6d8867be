"""What the agent knows of the cluster: its own NodeNetworkConfig, services, masquerade settings.

The problem: pods must start while the API server is away, also after a restart of this process, and no information is
different from wrong information. So the last NodeNetworkConfig is kept in the lease store and used until a newer one
arrives; services are only served (and old ones only removed) once their lists were read; and once a range is
carried by the cloud's route it stays in use, whatever its status says while the operator works on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import structlog

from podloom.agent.leases import LeaseBook
from podloom.drivers.kube import Informer, KubeApi
from podloom.model.errors import PodloomError
from podloom.model.kube import CONFIGMAPS, ENDPOINTSLICES, NNCS, SERVICES
from podloom.model.nnc import NAMESPACE, NodeNetwork, parse_nnc
from podloom.plan.masquerade import CONFIG_PREFIX, OVERLAY_CONFIG, MasqConfig, merge_configs
from podloom.plan.services import ServiceView, view_services
from podloom.render.masqconfig import parse_masq_configmap

log = structlog.get_logger()
_REMEMBERED = "nnc"


class Inputs:
    """The cluster as this node sees it. `on_change` is called when the node table may have to change."""

    def __init__(self, node: str, book: LeaseBook, on_change: Callable[[], None]) -> None:
        self.node = node
        self.network: NodeNetwork | None = None
        self._book = book
        self._on_change = on_change
        self._informers: list[Informer] = []
        self._reported: tuple[str, ...] = ()
        remembered = book.recall(_REMEMBERED)
        if remembered:
            self._take(orjson.loads(remembered))

    def informers(self, client: KubeApi) -> list[Informer]:
        """The informers to run; call once."""
        mark = self._mark
        nnc = Informer(
            client, NNCS, namespace=NAMESPACE, field_selector=f"metadata.name={self.node}", on_event=self._on_nnc
        )
        self._services = Informer(client, SERVICES, on_event=mark, trim=trim_service)
        self._slices = Informer(client, ENDPOINTSLICES, on_event=mark, trim=trim_slice)
        self._configmaps = Informer(client, CONFIGMAPS, namespace=NAMESPACE, on_event=mark, trim=trim_configmap)
        self._informers = [nnc, self._services, self._slices, self._configmaps]
        return self._informers

    def services_known(self) -> bool:
        """Whether every list that the node table follows from was read: until then the services there are stay."""
        return bool(self._informers) and all(informer.synced.is_set() for informer in self._informers[1:])

    def view(self) -> ServiceView:
        """The services as this node serves them; empty until `services_known`."""
        if not self.services_known():
            return ServiceView()
        return view_services(self._services.objects.values(), self._slices.objects.values(), self.node)

    def masquerade(self) -> MasqConfig:
        """The merged masquerade settings; ConfigMaps that are left out are logged once."""
        if not self._informers:
            return OVERLAY_CONFIG
        maps = [o for o in self._configmaps.objects.values() if o["metadata"]["name"].startswith(CONFIG_PREFIX)]
        config, bad = merge_configs(OVERLAY_CONFIG, [pair for obj in maps for pair in parse_masq_configmap(obj)])
        mistakes = tuple(f"{item.name}: {'; '.join(item.mistakes)}" for item in bad)
        if mistakes != self._reported:
            self._reported = mistakes
            for text in mistakes:
                log.warning("masquerade.ignored", configmap=text)
        return config

    def trouble(self) -> str:
        """Why no address can be given out, or "" when one can."""
        if self.network is None:
            return f"node {self.node} has no NodeNetworkConfig yet"
        if not self._book.ranges:
            return f"the cloud does not carry this node's range yet ({self.network.message or self.network.status})"
        return ""

    def _on_nnc(self, kind: str, obj: dict[str, Any], before: dict[str, Any] | None) -> None:
        if kind != "DELETED" and self._take(obj):
            self._book.remember(_REMEMBERED, orjson.dumps(_essence(obj)).decode())
            self._on_change()

    def _take(self, obj: dict[str, Any]) -> bool:
        try:
            network = parse_nnc(obj)
        except PodloomError as error:
            log.error("nnc.bad", error=error.message)
            return False
        if network is None or network == self.network:
            return False
        self.network = network
        if network.ready and network.ranges != self._book.ranges:
            self._book.set_ranges(network.ranges)
            log.info("nnc.ready", ranges=list(map(str, network.ranges)))
        return True

    def _mark(self, kind: str, obj: dict[str, Any], before: dict[str, Any] | None) -> None:
        self._on_change()


def trim_service(obj: dict[str, Any]) -> dict[str, Any]:
    """What the plan reads of a Service, to save memory."""
    spec = obj.get("spec") or {}
    keep = ("type", "clusterIP", "clusterIPs", "ports", "sessionAffinity", "internalTrafficPolicy")
    return {"metadata": _identity(obj), "spec": {key: spec[key] for key in keep if key in spec}}


def trim_slice(obj: dict[str, Any]) -> dict[str, Any]:
    """What the plan reads of an EndpointSlice."""
    endpoints = [
        {key: item[key] for key in ("addresses", "conditions", "nodeName") if key in item}
        for item in obj.get("endpoints") or ()
    ]
    return {
        "metadata": _identity(obj),
        "addressType": obj.get("addressType", "IPv4"),
        "ports": obj.get("ports") or [],
        "endpoints": endpoints,
    }


def trim_configmap(obj: dict[str, Any]) -> dict[str, Any]:
    """Masquerade settings as they are; of every other ConfigMap only its name."""
    if obj["metadata"]["name"].startswith(CONFIG_PREFIX):
        return {"metadata": _identity(obj), "data": obj.get("data") or {}}
    return {"metadata": _identity(obj)}


def _identity(obj: dict[str, Any]) -> dict[str, Any]:
    meta = obj["metadata"]
    return {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "labels") if key in meta}


def _essence(obj: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": obj["metadata"]["name"]}, "status": obj.get("status") or {}}
