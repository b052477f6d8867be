"""Overlay routing domains: which pod ranges a VNet routes for one cluster, and through which node."""

from __future__ import annotations

import ipaddress

from podloom.cloud.rules import Rules
from podloom.cloud.state import parse_quietly
from podloom.cloud.store import Row
from podloom.model.arm import DOMAIN_ROUTES, ROUTING_DOMAINS, VIRTUAL_NETWORKS, ResourceId
from podloom.model.findings import Finding
from podloom.plan.address.cidrs import parse_cidr
from podloom.render.arm import Json, pick


class RoutingDomains(Rules):
    """The private pod network of one cluster inside one VNet (OVL-04, OVL-14)."""

    type = ROUTING_DOMAINS
    realised_by = "fabric"
    shape = {"virtualNetwork": {"id": str}, "podCidrs": [str]}  # noqa: RUF012

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        properties = wish["properties"]
        findings: list[Finding] = []
        vnet = parse_quietly(str(pick(properties, "virtualNetwork", "id", default="")))
        if vnet is None or vnet.type != VIRTUAL_NETWORKS or self.store.get(vnet.key) is None:
            named = pick(properties, "virtualNetwork", "id", default="")
            message = f"Resource {named} referenced by routing domain {id_.name} was not found."
            findings.append(Finding("InvalidResourceReference", message, "virtualNetwork.id", "OVL-04"))
        ranges = properties.get("podCidrs") or []
        if not ranges:
            message = f"Routing domain {id_.name} has no podCidrs."
            findings.append(Finding("ValidationError", message, "podCidrs", "OVL-01"))
        for text in ranges:
            _, finding = parse_cidr(str(text), "podCidrs")
            findings.extend([finding] if finding else [])
        return wish, findings


class DomainRoutes(Rules):
    """One node's share: these pod prefixes go to this node address."""

    type = DOMAIN_ROUTES
    shape = {"addressPrefixes": [str], "nextHopIpAddress": str}  # noqa: RUF012

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        properties = wish["properties"]
        domain = self.store.get(id_.parent.key)
        whole = [ipaddress.ip_network(p) for p in pick(domain.body if domain else {}, "properties", "podCidrs")]
        findings: list[Finding] = []
        for text in properties.get("addressPrefixes") or []:
            prefix, finding = parse_cidr(str(text), "addressPrefixes")
            findings.extend([finding] if finding else [])
            if prefix is not None and not any(_inside(prefix, range_) for range_ in whole):
                message = f"Prefix {prefix} is outside the pod ranges of routing domain {id_.parent.name}."
                findings.append(Finding("ValidationError", message, "addressPrefixes", "OVL-02"))
        hop = str(properties.get("nextHopIpAddress") or "")
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            message = f"The next hop '{hop}' of route {id_.name} is no IP address."
            findings.append(Finding("InvalidIPAddress", message, "nextHopIpAddress"))
        return wish, findings


def _inside(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
