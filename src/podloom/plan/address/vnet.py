"""Rules for virtual networks and their subnets."""

from __future__ import annotations

from typing import Any

from podloom.model.arm import ResourceId
from podloom.model.findings import Finding
from podloom.plan.address.cidrs import overlapping, parse_cidr, within_any
from podloom.plan.address.names import check_network_name
from podloom.plan.address.view import Prefix

Json = dict[str, Any]
SMALLEST_SUBNET = 29  # a /29 is what Azure's five reserved addresses leave three of


def with_subnet_prefixes(properties: Json) -> Json:
    """A subnet's properties with both of ARM's spellings of its ranges: the list, and the single one."""
    many = properties.get("addressPrefixes") or []
    one = properties.get("addressPrefix")
    ranges = list(many) if many else [one] if one else []
    spelled = {**properties, "addressPrefixes": ranges}
    if len(ranges) == 1:
        return {**spelled, "addressPrefix": ranges[0]}
    return {key: value for key, value in spelled.items() if key != "addressPrefix"}


def check_virtual_network(id_: ResourceId, properties: Json) -> list[Finding]:
    """Every mistake of a virtual network's wish: names, ranges, subnets outside the space or on each other."""
    findings = check_network_name(id_.name, "name")
    texts = (properties.get("addressSpace") or {}).get("addressPrefixes") or []
    if not texts:
        message = f"Virtual network {id_.name} has no address space."
        findings.append(Finding("ValidationError", message, "addressSpace.addressPrefixes"))
    space = _parse_all(texts, "addressSpace.addressPrefixes", findings)
    for index, prefix in enumerate(space):
        findings += _overlap(prefix, space[:index], "addressSpace.addressPrefixes")
    findings += _check_subnets(id_, properties.get("subnets") or [], space, complete=len(space) == len(texts))
    return findings


def _check_subnets(id_: ResourceId, subnets: list[Json], space: list[Prefix], *, complete: bool) -> list[Finding]:
    findings: list[Finding] = []
    seen: list[tuple[str, Prefix]] = []
    names: set[str] = set()
    for subnet in subnets:
        name = str(subnet.get("name", ""))
        target = f"subnets.{name}.addressPrefix"
        findings += check_network_name(name, f"subnets.{name}")
        if name.lower() in names:
            message = f"Subnet '{name}' is given more than once in virtual network '{id_.name}'."
            findings.append(Finding("DuplicateResourceName", message, target))
        names.add(name.lower())
        texts = subnet["properties"].get("addressPrefixes") or []
        if not texts:
            findings.append(Finding("ValidationError", f"Subnet '{name}' has no address prefix.", target))
        for prefix in _parse_all(texts, target, findings):
            if complete:
                findings += _check_range(id_, name, prefix, space, seen)
            seen.append((name, prefix))
    return findings


def _check_range(
    id_: ResourceId, name: str, prefix: Prefix, space: list[Prefix], seen: list[tuple[str, Prefix]]
) -> list[Finding]:
    findings = []
    target = f"subnets.{name}.addressPrefix"
    if not within_any(prefix, space):
        message = (
            f"Subnet '{name}' with range {prefix} is not valid because its IP range lies outside virtual network"
            f" '{id_.name}'."
        )
        fix = f"the address space is {', '.join(map(str, space)) or 'empty'}"
        findings.append(Finding("NetcfgInvalidSubnet", message, target, fix=fix))
    for other_name, other in seen:
        if overlapping(prefix, [other]):
            message = f"Subnet '{name}' with range {prefix} overlaps with subnet '{other_name}' {other}."
            findings.append(Finding("NetcfgSubnetRangesOverlap", message, target, fix="choose a free range"))
    if prefix.version == 4 and prefix.prefixlen > SMALLEST_SUBNET:
        message = f"Subnet '{name}' with range {prefix} is too small: Azure reserves five addresses."
        fix = f"use a /{SMALLEST_SUBNET} or larger"
        findings.append(Finding("NetcfgInvalidSubnet", message, target, "PLAN-01", fix))
    return findings


def _overlap(prefix: Prefix, others: list[Prefix], target: str) -> list[Finding]:
    return [
        Finding(
            "NetcfgInvalidVirtualNetworkSite",
            f"Address prefix {prefix} overlaps with address prefix {other}.",
            target,
        )
        for other in overlapping(prefix, others)
    ]


def _parse_all(texts: list[Any], target: str, findings: list[Finding]) -> list[Prefix]:
    prefixes = []
    for text in texts:
        prefix, finding = parse_cidr(str(text), target)
        if finding is not None:
            findings.append(finding)
        if prefix is not None:
            prefixes.append(prefix)
    return prefixes
