"""Which fields of a Service go together, shared by its defaults, validation and allocation.

The problem: most of a Service's fields have a meaning for some types only. These predicates name the cases once
(kubernetes registry/core/service; SVC-02).
"""

from __future__ import annotations

from collections.abc import Sequence

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds import formats

FAMILIES = ("IPv4", "IPv6")
NONE = "None"


def spec_of(service: Object) -> Object:
    """The spec, empty when missing."""
    spec: Object = service.get("spec") or {}
    return spec


def needs_cluster_ip(spec: Object) -> bool:
    """Every type but ExternalName."""
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_port(spec: Object) -> bool:
    """Types that may have node ports."""
    return spec.get("type") in ("NodePort", "LoadBalancer")


def wants_node_ports(spec: Object) -> bool:
    """Node ports are to be allocated."""
    if spec.get("type") == "LoadBalancer":
        return bool(spec.get("allocateLoadBalancerNodePorts", True))
    return spec.get("type") == "NodePort"


def externally_accessible(spec: Object) -> bool:
    """Reached from outside, so externalTrafficPolicy has a meaning."""
    return needs_node_port(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Object) -> bool:
    """A load balancer asks each node whether it has local endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_headless(spec: Object) -> bool:
    """clusterIP None."""
    return list(spec.get("clusterIPs") or []) == [NONE]


def cluster_ips(spec: Object) -> list[str]:
    """The addresses, without None."""
    return [ip for ip in spec.get("clusterIPs") or [] if ip and ip != NONE]


def family_of(ip: str) -> str:
    """IPv4 or IPv6; IPv4 for what is no address."""
    address = formats.parse_ip(ip)
    return "IPv6" if address is not None and address.version == 6 else "IPv4"


def node_ports(spec: Object) -> list[int]:
    """The node ports of the ports, 0 where there is none."""
    return [port.get("nodePort") or 0 for port in spec.get("ports") or []]


def other_family(family: str) -> str:
    """The family that is not this one."""
    return "IPv4" if family == "IPv6" else "IPv6"


def same(spec: Object, old: Object, *fields: str) -> bool:
    """All fields have equal values in both."""
    return all((spec.get(field) or None) == (old.get(field) or None) for field in fields)


def drop(spec: Object, *fields: str) -> None:
    """Remove fields."""
    for field in fields:
        spec.pop(field, None)


def joined(values: Sequence[str]) -> str:
    """Values by comma."""
    return ",".join(values)
