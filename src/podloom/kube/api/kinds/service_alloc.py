"""Giving Services their families, addresses and node ports.

The problem: an address or port belongs to one Service, also after a crash between any two writes. So what is used
is not kept anywhere: it is read off the stored Services each time, inside the server's serial order of writes. The
IPAddress objects clients see are written in the transaction of the Service, as a projection (SVC-02, PLAN-08).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence
from copy import deepcopy

from podloom.kube.api.contract import Cause, Context, Object, Settings, Write
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds import service_fields as f
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.types import type_of

_MANY = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
_TRIES = 64


def families(settings: Settings) -> list[str]:
    """The families of the service ranges, in their order."""
    return [f"IPv{ipaddress.ip_network(cidr).version}" for cidr in settings.service_cidrs]


def allocate(service: Object, old: Object | None, ctx: Context) -> list[Cause]:
    """Fill in families, addresses and node ports of a valid service; causes when that cannot be.

    `old` is the stored spec of an update. The service is changed only as far as allocation came.
    """
    report, spec = Report(), service["spec"]
    if spec["type"] != "ExternalName":
        _choose_families(report, spec, old, families(ctx.settings))
        if not report.causes:
            _allocate_addresses(report, service, ctx)
    if not report.causes and f.needs_node_port(spec):
        _allocate_node_ports(report, service, old, ctx)
    return report.causes


def _choose_families(report: Report, spec: Object, old: Object | None, served: list[str]) -> None:
    """initIPFamilyFields of kubernetes registry/core/service/storage/alloc.go."""
    if old is not None and old.get("type") != "ExternalName":
        if _unchanged_preference(spec, old):
            return
        for field in ("ipFamilyPolicy", "ipFamilies"):
            if not spec.get(field) and old.get(field) and f.same(spec, old, "clusterIPs"):
                spec[field] = old[field]
    given, ips = list(spec.get("ipFamilies") or []), f.cluster_ips(spec)
    if f.is_headless(spec) and not spec.get("selector"):
        _headless_families(spec, given or served[:1])
        return
    policy = spec.get("ipFamilyPolicy") or "SingleStack"
    if not _policy_fits(report, policy, given, ips, served) or not _families_fit(report, given, ips, served):
        return
    given = given or served[:1]
    if policy != "SingleStack" and len(given) == 1 and len(served) > 1:
        given.append(f.other_family(given[0]))
    spec["ipFamilies"], spec["ipFamilyPolicy"] = given, policy


def _families_fit(report: Report, given: list[str], ips: list[str], served: list[str]) -> bool:
    """Add to `given` the families that the addresses imply; all must be served here."""
    implied = len(given)
    for i, ip in enumerate(ips[implied:], start=implied):
        if f.family_of(ip) in served:
            given.append(f.family_of(ip))
        else:
            report.invalid(f"spec.clusterIPs[{i}]", ips, f"{f.family_of(ip)} is not configured on this cluster")
    for i, family in enumerate(given):
        if family not in served:
            report.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster")
    return not report.causes


def _unchanged_preference(spec: Object, old: Object) -> bool:
    """A PreferDualStack service keeps what it has when the cluster's ranges change under it."""
    prefers = spec.get("ipFamilyPolicy") == old.get("ipFamilyPolicy") == "PreferDualStack"
    return prefers and f.same(spec, old, "clusterIPs", "ipFamilies")


def _headless_families(spec: Object, given: list[str]) -> None:
    policy = spec.get("ipFamilyPolicy") or "RequireDualStack"
    if len(given) == 1 and policy != "SingleStack":
        given = [given[0], f.other_family(given[0])]
    spec["ipFamilies"], spec["ipFamilyPolicy"] = given, policy


def _policy_fits(report: Report, policy: str, given: list[str], ips: list[str], served: list[str]) -> bool:
    where = "spec.ipFamilyPolicy"
    if policy == "SingleStack" and len(ips) > 1:
        report.invalid(where, policy, _MANY.format("cluster IPs"))
    elif policy == "SingleStack" and len(given) > 1:
        report.invalid(where, policy, _MANY.format("IP families"))
    elif policy == "RequireDualStack" and len(served) < 2:
        report.invalid(where, policy, "this cluster is not configured for dual-stack services")
    return not report.causes


def _key(service: Object) -> tuple[str, str]:
    return service["metadata"].get("namespace", ""), service["metadata"].get("name", "")


def _others(service: Object, ctx: Context) -> list[Object]:
    return [f.spec_of(s) for s in ctx.reader.list("", "services") if _key(s) != _key(service)]


def _allocate_addresses(report: Report, service: Object, ctx: Context) -> None:
    spec = service["spec"]
    if f.is_headless(spec):
        return
    used = {formats.parse_ip(ip) for other in _others(service, ctx) for ip in f.cluster_ips(other)}
    ranges = {f"IPv{net.version}": net for net in map(ipaddress.ip_network, ctx.settings.service_cidrs)}
    asked = list(spec.get("clusterIPs") or [])
    for ip in asked:
        address = formats.parse_ip(ip)
        if address is None or not _usable(address, ranges.get(f.family_of(ip))):
            why = f"failed to allocate IP {ip}: the provided network does not match the current range"
            report.invalid("spec.clusterIPs", asked, why)
        elif address in used:
            report.invalid("spec.clusterIPs", asked, f"failed to allocate IP {ip}: provided IP is already allocated")
        if report.causes:
            return
    for family in spec["ipFamilies"][len(asked) :]:
        network = ranges[family]
        found = network.network_address if ctx.dry_run else _free_address(network, used)
        if found is None:
            why = f"failed to allocate a serviceIP: range is full ({network})"
            report.invalid("spec.clusterIPs", asked, why)
            return
        asked.append(str(found))
    spec["clusterIPs"], spec["clusterIP"] = asked, asked[0]


def _bounds(network: formats.Network) -> tuple[int, int]:
    """First and last address a service may have, as numbers: not the range's own, nor IPv4's broadcast address."""
    first = int(network.network_address)
    return first + 1, first + network.num_addresses - (2 if network.version == 4 else 1)


def _usable(address: formats.Address, network: formats.Network | None) -> bool:
    if network is None or address.version != network.version:
        return False
    first, last = _bounds(network)
    return first <= int(address) <= last


def _free_address(network: formats.Network, used: set[formats.Address | None]) -> formats.Address | None:
    """A free address, at random and from the upper band as long as that works; the lower is for those asked for."""
    first, last = _bounds(network)
    size = last - first + 1
    offset = min(max(16, size // 16), 256) if size > 32 else 0
    make: Callable[[int], formats.Address] = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    for _ in range(_TRIES):
        candidate = make(random.randint(first + offset, last))
        if candidate not in used:
            return candidate
    numbers = {int(ip) for ip in used if ip is not None and ip.version == network.version}
    for number in (*range(first + offset, min(last, first + (1 << 20)) + 1), *range(first, first + offset)):
        if number not in numbers:
            return make(number)
    return None


def _allocate_node_ports(report: Report, service: Object, old: Object | None, ctx: Context) -> None:
    spec = service["spec"]
    low, high = ctx.settings.node_port_range
    used = {
        number
        for other in _others(service, ctx)
        for number in (*f.node_ports(other), other.get("healthCheckNodePort") or 0)
        if number
    }
    mine: set[tuple[int, str]] = set()
    for i, port in enumerate(spec.get("ports") or []):
        number, protocol = port.get("nodePort") or 0, port.get("protocol", "TCP")
        if not number:
            continue
        if not low <= number <= high:
            why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
            report.invalid(f"spec.ports[{i}].nodePort", number, why)
        elif number in used or (number, protocol) in mine:
            report.invalid(f"spec.ports[{i}].nodePort", number, "provided port is already allocated")
        mine.add((number, protocol))
    if report.causes:
        return
    used |= {number for number, _ in mine}
    health = spec.get("healthCheckNodePort") or 0
    new = f.needs_health_check(spec) and health and (old or {}).get("healthCheckNodePort") != health
    if new and (health in used or not low <= health <= high):
        why = f"failed to allocate requested HealthCheck NodePort {health}: provided port is already allocated"
        report.invalid("spec.healthCheckNodePort", health, why)
        return
    used |= {health}
    if ctx.dry_run:
        _pretend_node_ports(spec, high)
    else:
        _fill_node_ports(report, spec, used, (low, high))


def _pretend_node_ports(spec: Object, high: int) -> None:
    """A dry run reserves nothing and shows it by values behind the range, as the real server does."""
    if f.wants_node_ports(spec):
        for i, port in enumerate(spec.get("ports") or []):
            port["nodePort"] = port.get("nodePort") or high + 2 + i
    if f.needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = high + 2 + len(spec.get("ports") or [])


def _fill_node_ports(report: Report, spec: Object, used: set[int], bounds: tuple[int, int]) -> None:
    if f.wants_node_ports(spec):
        for i, port in enumerate(spec.get("ports") or []):
            if port.get("nodePort"):
                continue
            number = _sibling_port(spec, port) or _free_port(used, bounds)
            if number is None:
                report.invalid(f"spec.ports[{i}].nodePort", 0, "failed to allocate a nodePort: range is full")
                return
            port["nodePort"] = number
            used.add(number)
    if f.needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        number = _free_port(used, bounds)
        if number is None:
            report.invalid("spec.healthCheckNodePort", 0, "failed to allocate a HealthCheck NodePort: range is full")
            return
        spec["healthCheckNodePort"] = number


def _sibling_port(spec: Object, port: Object) -> int | None:
    """The node port of the same port of another protocol (DNS: one number for TCP and UDP)."""
    same = [p for p in spec["ports"] if p.get("nodePort") and p.get("port") == port.get("port")]
    taken = {p["nodePort"] for p in spec["ports"] if p.get("nodePort") and p["protocol"] == port["protocol"]}
    return next((p["nodePort"] for p in same if p["nodePort"] not in taken), None)


def _free_port(used: set[int], bounds: tuple[int, int]) -> int | None:
    low, high = bounds
    free = [number for number in range(low, high + 1) if number not in used]
    return random.choice(free) if free else None


def address_writes(service: Object | None, old: Object | None, now: str) -> Sequence[Write]:
    """IPAddress objects a change of a service makes and removes; None stands for no service."""
    held, before = _canonical(service), _canonical(old)
    gone = [ip for ip in before if ip not in held]
    fresh = [ip for ip in held if ip not in before]
    kind = type_of("networking.k8s.io", "ipaddresses")
    writes = [Write(kind, "", ip, None) for ip in gone]
    if service is not None:
        writes += [Write(kind, "", ip, ip_address_object(ip, service, now)) for ip in fresh]
    return writes


def _canonical(service: Object | None) -> list[str]:
    if service is None:
        return []
    return [str(formats.parse_ip(ip)) for ip in f.cluster_ips(f.spec_of(service))]


_FAMILY_LABEL, _OWNER_LABEL = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
_ADDRESS_FIELDS: Object = {
    "f:metadata": {"f:labels": {".": {}, f"f:{_FAMILY_LABEL}": {}, f"f:{_OWNER_LABEL}": {}}},
    "f:spec": {"f:parentRef": {".": {}, "f:name": {}, "f:namespace": {}, "f:resource": {}}},
}


def ip_address_object(ip: str, service: Object, now: str) -> Object:
    """The IPAddress of one address of a service, owned by the server."""
    namespace, name = _key(service)
    managed = {
        "manager": "kube-apiserver",
        "operation": "Update",
        "apiVersion": "networking.k8s.io/v1",
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": deepcopy(_ADDRESS_FIELDS),
    }
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip,
            "labels": {_FAMILY_LABEL: f.family_of(ip), _OWNER_LABEL: "ipallocator.k8s.io"},
            "managedFields": [managed],
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    }
