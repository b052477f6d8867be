"""The cloud as the address rules see it: plain values, read by whoever asks for a decision."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from podloom.model.arm import ResourceId

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class SubnetView:
    """A subnet: its ranges, NICs in it by (lower-case) resource group, services it is delegated to."""

    id: ResourceId
    prefixes: tuple[Prefix, ...]
    nics_by_group: Mapping[str, int] = field(default_factory=dict)
    delegations: tuple[str, ...] = ()


@dataclass(frozen=True)
class VNetView:
    """A virtual network, and the address spaces of the networks peered with it."""

    id: ResourceId
    location: str
    prefixes: tuple[Prefix, ...]
    subnets: tuple[SubnetView, ...] = ()
    peered: tuple[Prefix, ...] = ()


@dataclass(frozen=True)
class ClusterView:
    """Another cluster: its node resource group and how many nodes it wants in each subnet (by key)."""

    id: ResourceId
    node_group: str
    demand: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CloudView:
    """All networks, and all clusters but the one decided on."""

    vnets: tuple[VNetView, ...] = ()
    clusters: tuple[ClusterView, ...] = ()

    def vnet(self, id_: ResourceId) -> VNetView | None:
        return next((vnet for vnet in self.vnets if vnet.id.key == id_.key), None)

    def used_by_others(self, subnet: SubnetView) -> int:
        """Addresses of `subnet` that others have or will have: clusters count with all nodes they want."""
        groups = dict(subnet.nics_by_group)
        used = 0
        for cluster in self.clusters:
            present = groups.pop(cluster.node_group.lower(), 0)
            used += max(present, cluster.demand.get(subnet.id.key, 0))
        return used + sum(groups.values())
