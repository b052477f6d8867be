"""Ingresses, their classes, and the service ranges as objects."""

from __future__ import annotations

from typing import Any, ClassVar

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import NONE, age, text

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def _spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def _hosts(obj: Object, _: str) -> str:
    hosts = [rule["host"] for rule in _spec(obj).get("rules") or [] if rule.get("host")]
    if not hosts:
        return "*"
    return ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")


def _address(obj: Object, _: str) -> str:
    entries = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return ",".join(entry.get("ip") or entry.get("hostname") or "" for entry in entries)


_CLASS_NOTE = "kubernetes.io/ingress.class"
_IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


class IngressKind(BuiltIn):
    """A new ingress that names no class gets the default one (admission DefaultIngressClass)."""

    has_status = True
    generation = True
    initial_status: ClassVar[Object | None] = {"loadBalancer": {}}
    printed = (
        (
            text("Class", "ingressspec-networking-v1.ingressClassName"),
            lambda o, _: _spec(o).get("ingressClassName") or NONE,
        ),
        (text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"), _hosts),
        (text("Address", "Address is a list containing ingress points for the load-balancer"), _address),
        (
            text("Ports", "Ports of TLS configurations that open"),
            lambda o, _: "80, 443" if _spec(o).get("tls") else "80",
        ),
    )

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None:
        spec, notes = _spec(obj), obj["metadata"].get("annotations") or {}
        if ctx.verb != "create" or ctx.subresource or spec.get("ingressClassName") or _CLASS_NOTE in notes:
            return
        for known in ctx.reader.list("networking.k8s.io", "ingressclasses"):
            if (known["metadata"].get("annotations") or {}).get(_IS_DEFAULT) == "true":
                spec["ingressClassName"] = known["metadata"]["name"]

    def default(self, obj: Object, ctx: Context) -> None:
        obj["spec"] = obj.get("spec") or {}

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        if not spec.get("rules") and not spec.get("defaultBackend"):
            report.invalid("spec", spec.get("rules") or [], "either `defaultBackend` or `rules` must be specified")
        if spec.get("defaultBackend"):
            _check_backend(report, "spec.defaultBackend", spec["defaultBackend"])
        for i, rule in enumerate(spec.get("rules") or []):
            where, host = f"spec.rules[{i}]", rule.get("host", "")
            if host:
                report.format(f"{where}.host", host.removeprefix("*."), formats.dns_subdomain)
            paths = (rule.get("http") or {}).get("paths")
            if rule.get("http") is not None and not paths:
                report.required(f"{where}.http.paths")
            for j, path in enumerate(paths or []):
                _check_path(report, f"{where}.http.paths[{j}]", path)


def _check_path(report: Report, where: str, path: Object) -> None:
    kind = path.get("pathType")
    if not kind:
        report.required(f"{where}.pathType", "pathType must be specified")
    elif kind not in _PATH_TYPES:
        report.unsupported(f"{where}.pathType", kind, _PATH_TYPES)
    elif kind != "ImplementationSpecific" and not path.get("path", "").startswith("/"):
        report.invalid(f"{where}.path", path.get("path", ""), "must be an absolute path")
    _check_backend(report, f"{where}.backend", path.get("backend") or {})


def _check_backend(report: Report, where: str, backend: Object) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service and resource:
        report.invalid(where, "", "cannot set both resource and service backends")
    elif not service and not resource:
        report.required(where, "resource or service backend is required")
    elif service:
        if not service.get("name"):
            report.required(f"{where}.service.name")
        port = service.get("port") or {}
        if not port.get("name") and not port.get("number"):
            report.required(f"{where}.service.port", "port name or number is required")
        if port.get("number"):
            report.format(f"{where}.service.port.number", port["number"], formats.port_number)


def _parameters(obj: Object, _: str) -> str:
    found = _spec(obj).get("parameters")
    if not found:
        return NONE
    kind = found.get("kind", "") + (f".{found['apiGroup']}" if found.get("apiGroup") else "")
    return f"{kind}/{found.get('name', '')}"


class IngressClassKind(BuiltIn):
    """Which controller serves ingresses of a class."""

    generation = True
    printed = (
        (
            text("Controller", "Controller that is responsible for handling this class"),
            lambda o, _: _spec(o).get("controller", ""),
        ),
        (text("Parameters", "A reference to a resource with additional parameters"), _parameters),
    )

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        report.immutable("spec.controller", _spec(obj).get("controller"), _spec(old).get("controller"))


class ServiceCIDRKind(BuiltIn):
    """The ranges services get addresses from, as objects; the server's settings decide."""

    has_status = True
    printed = (
        (text("CIDRs", "servicecidrspec-networking-v1.cidrs"), lambda o, _: ",".join(_spec(o).get("cidrs") or [])),
    )

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        cidrs = _spec(obj).get("cidrs") or []
        if not cidrs:
            report.required("spec.cidrs", "at least one CIDR required")
        if len(cidrs) > 2:
            report.invalid("spec", _spec(obj), "may only hold up to 2 values")
        for i, cidr in enumerate(cidrs):
            report.format(f"spec.cidrs[{i}]", cidr, formats.cidr)

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        if _spec(obj).get("cidrs") != _spec(old).get("cidrs"):
            report.invalid("spec.cidrs[0]", (_spec(obj).get("cidrs") or [""])[0], "field is immutable")


class IPAddressKind(BuiltIn):
    """The address of a Service, as an object; written with the Service."""

    name_rule = "custom"
    shows_age = False
    printed = ((text("ParentRef", "ipaddressspec-networking-v1.parentRef"), lambda o, _: parent(o)),)

    def cells(self, obj: Object, now: str) -> list[Any]:
        """The real server prints an age without a column for it."""
        return [*super().cells(obj, now), age(obj["metadata"].get("creationTimestamp"), now)]

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        name = obj["metadata"].get("name", "")
        address = formats.parse_ip(name)
        if address is None or str(address) != name:
            report.invalid("metadata.name", name, "must be a valid IP address in canonical form")
        ref = _spec(obj).get("parentRef")
        if not ref:
            report.required("spec.parentRef")
            return
        for field in ("resource", "name"):
            if not ref.get(field):
                report.required(f"spec.parentRef.{field}")

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        if _spec(obj).get("parentRef") != _spec(old).get("parentRef"):
            report.invalid("spec.parentRef", _spec(obj).get("parentRef"), "field is immutable")


def parent(obj: Object) -> str:
    """resource[.group]/namespace/name of the object an address belongs to."""
    ref = _spec(obj).get("parentRef") or {}
    group = f".{ref['group']}" if ref.get("group") else ""
    names = "/".join(part for part in (ref.get("namespace"), ref.get("name")) if part)
    return f"{ref.get('resource', '')}{group}/{names}"
