"""Overlay routing domains: pod addresses that exist only between one cluster's nodes.

The problem: pods of a cluster reach each other directly, without encapsulation, routes of the user or NAT, and two
clusters in one network may use the same pod range (OVL-04, OVL-14). So a domain is a routing table in the router
that only packets from its members' NICs look up (`ip rule iif`): each node's range goes to that node, the rest of
the pod range is refused, and everything else falls through to the network's own table, where pod ranges are
refused: nothing outside the domain reaches a pod, and where a packet may go follows from where it came from.
The router's own ICMP errors to pods (unreachable, path MTU) find back by the mark of the packet that caused them,
which is the domain's number (net.ipv4.fwmark_reflect).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha1

from podloom.model.errors import PodloomError, Rejected
from podloom.model.rows import Row, route_row, rule_row
from podloom.plan.fabric import names
from podloom.plan.fabric.router import gateway, home
from podloom.plan.fabric.settings import FabricSettings
from podloom.plan.fabric.view import Domain, Nic, VNet

RULE_PRIORITY = 1000


@dataclass(frozen=True)
class Membership:
    """A domain as realised: its number (table and mark), and the pod ranges behind each member NIC."""

    domain: Domain
    number: int
    ranges: tuple[tuple[Nic, str], ...]

    @property
    def nics(self) -> tuple[Nic, ...]:
        return tuple(dict.fromkeys(nic for nic, _ in self.ranges))


def number_domains(domains: Iterable[str]) -> dict[str, int]:
    """A table number per domain id, by hash, so that one domain's coming does not renumber another."""
    numbers: dict[str, int] = {}
    for domain in sorted(domains):
        number = 1_000_000 + int(sha1(domain.encode(), usedforsecurity=False).hexdigest()[:5], 16)
        while number in numbers.values():
            number += 1
        numbers[domain] = number
    return numbers


def memberships(
    vnet: VNet, nics: Iterable[Nic], domains: Iterable[Domain]
) -> tuple[list[Membership], dict[str, PodloomError]]:
    """The network's domains with their member NICs; problems are routes to a NIC of another domain, or of the other
    family. A domain with a problem keeps its other routes. A route to an address that no NIC has is a machine that is
    gone or not there yet: its range is refused meanwhile, and the domain is well."""
    by_address = {address: nic for nic in nics for address in nic.addresses}
    mine = [domain for domain in domains if domain.vnet == vnet.id]
    numbers = number_domains(domain.id for domain in mine)
    owners: dict[str, str] = {}
    problems: dict[str, PodloomError] = {}
    found = []
    for domain in mine:
        ranges = []
        for prefix, hop in domain.routes:
            nic = by_address.get(hop)
            if (":" in prefix) != (":" in hop):
                problems[domain.id] = _bad_hop(domain, prefix, hop, "they are of different families")
            elif nic is None:
                continue
            elif owners.setdefault(nic.id, domain.id) != domain.id:
                problems[domain.id] = _bad_hop(domain, prefix, hop, f"it belongs to {owners[nic.id]}")
            elif ":" not in prefix:
                ranges.append((nic, prefix))
        found.append(Membership(domain, numbers[domain.id], tuple(ranges)))
    return found, problems


def _bad_hop(domain: Domain, prefix: str, hop: str, found: str) -> PodloomError:
    return Rejected(f"route {prefix} of {domain.id} to {hop}", found, "correct the route", target=domain.id)


def plan_domain(settings: FabricSettings, vnet: VNet, member: Membership) -> list[Row]:
    """The domain's table and the rules that lead its members to it."""
    netns, owner = names.router_netns(settings.tag, vnet.id), member.domain.id
    cidrs = [cidr for cidr in member.domain.pod_cidrs if ":" not in cidr]
    rows = [
        route_row(netns, cidr, table=member.number, type="unreachable", owner=owner)
        for cidr in cidrs
        if cidr not in {prefix for _, prefix in member.ranges}
    ]
    for nic, prefix in member.ranges:
        near, (hop, source) = names.nic_link(nic.id), _hop(vnet, nic)
        rows.append(
            route_row(netns, prefix, table=member.number, dev=near, via=hop, src=source, onlink=True, owner=owner)
        )
    rows += [
        rule_row(netns, RULE_PRIORITY, iif=names.nic_link(nic.id), table=member.number, owner=owner)
        for nic in member.nics
    ]
    return [*rows, rule_row(netns, RULE_PRIORITY + 1, mark=member.number, table=member.number, owner=owner)]


def plan_refusals(
    settings: FabricSettings, vnet: VNet, members: Iterable[Membership], present: Mapping[str, bool]
) -> list[Row]:
    """In the network's own table, pod ranges are refused; `present` has destinations that are refused already."""
    netns = names.router_netns(settings.tag, vnet.id)
    cidrs = {cidr for member in members for cidr in member.domain.pod_cidrs if ":" not in cidr}
    return [route_row(netns, cidr, type="unreachable", owner=vnet.id) for cidr in sorted(cidrs) if cidr not in present]


def _hop(vnet: VNet, nic: Nic) -> tuple[str, str]:
    """A NIC's first IPv4 address, and its gateway's."""
    config = next(config for config in nic.configs if ":" not in config.address)
    return config.address, gateway(home(vnet, nic, config.subnet, config.address))
