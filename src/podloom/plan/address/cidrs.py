"""Ranges: reading them, and how they may lie to each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from podloom.model.findings import Finding
from podloom.plan.address.view import Address, Prefix

# PLAN-09: forbidden for services, pods and the cluster's VNet.
FORBIDDEN: tuple[Prefix, ...] = tuple(
    ipaddress.ip_network(text) for text in ("169.254.0.0/16", "172.30.0.0/16", "172.31.0.0/16", "192.0.2.0/24")
)
# PLAN-10: RFC 1918 and RFC 6598.
PRIVATE: tuple[Prefix, ...] = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
AZURE_RESERVED = 5  # PLAN-01: the first four addresses of a subnet and its last


def parse_cidr(text: str, target: str, requirement: str = "") -> tuple[Prefix | None, Finding | None]:
    """The range `text` spells, or the finding CidrStringParseError with what is wrong and the likely intent."""
    try:
        return ipaddress.ip_network(text), None
    except ValueError as error:
        fix = "write it as address/length, e.g. 192.168.0.0/16"
        message = f"The CIDR '{text}' could not be parsed: {error}."
        meant = _meant(text)
        if meant is not None and "host bits" in str(error):
            message = f"The CIDR '{text}' could not be parsed: it has host bits set."
            fix = f"for this prefix length write {meant}"
        return None, Finding("CidrStringParseError", message, target, requirement, fix)


def overlapping(one: Prefix, others: Iterable[Prefix]) -> list[Prefix]:
    """Those of `others` that share an address with `one`; families never overlap."""
    return [other for other in others if one.version == other.version and one.overlaps(other)]


def within_any(one: Prefix, others: Iterable[Prefix]) -> bool:
    """Whether one of `others` contains all of `one`."""
    return any(
        other.version == one.version and other.prefixlen <= one.prefixlen and one.network_address in other
        for other in others
    )


def reserved_in(subnet: Prefix) -> frozenset[Address]:
    """The addresses of a subnet Azure keeps for itself (PLAN-01)."""
    first = subnet.network_address
    count = min(4, subnet.num_addresses)
    return frozenset({*(first + number for number in range(count)), subnet.broadcast_address})


def usable_in(subnet: Prefix) -> int:
    """How many addresses of a subnet can be given to NICs (PLAN-01): a /24 has 251."""
    return max(0, subnet.num_addresses - AZURE_RESERVED)


def forbidden_findings(prefix: Prefix, what: str, target: str) -> list[Finding]:
    """PLAN-09 for one range."""
    return [
        Finding(
            "CidrOverlapReservedRange",
            f"The {what} {prefix} overlaps with the reserved range {reserved}.",
            target,
            "PLAN-09",
            "choose a range outside 169.254.0.0/16, 172.30.0.0/16, 172.31.0.0/16 and 192.0.2.0/24",
        )
        for reserved in overlapping(prefix, FORBIDDEN)
    ]


def _meant(text: str) -> Prefix | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
