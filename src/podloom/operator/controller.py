"""Every node its range: Nodes in, NodeNetworkConfigs, node.spec.podCIDR and cloud routes out.

The problem: the ranges must be the lowest free ones, stable, unique and never leaked, while this process, the API
server or the cloud may stop at any moment. So nothing is remembered but the informers' view of the API; one pass
computes what is missing and writes it object by object, each write idempotent: create the object with its claim
(its name is unique), set the node's podCIDR (settable once), write the route, then say in the status that it is there.
The agent serves from that moment on. A range is released in the opposite order, when its node has been gone for
a while and no pod is bound to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import Any

import structlog

from podloom.drivers.kube import Informer, KubeApi, KubeError
from podloom.model.errors import Bug, PodloomError
from podloom.model.kube import EVENTS, NNCS, NODES, PODS
from podloom.model.nnc import NAMESPACE, Network
from podloom.operator.leader import Leader
from podloom.operator.routes import Routes
from podloom.plan.noderanges import plan_ranges
from podloom.render.nnc import RANGES_ANNOTATION, claimed_ranges, render_nnc, render_status

log = structlog.get_logger()
_PARALLEL = 16
_REASON = "CIDRNotAvailable"
Object = dict[str, Any]


class Controller:
    """One cluster's ranges. `routes` is None where no cloud routes pod ranges."""

    def __init__(
        self,
        client: KubeApi,
        pod_cidrs: tuple[Network, ...],
        routes: Routes | None,
        leader: Leader,
        *,
        subnet: str = "overlay",
        release_after_s: float = 20.0,
        now: Callable[[], float] = time.monotonic,
        mark: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._cidrs = pod_cidrs
        self._routes = routes
        self._leader = leader
        self._subnet = subnet
        self._release_after_s = release_after_s
        self._now = now
        self._gone_since: dict[str, float] = {}
        self._limit = asyncio.Semaphore(_PARALLEL)

        def changed(*_: object) -> None:
            mark()

        self.nodes = Informer(client, NODES, on_event=changed, trim=_trim_node)
        self.nncs = Informer(client, NNCS, namespace=NAMESPACE, on_event=changed)
        self.pods = Informer(client, PODS, on_event=changed, trim=_trim_pod)

    def informers(self) -> list[Informer]:
        return [self.nodes, self.nncs, self.pods]

    async def run_once(self) -> bool:
        """One pass; whether everything is as it should be (else: again soon)."""
        if not all(informer.synced.is_set() for informer in self.informers()) or not await self._leader.held():
            return False
        nodes = {name: obj for (_, name), obj in self.nodes.objects.items()}
        nncs = {name: obj for (_, name), obj in self.nncs.objects.items()}
        ordered = sorted(nodes, key=lambda name: (nodes[name]["metadata"].get("creationTimestamp") or "", name))
        plan = plan_ranges(self._cidrs, ordered, self._claims(nodes, nncs))
        work: list[Awaitable[bool]] = []
        for name, node in nodes.items():
            ranges = plan.assigned.get(name) or self._claim_of(node, nncs.get(name))
            work.append(self._guarded(name, self._settle(node, nncs.get(name), ranges)))
        work += [self._guarded(name, self._release(name)) for name in self._released(nodes, nncs)]
        if self._routes is not None:
            work += [
                self._guarded(name, self._drop_route(name))
                for name in await self._routes.names() - nncs.keys() - nodes.keys()
            ]
        results = await asyncio.gather(*work)
        return all(results) and not (nncs.keys() - nodes.keys())

    def _claims(self, nodes: Mapping[str, Object], nncs: Mapping[str, Object]) -> dict[str, tuple[Network, ...]]:
        claims = {name: claimed_ranges(obj) for name, obj in nncs.items()}
        for name, node in nodes.items():
            claims[name] = claims.get(name) or self._claim_of(node, None)
        return {name: ranges for name, ranges in claims.items() if ranges}

    def _claim_of(self, node: Object, nnc: Object | None) -> tuple[Network, ...]:
        """What a node has: its object's claim, else the podCIDRs already set on it that lie in ours."""
        if nnc is not None and claimed_ranges(nnc):
            return claimed_ranges(nnc)
        texts = (node.get("spec") or {}).get("podCIDRs") or []
        found = tuple(ip_network(text) for text in texts)
        return found if found and len(found) == len(self._cidrs) and self._inside(found) else ()

    def _inside(self, ranges: Iterable[Network]) -> bool:
        return all(
            network.version == cidr.version and network.subnet_of(cidr)  # type: ignore[arg-type]
            for network, cidr in zip(ranges, self._cidrs, strict=True)
        )

    async def _guarded(self, name: str, work: Awaitable[bool]) -> bool:
        async with self._limit:
            try:
                return await work
            except Bug:
                raise
            except PodloomError as error:
                log.warning("node.failed", node=name, error=error.message)
                return False

    async def _settle(self, node: Object, nnc: Object | None, ranges: tuple[Network, ...]) -> bool:
        """Bring one node's objects to its range; True when nothing is left to wait for."""
        name = node["metadata"]["name"]
        if nnc is None:
            nnc = await self._create(name, ranges)
        elif ranges and not claimed_ranges(nnc):
            nnc = await self._claim(nnc, ranges)
        if not ranges:
            await self._report_exhausted(node, nnc)
            return True
        await self._set_pod_cidrs(node, ranges)
        trouble = await self._route(node, ranges)
        await self._write_status(nnc, ranges, _node_ip(node), trouble)
        return not trouble

    async def _create(self, name: str, ranges: tuple[Network, ...]) -> Object:
        created = await self._client.create(NNCS, render_nnc(name, ranges), namespace=NAMESPACE)
        self.nncs.observe(created)
        log.info("range.assigned", node=name, ranges=list(map(str, ranges)))
        return created

    async def _claim(self, nnc: Object, ranges: tuple[Network, ...]) -> Object:
        """Give a range to an object that was made when there was none."""
        meta = nnc["metadata"]
        annotations = {**(meta.get("annotations") or {}), RANGES_ANNOTATION: ",".join(map(str, ranges))}
        claimed = await self._client.replace(NNCS, {**nnc, "metadata": {**meta, "annotations": annotations}})
        self.nncs.observe(claimed)
        log.info("range.assigned", node=meta["name"], ranges=list(map(str, ranges)))
        return claimed

    async def _set_pod_cidrs(self, node: Object, ranges: tuple[Network, ...]) -> None:
        texts = list(map(str, ranges))
        if (node.get("spec") or {}).get("podCIDRs") == texts:
            return
        body = {"spec": {"podCIDR": texts[0], "podCIDRs": texts}}
        self.nodes.observe(await self._client.patch(NODES, node["metadata"]["name"], body, kind="strategic"))

    async def _route(self, node: Object, ranges: tuple[Network, ...]) -> str:
        """Have the cloud route the ranges; "" when it does, else what is missing."""
        node_ip = _node_ip(node)
        if not node_ip:
            return "the node has no address yet"
        if self._routes is None:
            return ""
        try:
            return await self._routes.ensure(node["metadata"]["name"], ranges, node_ip)
        except PodloomError as error:
            log.warning("route.failed", node=node["metadata"]["name"], error=error.message)
            return f"the cloud's route could not be written: {error.message}"

    async def _write_status(self, nnc: Object, ranges: tuple[Network, ...], node_ip: str, trouble: str) -> None:
        name = nnc["metadata"]["name"]
        status = render_status(name, ranges, self._cidrs, node_ip=node_ip, subnet=self._subnet, trouble=trouble)
        if nnc.get("status") == status:
            return
        self.nncs.observe(await self._client.replace(NNCS, {**nnc, "status": status}, subresource="status"))

    async def _report_exhausted(self, node: Object, nnc: Object) -> None:
        cidrs = ", ".join(map(str, self._cidrs))
        message = f"no /24 of the pod CIDR {cidrs} is free; expand the pod CIDR or remove nodes"
        if (nnc.get("status") or {}).get("message") == message:
            return
        name = node["metadata"]["name"]
        log.error("range.exhausted", node=name, message=message)
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{_REASON.lower()}", "namespace": "default"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Node",
                "name": name,
                "uid": node["metadata"].get("uid", ""),
            },
            "type": "Warning",
            "reason": _REASON,
            "message": f"Node {name}: {message}",
            "source": {"component": "podloom-operator"},
            "count": 1,
        }
        try:
            await self._client.create(EVENTS, event, namespace="default")
        except KubeError as error:
            if not error.already_exists:
                raise
        await self._write_status(nnc, (), _node_ip(node), message)

    def _released(self, nodes: Mapping[str, Object], nncs: Mapping[str, Object]) -> list[str]:
        """Nodes that have been gone for a while and have no pods bound to them."""
        gone = nncs.keys() - nodes.keys()
        self._gone_since = {name: self._gone_since.get(name, self._now()) for name in gone}
        busy = {(pod.get("spec") or {}).get("nodeName") for pod in self.pods.objects.values()} if gone else set()
        limit = self._now() - self._release_after_s
        return [name for name in sorted(gone) if name not in busy and self._gone_since[name] <= limit]

    async def _release(self, name: str) -> bool:
        """The route goes first: while the claim stands nobody else gets the range."""
        if self._routes is not None:
            await self._routes.remove(name)
        try:
            await self._client.delete(NNCS, name, NAMESPACE)
        except KubeError as error:
            if not error.not_found:
                raise
        log.info("range.released", node=name)
        return True

    async def _drop_route(self, name: str) -> bool:
        assert self._routes is not None
        await self._routes.remove(name)
        return True


def _node_ip(node: Object) -> str:
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "InternalIP":
            return str(address["address"])
    return ""


def _trim_node(obj: Object) -> Object:
    meta = {
        k: obj["metadata"][k] for k in ("name", "uid", "resourceVersion", "creationTimestamp") if k in obj["metadata"]
    }
    spec = {k: v for k, v in (obj.get("spec") or {}).items() if k in ("podCIDR", "podCIDRs")}
    return {"metadata": meta, "spec": spec, "status": {"addresses": (obj.get("status") or {}).get("addresses") or []}}


def _trim_pod(obj: Object) -> Object:
    meta = {
        key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion") if key in obj["metadata"]
    }
    return {"metadata": meta, "spec": {"nodeName": (obj.get("spec") or {}).get("nodeName", "")}}
