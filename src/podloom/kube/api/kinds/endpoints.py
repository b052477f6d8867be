"""Endpoints and EndpointSlices: where a Service's traffic goes."""

from __future__ import annotations

from typing import Any

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn, count_generation
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import NONE, UNSET, text

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILY = {"IPv4": 4, "IPv6": 6}
_SHOWN = 3


def _more(items: list[str], total: int) -> str:
    shown = ",".join(items[:_SHOWN])
    return f"{shown} + {total - _SHOWN} more..." if total > _SHOWN else shown


def _endpoints(obj: Object, _: str) -> str:
    found: list[str] = []
    for subset in obj.get("subsets") or []:
        addresses = [a.get("ip", "") for a in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        if not ports:
            found += addresses
        for port in ports:
            number = port.get("port", 0)
            found += [f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}" for ip in addresses]
    return _more(found, len(found)) if obj.get("subsets") else NONE


class EndpointsKind(BuiltIn):
    """The addresses behind a Service, all in one object."""

    create_on_update = True
    printed = ((text("Endpoints", "endpoints-v1.subsets"), _endpoints),)

    def default(self, obj: Object, ctx: Context) -> None:
        for subset in obj.get("subsets") or []:
            for port in subset.get("ports") or []:
                port["protocol"] = port.get("protocol") or "TCP"

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        for i, subset in enumerate(obj.get("subsets") or []):
            where = f"subsets[{i}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                report.required(where, "must specify `addresses` or `notReadyAddresses`")
            for field in ("addresses", "notReadyAddresses"):
                for j, address in enumerate(subset.get(field) or []):
                    self._check_address(report, f"{where}.{field}[{j}]", address)
            ports = subset.get("ports") or []
            for j, port in enumerate(ports):
                self._check_port(report, f"{where}.ports[{j}]", port, named=len(ports) > 1)

    def _check_address(self, report: Report, where: str, address: Object) -> None:
        if report.format(f"{where}.ip", address.get("ip", ""), formats.ip):
            report.format(f"{where}.ip", address["ip"], formats.non_special_ip)
        if address.get("hostname"):
            report.format(f"{where}.hostname", address["hostname"], formats.dns_label)
        if address.get("nodeName"):
            report.format(f"{where}.nodeName", address["nodeName"], formats.dns_subdomain)

    def _check_port(self, report: Report, where: str, port: Object, *, named: bool) -> None:
        if port.get("name"):
            report.format(f"{where}.name", port["name"], formats.dns_label)
        elif named:
            report.required(f"{where}.name")
        report.format(f"{where}.port", port.get("port", 0), formats.port_number)
        report.one_of(f"{where}.protocol", port.get("protocol", ""), _PROTOCOLS)


def _slice_ports(obj: Object, _: str) -> str:
    ports = obj.get("ports") or []
    shown = []
    for port in ports:
        number, name = port.get("port"), port.get("name")
        shown.append(str(number) if number is not None else name or "*")
    return _more(shown, len(shown)) if shown else UNSET


def _slice_endpoints(obj: Object, _: str) -> str:
    found = [ip for endpoint in obj.get("endpoints") or [] for ip in endpoint.get("addresses") or []]
    return _more(found, len(found)) if found else UNSET


class EndpointSliceKind(BuiltIn):
    """Some of the addresses behind a Service, of one family."""

    printed = (
        (text("AddressType", "endpointslice-discovery-v1.addressType"), lambda o, _: o.get("addressType", "")),
        (text("Ports", "endpointslice-discovery-v1.ports"), _slice_ports),
        (text("Endpoints", "endpointslice-discovery-v1.endpoints"), _slice_endpoints),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        for port in obj.get("ports") or []:
            if port.get("name") is None:
                port["name"] = ""
            if port.get("protocol") is None:
                port["protocol"] = "TCP"
        for endpoint in obj.get("endpoints") or []:
            endpoint["conditions"] = endpoint.get("conditions") or {}

    def create(self, obj: Object, ctx: Context) -> None:
        _without_empty(obj)
        obj["metadata"]["generation"] = 1

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        """Labels count as content here: consumers find slices by them."""
        _without_empty(obj)
        count_generation(_content(obj), _content(old))

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        kind = obj.get("addressType", "")
        report.one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"))
        names: set[str] = set()
        for i, port in enumerate(obj.get("ports") or []):
            self._check_port(report, f"ports[{i}]", port, names)
        endpoints = obj.get("endpoints") or []
        if len(endpoints) > 1000:
            report.too_many("endpoints", len(endpoints), 1000)
        for i, endpoint in enumerate(endpoints):
            self._check_endpoint(report, f"endpoints[{i}]", endpoint, kind)

    def _check_port(self, report: Report, where: str, port: Object, names: set[str]) -> None:
        name = port.get("name", "")
        if name:
            report.format(f"{where}.name", name, formats.dns_label)
        if name in names:
            report.duplicate(f"{where}.name", name)
        names.add(name)
        report.one_of(f"{where}.protocol", port.get("protocol", ""), _PROTOCOLS)
        if port.get("appProtocol"):
            report.format(f"{where}.appProtocol", port["appProtocol"], formats.qualified_name)

    def _check_endpoint(self, report: Report, where: str, endpoint: Object, kind: str) -> None:
        addresses = endpoint.get("addresses") or []
        if not addresses:
            report.required(f"{where}.addresses", "must contain at least 1 address")
        elif len(addresses) > 100:
            report.too_many(f"{where}.addresses", len(addresses), 100)
        for j, address in enumerate(addresses):
            self._check_address(report, f"{where}.addresses", j, address, kind)
        if endpoint.get("nodeName"):
            report.format(f"{where}.nodeName", endpoint["nodeName"], formats.dns_subdomain)
        if endpoint.get("hostname"):
            report.format(f"{where}.hostname", endpoint["hostname"], formats.dns_label)

    def _check_address(self, report: Report, where: str, index: int, address: str, kind: str) -> None:
        if kind == "FQDN":
            report.format(f"{where}[{index}]", address, formats.dns_subdomain)
        elif report.format(f"{where}[{index}]", address, formats.ip):
            parsed = formats.parse_ip(address)
            if parsed is not None and kind in _FAMILY and parsed.version != _FAMILY[kind]:
                report.invalid(where, address, f"must be an {kind} address")
            else:
                report.format(f"{where}[{index}]", address, formats.non_special_ip)

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        report.immutable("addressType", obj.get("addressType", ""), old.get("addressType", ""))


def _without_empty(obj: Object) -> None:
    """Empty lists are kept as none, so that two empty slices are equal."""
    for field in ("endpoints", "ports"):
        if not obj.get(field):
            obj[field] = None


def _content(obj: Object) -> dict[str, Any]:
    return {**obj, "labels": obj["metadata"].get("labels") or {}}
