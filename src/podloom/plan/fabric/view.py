"""ARM documents as the networks they describe.

The problem: documents come as JSON that anybody may have written, point at each other by ids of any case, and may
be incomplete. So each is read once into a frozen value keyed by its lower-cased id; what is wrong with one
document is a problem of that resource and disturbs no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from podloom.model.arm import (
    NETWORK_INTERFACES,
    PUBLIC_ADDRESSES,
    ROUTING_DOMAINS,
    VIRTUAL_NETWORKS,
    ResourceId,
)
from podloom.model.errors import PodloomError, Rejected

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Subnet:
    """A subnet and its ranges of both families."""

    id: str
    prefixes: tuple[str, ...]


@dataclass(frozen=True)
class VNet:
    """A virtual network; `subnets` by id."""

    id: str
    prefixes: tuple[str, ...]
    subnets: Mapping[str, Subnet]


@dataclass(frozen=True)
class IpConfig:
    """One address of a NIC."""

    address: str
    subnet: str
    primary: bool


@dataclass(frozen=True)
class Nic:
    """A network interface; `mac` with colons or ""; `vm` the machine's name."""

    id: str
    vnet: str
    mac: str
    configs: tuple[IpConfig, ...]
    vm: str

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(config.address for config in self.configs)


@dataclass(frozen=True)
class PublicAddress:
    """An address of the lab's internet; `fqdn` its name, or ""."""

    id: str
    address: str
    fqdn: str


@dataclass(frozen=True)
class Domain:
    """An overlay routing domain; `routes` are (prefix, address of the node that has it)."""

    id: str
    vnet: str
    pod_cidrs: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """Everything the cloud wants of networks, each kind by lower-cased id, and what could not be read."""

    vnets: Mapping[str, VNet] = field(default_factory=dict)
    nics: Mapping[str, Nic] = field(default_factory=dict)
    publics: Mapping[str, PublicAddress] = field(default_factory=dict)
    domains: Mapping[str, Domain] = field(default_factory=dict)
    problems: Mapping[str, PodloomError] = field(default_factory=dict)


def read_view(documents: Iterable[Json]) -> View:
    """The view of these resources; of types that are no networks' business nothing is read. Deleting ones are gone."""
    vnets: dict[str, VNet] = {}
    nics: dict[str, Nic] = {}
    publics: dict[str, PublicAddress] = {}
    domains: dict[str, Domain] = {}
    problems: dict[str, PodloomError] = {}
    routes: dict[str, list[tuple[str, str]]] = {}
    for document in sorted(documents, key=lambda d: str(d.get("id", "")).lower()):
        key, kind = str(document["id"]).lower(), str(document.get("type", "")).lower()
        properties = document.get("properties") or {}
        if str(properties.get("provisioningState", "")) == "Deleting":
            continue
        try:
            if kind == VIRTUAL_NETWORKS.lower():
                vnets[key] = _vnet(key, properties)
            elif kind == NETWORK_INTERFACES.lower():
                nics[key] = _nic(key, properties)
            elif kind == PUBLIC_ADDRESSES.lower():
                publics[key] = _public(key, properties)
            elif kind == ROUTING_DOMAINS.lower():
                domains[key] = _domain(key, properties)
            elif kind == f"{ROUTING_DOMAINS}/routes".lower():
                routes.setdefault(ResourceId.parse(key).parent.key, []).extend(_routes(properties))
        except (PodloomError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems[key] = _unreadable(key, error)
    whole = {key: Domain(d.id, d.vnet, d.pod_cidrs, tuple(sorted(routes.get(key, [])))) for key, d in domains.items()}
    return View(vnets, nics, publics, whole, problems)


def _unreadable(key: str, error: Exception) -> PodloomError:
    if isinstance(error, PodloomError):
        return error
    return Rejected(f"read resource {key}", f"{type(error).__name__}: {error}", "correct the document", target=key)


def _prefix(text: Any) -> str:
    return str(ip_network(str(text)))


def _vnet(key: str, properties: Json) -> VNet:
    subnets = {}
    for child in properties.get("subnets") or ():
        inner = child.get("properties") or {}
        ranges = inner.get("addressPrefixes") or [inner["addressPrefix"]]
        subnet_id = f"{key}/subnets/{str(child['name']).lower()}"
        subnets[subnet_id] = Subnet(subnet_id, tuple(map(_prefix, ranges)))
    prefixes = tuple(map(_prefix, properties["addressSpace"]["addressPrefixes"]))
    return VNet(key, prefixes, subnets)


def _nic(key: str, properties: Json) -> Nic:
    configs = []
    for index, child in enumerate(properties["ipConfigurations"]):
        inner = child["properties"]
        address = str(ip_address(str(inner["privateIPAddress"])))
        configs.append(IpConfig(address, str(inner["subnet"]["id"]).lower(), bool(inner.get("primary", index == 0))))
    vnet = configs[0].subnet.rsplit("/subnets/", 1)[0]
    vm = str((properties.get("virtualMachine") or {}).get("id", "")).rsplit("/", 1)[-1].lower()
    mac = str(properties.get("macAddress") or "").replace("-", ":").lower()
    return Nic(key, vnet, mac, tuple(configs), vm)


def _public(key: str, properties: Json) -> PublicAddress:
    fqdn = str((properties.get("dnsSettings") or {}).get("fqdn") or "").lower()
    return PublicAddress(key, str(ip_address(str(properties["ipAddress"]))), fqdn)


def _domain(key: str, properties: Json) -> Domain:
    vnet = str(properties["virtualNetwork"]["id"]).lower()
    return Domain(key, vnet, tuple(map(_prefix, properties["podCidrs"])), ())


def _routes(properties: Json) -> list[tuple[str, str]]:
    hop = str(ip_address(str(properties["nextHopIpAddress"])))
    return [(_prefix(prefix), hop) for prefix in properties.get("addressPrefixes") or ()]
