"""Services: defaults, what an update keeps and drops, and the printed row.

The problem: a Service's type decides which fields count. A change of type must drop what no longer applies unless
the user set it (then validation refuses it), and an update that leaves allocated values out must keep them
(kubernetes registry/core/service/strategy.go; SVC-02).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from podloom.kube.api.contract import Cause, Context, Object, Write
from podloom.kube.api.kinds import service_alloc, service_check
from podloom.kube.api.kinds import service_fields as f
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import NONE, label_map, text

_PENDING = "<pending>"


def _cluster_ip(service: Object, _: str) -> str:
    return f.spec_of(service).get("clusterIP") or NONE


def _ingress(service: Object) -> list[str]:
    found = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [entry.get("ip") or entry.get("hostname") or "" for entry in found]


def _external_ip(service: Object, _: str) -> str:
    spec = f.spec_of(service)
    kind, external = spec.get("type"), list(spec.get("externalIPs") or [])
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    if kind == "LoadBalancer":
        return f.joined(_ingress(service) + external) or _PENDING
    return f.joined(external) or NONE


def _ports(service: Object, _: str) -> str:
    shown = []
    for port in f.spec_of(service).get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port', 0)}{node}/{port.get('protocol', 'TCP')}")
    return f.joined(shown) or NONE


class ServiceKind(BuiltIn):
    """Addresses are allocated last in validation, once everything else is known to be right."""

    has_status = True
    name_rule = "label"
    returns_deleted = True
    create_on_update = True
    field_labels = ("spec.clusterIP", "spec.type")
    unknown_field_label = "field label not supported: {label}"
    printed = (
        (text("Type", "servicespec-v1.type"), lambda o, _: f.spec_of(o).get("type", "")),
        (text("Cluster-IP", "servicespec-v1.clusterIP"), _cluster_ip),
        (text("External-IP", "servicespec-v1.externalIPs"), _external_ip),
        (text("Port(s)", "servicespec-v1.ports"), _ports),
        (text("Selector", "servicespec-v1.selector", 1), lambda o, _: label_map(f.spec_of(o).get("selector"))),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        spec["type"] = spec.get("type") or "ClusterIP"
        _default_affinity(spec)
        for port in spec.get("ports") or []:
            port["protocol"] = port.get("protocol") or "TCP"
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        if f.externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if f.needs_cluster_ip(spec) and spec.get("internalTrafficPolicy") is None:
            spec["internalTrafficPolicy"] = "Cluster"
        if spec["type"] == "LoadBalancer":
            if spec.get("allocateLoadBalancerNodePorts") is None:
                spec["allocateLoadBalancerNodePorts"] = True
            for entry in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
                if entry.get("ip") and not entry.get("ipMode"):
                    entry["ipMode"] = "VIP"

    def create(self, obj: Object, ctx: Context) -> None:
        obj["status"] = {"loadBalancer": {}}
        spec = obj["spec"]
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "status":
            return
        spec, before = obj["spec"], f.spec_of(old)
        _keep_allocated(spec, before)
        _sync_cluster_ips(spec, before)
        _drop_unneeded(spec, before)
        _trim_downgrade(spec, before)
        if spec["type"] != "LoadBalancer":
            obj["status"] = {**(obj.get("status") or {}), "loadBalancer": {}}

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        service_check.check(report, obj["spec"])

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        service_check.check_change(report, obj["spec"], f.spec_of(old))

    def check_status(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        service_check.check_status(report, obj)

    def validate_create(self, obj: Object, ctx: Context) -> list[Cause]:
        causes = super().validate_create(obj, ctx)
        if not causes:
            service_check.warn(obj["spec"], None, ctx)
        return causes or service_alloc.allocate(obj, None, ctx)

    def validate_update(self, obj: Object, old: Object, ctx: Context) -> list[Cause]:
        causes = super().validate_update(obj, old, ctx)
        if causes or ctx.subresource == "status":
            return causes
        service_check.warn(obj["spec"], f.spec_of(old), ctx)
        return service_alloc.allocate(obj, f.spec_of(old), ctx)

    def after_store(self, obj: Object, old: Object | None, ctx: Context) -> Sequence[Write]:
        return service_alloc.address_writes(obj, old, ctx.now)

    def after_delete(self, obj: Object, ctx: Context) -> Sequence[Write]:
        return service_alloc.address_writes(None, obj, ctx.now)

    def field_values(self, obj: Object) -> dict[str, str]:
        spec = f.spec_of(obj)
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}


def _default_affinity(spec: Object) -> None:
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = ((spec.get("sessionAffinityConfig") or {}).get("clientIP")) or {}
        if client.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}


def _keep_allocated(spec: Object, old: Object) -> None:
    """Allocated values an update leaves out are those it had."""
    if f.needs_cluster_ip(old) and f.needs_cluster_ip(spec):
        if not spec.get("clusterIP") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP") and old.get("clusterIPs"):
            spec["clusterIPs"] = list(old["clusterIPs"])
    if f.needs_node_port(old) and f.needs_node_port(spec):
        used = set(f.node_ports(old)) & set(f.node_ports(spec))
        known = {port.get("name", ""): port.get("nodePort") for port in old.get("ports") or []}
        for port in spec.get("ports") or []:
            value = known.get(port.get("name", ""))
            if not port.get("nodePort") and value and value not in used:
                port["nodePort"] = value
                used.add(value)
    if f.needs_health_check(old) and f.needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort", 0)


def _sync_cluster_ips(spec: Object, old: Object) -> None:
    """clusterIP and clusterIPs[0] are one value; who changes the first changes the second."""
    now, before = spec.get("clusterIP"), old.get("clusterIP")
    if not f.same(spec, old, "clusterIPs") or now == before:
        return
    if not now:
        spec.pop("clusterIPs", None)
    elif not before:
        spec["clusterIPs"] = [now]
    else:
        spec["clusterIPs"] = [now, *spec["clusterIPs"][1:]]


def _drop_unneeded(spec: Object, old: Object) -> None:
    """Values that the new type does not have and the update did not touch."""
    if f.needs_cluster_ip(old) and not f.needs_cluster_ip(spec):
        if f.same(spec, old, "clusterIP", "clusterIPs"):
            f.drop(spec, "clusterIP", "clusterIPs")
        for field in ("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if f.same(spec, old, field):
                f.drop(spec, field)
    if f.needs_node_port(old) and not f.needs_node_port(spec) and f.node_ports(spec) == f.node_ports(old):
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
    if f.needs_health_check(old) and not f.needs_health_check(spec) and f.same(spec, old, "healthCheckNodePort"):
        f.drop(spec, "healthCheckNodePort")
    if (
        f.externally_accessible(old)
        and not f.externally_accessible(spec)
        and f.same(spec, old, "externalTrafficPolicy")
    ):
        f.drop(spec, "externalTrafficPolicy")
    if old.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) == old.get(field):
                f.drop(spec, field)


def _trim_downgrade(spec: Object, old: Object) -> None:
    """A change of policy to SingleStack alone gives up the second address and family."""
    if old.get("ipFamilyPolicy", "SingleStack") == "SingleStack" or spec.get("ipFamilyPolicy") != "SingleStack":
        return
    for field in ("clusterIPs", "ipFamilies"):
        if len(spec.get(field) or []) > 1 and f.same(spec, old, field):
            spec[field] = deepcopy(spec[field][:1])
