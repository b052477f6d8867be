"""What is wrong with a Service (kubernetes apis/core/validation, ValidateService; SVC-02)."""

from __future__ import annotations

from typing import Any

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds import service_fields as f
from podloom.kube.api.kinds.check import Report, labels

_KUBELET_PORT = 10250
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_ONLY_LB = "may only be used when `type` is 'LoadBalancer'"
_FIXED = "may not change once set"


def check(report: Report, spec: Object) -> None:
    """Mistakes of a service's spec."""
    if not spec.get("ports") and not f.is_headless(spec) and spec["type"] != "ExternalName":
        report.required("spec.ports")
    _check_type(report, spec)
    names: set[str] = set()
    ports = spec.get("ports") or []
    for i, port in enumerate(ports):
        _check_port(report, f"spec.ports[{i}]", port, names, named=len(ports) > 1)
    labels(report, "spec.selector", spec.get("selector"))
    _check_affinity(report, spec)
    check_addresses(report, spec)
    for i, ip in enumerate(spec.get("externalIPs") or []):
        where = f"spec.externalIPs[{i}]"
        if report.format(where, ip, formats.ip):
            report.format(where, ip, formats.non_special_ip)
    report.one_of("spec.type", spec["type"], _TYPES)
    if spec["type"] == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                report.forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'")
    _check_duplicates(report, ports)
    _check_load_balancer(report, spec)
    _check_traffic(report, spec)


def _check_type(report: Report, spec: Object) -> None:
    kind = spec["type"]
    if kind == "LoadBalancer":
        for i, port in enumerate(spec.get("ports") or []):
            if port.get("port") == _KUBELET_PORT:
                why = f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"
                report.invalid(f"spec.ports[{i}]", _KUBELET_PORT, why)
    if kind in ("LoadBalancer", "NodePort") and f.is_headless(spec):
        report.invalid("spec.clusterIPs[0]", f.NONE, f"may not be set to 'None' for {kind} services")
    if kind != "ExternalName":
        return
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            report.forbidden(f"spec.{field}", "may not be set for ExternalName services")
    name = (spec.get("externalName") or "").removesuffix(".")
    if name:
        report.format("spec.externalName", name, formats.dns_subdomain)
    else:
        report.required("spec.externalName")


def _check_port(report: Report, where: str, port: Object, names: set[str], *, named: bool) -> None:
    name = port.get("name", "")
    if name:
        report.format(f"{where}.name", name, formats.dns_label)
        if name in names:
            report.duplicate(f"{where}.name", name)
        names.add(name)
    elif named:
        report.required(f"{where}.name")
    report.format(f"{where}.port", port.get("port", 0), formats.port_number)
    report.one_of(f"{where}.protocol", port.get("protocol", ""), _PROTOCOLS)
    target = port.get("targetPort")
    if isinstance(target, str):
        report.format(f"{where}.targetPort", target, formats.port_name)
    else:
        report.format(f"{where}.targetPort", target or 0, formats.port_number)
    if port.get("appProtocol"):
        report.format(f"{where}.appProtocol", port["appProtocol"], formats.qualified_name)


def _check_affinity(report: Report, spec: Object) -> None:
    report.one_of("spec.sessionAffinity", spec.get("sessionAffinity", ""), ("ClientIP", "None"))
    if spec.get("sessionAffinity") == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        timeout = client.get("timeoutSeconds", 0)
        if not 0 < timeout <= 86400:
            where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            report.invalid(where, timeout, "must be greater than 0 and less than 86400")


def check_addresses(report: Report, spec: Object) -> None:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy agree (ValidateServiceClusterIPsRelatedFields)."""
    if spec["type"] == "ExternalName":
        return
    one, many = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if one and not many:
        report.required("spec.clusterIPs")
    elif one and many[0] != one:
        report.invalid("spec.clusterIPs", many, "first value must match `clusterIP`")
    elif many and not one:
        report.invalid("spec.clusterIPs", many, "must be empty when `clusterIP` is not specified")
    families = spec.get("ipFamilies") or []
    _check_families(report, families)
    if spec.get("ipFamilyPolicy"):
        report.one_of("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], _POLICIES)
    if not _well_formed(report, many):
        return
    if len(many) > 1 and len({f.family_of(ip) for ip in many}) < len(many):
        report.invalid("spec.clusterIPs", many, "may specify no more than one IP for each IP family")
    if f.is_headless(spec):
        return
    for i, (ip, family) in enumerate(zip(many, families, strict=False)):
        if family in f.FAMILIES and f.family_of(ip) != family:
            why = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
            report.invalid(f"spec.clusterIPs[{i}]", ip, why)


def _check_families(report: Report, families: list[str]) -> None:
    for i, family in enumerate(families):
        if family not in f.FAMILIES:
            report.unsupported(f"spec.ipFamilies[{i}]", family, f.FAMILIES)
        if family in families[:i]:
            report.duplicate(f"spec.ipFamilies[{i}]", family)


def _well_formed(report: Report, ips: list[str]) -> bool:
    good = True
    for i, ip in enumerate(ips):
        if i == 0 and ip == f.NONE:
            if len(ips) > 1:
                report.invalid("spec.clusterIPs", ips, "'None' must be the first and only value")
                good = False
        elif not report.format(f"spec.clusterIPs[{i}]", ip, formats.ip):
            good = False
    if len(ips) > 2:
        report.invalid("spec.clusterIPs", ips, "may only hold up to 2 values")
    return good


def _check_duplicates(report: Report, ports: list[Object]) -> None:
    seen: set[tuple[Any, Any]] = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            shown = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            report.duplicate(f"spec.ports[{i}]", shown)
        seen.add(key)


def _check_load_balancer(report: Report, spec: Object) -> None:
    is_lb = spec["type"] == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges and not is_lb:
        report.forbidden("spec.LoadBalancerSourceRanges", _ONLY_LB)
    for i, cidr in enumerate(ranges):
        report.format(f"spec.LoadBalancerSourceRanges[{i}]", cidr.strip(), formats.cidr)
    if is_lb and spec.get("allocateLoadBalancerNodePorts") is None:
        report.required("spec.allocateLoadBalancerNodePorts")
    if not is_lb and spec.get("allocateLoadBalancerNodePorts") is not None:
        report.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LB)
    if spec.get("loadBalancerClass"):
        if not is_lb:
            report.forbidden("spec.loadBalancerClass", _ONLY_LB)
        report.format("spec.loadBalancerClass", spec["loadBalancerClass"], formats.qualified_name)


def _check_traffic(report: Report, spec: Object) -> None:
    policy = spec.get("externalTrafficPolicy", "")
    if f.externally_accessible(spec):
        report.one_of("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    elif policy:
        report.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    health = spec.get("healthCheckNodePort") or 0
    if health and not f.needs_health_check(spec):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        report.invalid("spec.healthCheckNodePort", health, why)
    elif health:
        report.format("spec.healthCheckNodePort", health, formats.port_number)
    if spec.get("internalTrafficPolicy"):
        report.one_of("spec.internalTrafficPolicy", spec["internalTrafficPolicy"], ("Cluster", "Local"))
    if spec.get("trafficDistribution"):
        known = ("PreferClose", "PreferSameNode", "PreferSameZone")
        report.one_of("spec.trafficDistribution", spec["trafficDistribution"], known)


def warn(spec: Object, old: Object | None, ctx: Context) -> None:
    """Add the warnings a good service deserves; `old` is the spec before an update."""
    for i, ip in enumerate(f.cluster_ips(spec)):
        address = formats.parse_ip(ip)
        if address is not None and address.version == 6 and str(address) != ip:
            ctx.warnings.append(
                f'spec.clusterIPs[{i}]: IPv6 address "{ip}" should be in RFC 5952 canonical format ("{address}")'
            )
    if spec.get("externalIPs") and (old is None or old.get("externalIPs") != spec["externalIPs"]):
        ctx.warnings.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec["type"] != "ExternalName" and spec.get("externalName"):
        ctx.warnings.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if f.is_headless(spec) and spec.get("sessionAffinity", "None") != "None":
        ctx.warnings.append("spec.SessionAffinity is ignored for headless services")


def check_change(report: Report, spec: Object, old: Object) -> None:
    """Addresses, families and the load balancer class stay (they may be added or given up at the end)."""
    if spec["type"] != "ExternalName" and old.get("type") != "ExternalName":
        _check_fixed(report, "spec.clusterIPs", spec.get("clusterIPs") or [], old.get("clusterIPs") or [])
        mismatch = any("as indicated by `ipFamilies" in cause.message for cause in report.causes)
        if not mismatch:
            _check_fixed(report, "spec.ipFamilies", spec.get("ipFamilies") or [], old.get("ipFamilies") or [])
    was_lb, is_lb = old.get("type") == "LoadBalancer", spec["type"] == "LoadBalancer"
    if was_lb and is_lb and spec.get("loadBalancerClass") != old.get("loadBalancerClass"):
        report.invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), _FIXED)


def _check_fixed(report: Report, where: str, now: list[str], before: list[str]) -> None:
    for i in range(min(len(now), len(before))):
        if now[i] != before[i]:
            report.invalid(f"{where}[{i}]", now, _FIXED)


def check_status(report: Report, service: Object) -> None:
    """A load balancer's addresses are addresses, and only load balancers have them."""
    spec = f.spec_of(service)
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    where = "status.loadBalancer.ingress"
    if ingress and spec.get("type") != "LoadBalancer":
        report.forbidden(where, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    for i, entry in enumerate(ingress):
        if entry.get("ip"):
            report.format(f"{where}[{i}].ip", entry["ip"], formats.ip)
        if entry.get("ipMode"):
            report.one_of(f"{where}[{i}].ipMode", entry["ipMode"], ("Proxy", "VIP"))
            if not entry.get("ip"):
                report.forbidden(f"{where}[{i}].ipMode", "may not be specified when `ip` is not set")
        if entry.get("hostname"):
            report.format(f"{where}[{i}].hostname", entry["hostname"], formats.dns_subdomain)
