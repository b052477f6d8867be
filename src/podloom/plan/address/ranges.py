"""The ranges of one cluster against each other and against its network (PLAN-03 to PLAN-10)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from podloom.model.findings import Finding, Severity
from podloom.plan.address.cidrs import PRIVATE, forbidden_findings, overlapping, parse_cidr, within_any
from podloom.plan.address.defaults import SUBNET_NAME, SUBNET_PREFIX, VNET_PREFIX
from podloom.plan.address.view import Prefix, VNetView

Json = dict[str, Any]

POD = "networkProfile.podCIDR"
SERVICE = "networkProfile.serviceCIDR"
DNS = "networkProfile.dnsServiceIP"
_SERVICE_PREFIX_MAX = 12  # PLAN-06


@dataclass(frozen=True)
class Surroundings:
    """The network a cluster lives in: its name, address space, subnets' ranges by name, peered ranges."""

    vnet: str
    space: tuple[Prefix, ...]
    subnets: tuple[tuple[str, Prefix], ...]
    peered: tuple[Prefix, ...] = ()


def surroundings_of(vnet: VNetView | None) -> Surroundings:
    """A user's VNet, or (None) the one the service makes for the cluster."""
    if vnet is None:
        prefix = ipaddress.ip_network(SUBNET_PREFIX)
        return Surroundings("aks-vnet", (ipaddress.ip_network(VNET_PREFIX),), ((SUBNET_NAME, prefix),))
    subnets = tuple((subnet.id.name, prefix) for subnet in vnet.subnets for prefix in subnet.prefixes)
    return Surroundings(vnet.id.name, vnet.prefixes, subnets, vnet.peered)


def read_ranges(network: Json) -> tuple[Prefix | None, Prefix | None, list[Finding]]:
    """The pod and the service range, None where absent or malformed, with the findings about their spelling."""
    findings: list[Finding] = []
    ranges: list[Prefix | None] = []
    for one, many, target, requirement in (
        ("podCidr", "podCidrs", POD, "OVL-01"),
        ("serviceCidr", "serviceCidrs", SERVICE, "PLAN-06"),
    ):
        texts = network.get(many) or ([network[one]] if network.get(one) else [])
        parsed = [parse_cidr(str(text), target, requirement) for text in texts]
        findings += [finding for _, finding in parsed if finding is not None]
        ranges.append(parsed[0][0] if parsed else None)
        if texts and network.get(one) and texts[0] != network[one]:
            message = f"networkProfile.{one} '{network[one]}' is not the first of networkProfile.{many} {texts}."
            findings.append(Finding("ValidationError", message, target, "DUAL-05"))
        findings += _families(texts, [prefix for prefix, _ in parsed], network, many, target)
    return ranges[0], ranges[1], findings


def check_pod_range(pod: Prefix, around: Surroundings) -> list[Finding]:
    """PLAN-04, 05, 09 and 10 for the pod range."""
    findings = forbidden_findings(pod, "pod CIDR", POD)
    if pod.version == 4 and not within_any(pod, PRIVATE):
        message = f"The pod CIDR {pod} is neither in RFC 1918 nor in RFC 6598 space."
        fix = "use a range in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
        findings.append(Finding("PodCidrNotInPrivateRange", message, POD, "PLAN-10", fix))
    hit = [(name, prefix) for name, prefix in around.subnets if overlapping(pod, [prefix])]
    for name, prefix in hit:
        message = f"NetworkProfile CIDR {pod} overlaps with reserved VNET CIDR {prefix} (subnet {name})."
        fix = "choose a pod CIDR outside every subnet of the virtual network"
        findings.append(Finding("NetworkProfileCIDROverlapVNET", message, POD, "PLAN-04", fix))
    for prefix in overlapping(pod, around.peered):
        message = f"NetworkProfile CIDR {pod} overlaps with CIDR {prefix} of a peered virtual network."
        findings.append(Finding("NetworkProfileCIDROverlapVNET", message, POD, "PLAN-05"))
    if not hit:
        findings += _inside_unused_space(pod, around)
    return findings


def check_service_range(service: Prefix, pod: Prefix | None, around: Surroundings) -> list[Finding]:
    """PLAN-06, 07 and 09 for the service range. Inside the own VNet only subnets count, not unused space."""
    findings = forbidden_findings(service, "service CIDR", SERVICE)
    if service.version == 4 and service.prefixlen <= _SERVICE_PREFIX_MAX:
        message = f"The specified service CIDR {service} is too large: it must be smaller than /{_SERVICE_PREFIX_MAX}."
        findings.append(Finding("ServiceCidrTooLarge", message, SERVICE, "PLAN-06", "use a /16, e.g. 10.0.0.0/16"))
    for name, prefix in around.subnets:
        if overlapping(service, [prefix]):
            message = (
                f"The specified service CIDR {service} is conflicted with an existing subnet CIDR {prefix}"
                f" (subnet {name})"
            )
            fix = "choose a service CIDR outside every subnet of the virtual network"
            findings.append(Finding("ServiceCidrOverlapExistingSubnetsCidr", message, SERVICE, "PLAN-07", fix))
    for prefix in overlapping(service, around.peered):
        message = f"The specified service CIDR {service} is conflicted with CIDR {prefix} of a peered virtual network"
        findings.append(Finding("ServiceCidrOverlapPeeredVnetCidr", message, SERVICE, "PLAN-07"))
    if pod is not None and overlapping(service, [pod]):
        message = f"The specified service CIDR {service} is conflicted with the pod CIDR {pod}"
        fix = "give --pod-cidr and --service-cidr ranges of their own"
        findings.append(Finding("ServiceCidrOverlapPodCidr", message, SERVICE, "PLAN-07", fix))
    return findings


def check_dns(text: str, service: Prefix | None) -> list[Finding]:
    """PLAN-08: the cluster DNS address is inside the service range, and not its first address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return [Finding("InvalidDnsServiceIP", f"The DNS service IP '{text}' is no IP address.", DNS, "PLAN-08")]
    if service is None:
        return []
    if address not in service:
        message = f"The DNS service IP {address} is out of the range defined by service CIDR {service}"
        fix = f"leave --dns-service-ip out, or give e.g. {_example_dns(service)}"
        return [Finding("DnsServiceIpOutOfServiceCidr", message, DNS, "PLAN-08", fix)]
    if address == service.network_address + 1:
        message = (
            f"The DNS service IP {address} is the first address of service CIDR {service}, which belongs to"
            " kubernetes.default"
        )
        fix = f"give e.g. {_example_dns(service)}"
        return [Finding("DnsServiceIpConflictsWithKubernetesService", message, DNS, "PLAN-08", fix)]
    if address in (service.network_address, service.broadcast_address) and service.version == 4:
        message = f"The DNS service IP {address} is the network or broadcast address of service CIDR {service}"
        return [Finding("DnsServiceIpNotUsable", message, DNS, "PLAN-08", f"give e.g. {_example_dns(service)}")]
    return []


def check_space(around: Surroundings) -> list[Finding]:
    """PLAN-09 for the cluster's VNet."""
    target = "agentPoolProfile.vnetSubnetID"
    return [
        finding
        for prefix in around.space
        for finding in forbidden_findings(prefix, f"address space of virtual network {around.vnet}", target)
    ]


def _inside_unused_space(pod: Prefix, around: Surroundings) -> list[Finding]:
    message = (
        "The pod CIDR {} lies in the unused address space {} of virtual network {}; a subnet made there later would"
        " not be reachable from the pods."
    )
    return [
        Finding(
            "PodCidrInsideVnetAddressSpace",
            message.format(pod, space, around.vnet),
            POD,
            "PLAN-05",
            "prefer a pod CIDR outside the VNet",
            Severity.WARNING,
        )
        for space in overlapping(pod, around.space)
    ]


def _families(texts: list[Any], prefixes: list[Prefix | None], network: Json, key: str, target: str) -> list[Finding]:
    """DUAL-05, DUAL-06: as many ranges as families, in their order."""
    families = [str(family).lower() for family in network.get("ipFamilies") or []]
    have = [f"ipv{prefix.version}" for prefix in prefixes if prefix is not None]
    if not texts or not families or len(have) != len(texts) or have == families:
        return []
    message = f"networkProfile.{key} {texts} does not match networkProfile.ipFamilies {network['ipFamilies']}."
    return [Finding("CidrIpFamilyMismatch", message, target, "DUAL-05", "give one range per family, in order")]


def _example_dns(service: Prefix) -> str:
    offset = 10 if service.num_addresses > 16 else min(2, service.num_addresses - 1)
    return str(service.network_address + offset)
