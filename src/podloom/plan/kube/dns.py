"""What the cluster DNS answers: names of Services, endpoints and pods to records.

The problem: resolvers with search lists ask for many names that do not exist; each wrong NXDOMAIN or missing
negative answer breaks or delays a client. So every name under the cluster domain is decided here, with its SOA;
everything else is said to belong to the upstream. Pure: `Source` is the view of Services and slices.

Source: the Kubernetes "DNS-Based Service Discovery" specification 1.1.0, and CoreDNS's answers where it is silent
(dashed addresses as endpoint names; pod names answered from the name alone).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from podloom.model.kube import Object

VERSION = "1.1.0"
TTL_S = 5
MOST_ANSWERS = 500


@dataclass(frozen=True)
class Record:
    """One resource record: `value` is an address, a name (no final dot), text, or an SRV tuple."""

    name: str
    type: str  # A, AAAA, CNAME, PTR, SRV, TXT, NS
    value: str | tuple[int, int, int, str]


@dataclass
class Answer:
    """`exists` False is NXDOMAIN; no records with exists is NODATA; `ours` False is for the upstream.

    `chase` is a name outside whose records of the asked type belong to the answer (ExternalName).
    """

    ours: bool = True
    exists: bool = True
    records: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    chase: str = ""


class Source(Protocol):
    """What the cluster has, as the server's copies show it."""

    def service(self, namespace: str, name: str) -> Object | None: ...
    def slices(self, namespace: str, name: str) -> list[Object]: ...
    def has_namespace(self, name: str) -> bool: ...
    def services_at(self, ip: str) -> list[Object]: ...
    def slices_at(self, ip: str) -> list[Object]: ...


NOT_OURS = Answer(ours=False)


def answer(name: str, kind: str, domain: str, source: Source) -> Answer:
    """The answer to a question; `name` without the final dot, `kind` a type name such as A."""
    asked = name.lower()
    if asked.endswith((".in-addr.arpa", ".ip6.arpa")):
        return _reverse(name, kind, domain, source)
    if asked != domain and not asked.endswith("." + domain):
        return NOT_OURS
    labels = asked[: -len(domain) - 1].split(".") if asked != domain else []
    if not labels:
        return Answer(records=[Record(name, "NS", f"ns.dns.{domain}")] if kind == "NS" else [])
    if labels == ["dns-version"]:
        return Answer(records=[Record(name, "TXT", VERSION)] if kind == "TXT" else [])
    if labels[-1] == "svc":
        return _under_svc(name, kind, labels[:-1], _Zone(domain, source))
    if labels[-1] == "pod":
        return _under_pod(name, kind, labels[:-1], source)
    if labels in (["ns", "dns"], ["dns"]):
        return Answer()
    return Answer(exists=False)


@dataclass(frozen=True)
class _Zone:
    domain: str
    source: Source

    def service_name(self, service: Object) -> str:
        meta = service["metadata"]
        return f"{meta['name']}.{meta['namespace']}.svc.{self.domain}"


def _under_pod(name: str, kind: str, labels: list[str], source: Source) -> Answer:
    """`1-2-3-4.ns.pod`: the address spelled in the name, if the namespace exists."""
    if not labels:
        return Answer()
    if not source.has_namespace(labels[-1]) or len(labels) > 2:
        return Answer(exists=False)
    if len(labels) == 1:
        return Answer()
    address = _dashed(labels[0])
    if address is None:
        return Answer(exists=False)
    wanted = "AAAA" if ":" in address else "A"
    return Answer(records=[Record(name, wanted, address)] if kind == wanted else [])


def _dashed(label: str) -> str | None:
    """The address of a dashed label: 10-1-2-3 or fd00--1."""
    for text in (label.replace("-", "."), label.replace("-", ":")):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return None


def endpoint_label(endpoint: Object) -> str:
    """The endpoint's own label under its Service: its hostname, else its dashed address."""
    return str(endpoint.get("hostname") or endpoint["addresses"][0].replace(".", "-").replace(":", "-"))


def _under_svc(name: str, kind: str, labels: list[str], zone: _Zone) -> Answer:
    if not labels:
        return Answer()
    namespace, rest = labels[-1], labels[:-1]
    if not rest:
        return Answer(exists=zone.source.has_namespace(namespace))
    service = zone.source.service(namespace, rest[-1])
    if service is None:
        return Answer(exists=False)
    if service["spec"].get("type") == "ExternalName":
        return _external(name, kind, service) if len(rest) == 1 else Answer(exists=False)
    if len(rest) == 1:
        return _service(name, kind, service, zone)
    if len(rest) == 3 and rest[0].startswith("_") and rest[1].startswith("_"):
        return _port(name, kind, service, (rest[0][1:], rest[1][1:]), zone)
    if len(rest) == 2 and rest[0] in ("_tcp", "_udp", "_sctp"):
        return Answer()
    if len(rest) == 2 and _is_headless(service):
        return _endpoint(name, kind, service, rest[0], zone)
    return Answer(exists=False)


def _is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def _external(name: str, kind: str, service: Object) -> Answer:
    target = str(service["spec"].get("externalName", "")).rstrip(".")
    chase = target if kind in ("A", "AAAA") else ""
    return Answer(records=[Record(name, "CNAME", target)] if kind in ("A", "AAAA", "CNAME") else [], chase=chase)


def _address_records(name: str, kind: str, addresses: Iterable[str]) -> list[Record]:
    if kind not in ("A", "AAAA"):
        return []
    seen = dict.fromkeys(a for a in addresses if (":" in a) == (kind == "AAAA"))
    return [Record(name, kind, address) for address in seen][:MOST_ANSWERS]


def _cluster_ips(service: Object) -> list[str]:
    spec = service["spec"]
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if ip and ip != "None"]


def _ready(slices: Iterable[Object]) -> list[tuple[Object, Object]]:
    """(endpoint, slice) of every endpoint that takes traffic; an absent ready condition means yes."""
    return [
        (endpoint, one)
        for one in slices
        for endpoint in one.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint["addresses"]
    ]


def _endpoints(service: Object, zone: _Zone) -> list[tuple[Object, Object]]:
    meta = service["metadata"]
    return _ready(zone.source.slices(meta["namespace"], meta["name"]))


def _service(name: str, kind: str, service: Object, zone: _Zone) -> Answer:
    if not _is_headless(service):
        if kind == "SRV":
            return _srv(name, service, ("", ""), zone)
        return Answer(records=_address_records(name, kind, _cluster_ips(service)))
    endpoints = _endpoints(service, zone)
    if not endpoints:  # a headless Service without endpoints has no name yet
        return Answer(exists=False)
    if kind == "SRV":
        return _srv(name, service, ("", ""), zone)
    return Answer(records=_address_records(name, kind, (a for e, _ in endpoints for a in e["addresses"])))


def _endpoint(name: str, kind: str, service: Object, label: str, zone: _Zone) -> Answer:
    found = [e for e, _ in _endpoints(service, zone) if endpoint_label(e).lower() == label]
    if not found:
        return Answer(exists=False)
    return Answer(records=_address_records(name, kind, (a for e in found for a in e["addresses"])))


def _port(name: str, kind: str, service: Object, wanted: tuple[str, str], zone: _Zone) -> Answer:
    found = _srv(name, service, wanted, zone)
    if not found.records:
        return Answer(exists=False)
    return found if kind == "SRV" else Answer()


def _srv(name: str, service: Object, wanted: tuple[str, str], zone: _Zone) -> Answer:
    """SRV of the ports of a (name, protocol), empty meaning all: to the Service, or each endpoint of a headless one."""
    targets: list[tuple[str, int, list[str]]] = []
    own = zone.service_name(service)
    if _is_headless(service):
        for endpoint, one in _endpoints(service, zone):
            target = f"{endpoint_label(endpoint)}.{own}"
            numbers = _port_numbers(one.get("ports") or (), wanted)
            targets += [(target, number, endpoint["addresses"]) for number in numbers]
    else:
        numbers = _port_numbers(service["spec"].get("ports") or (), wanted)
        targets = [(own, number, _cluster_ips(service)) for number in numbers]
    found, extra = Answer(), dict[Record, None]()
    weight = max(1, 100 // len(targets)) if targets else 0
    for target, number, addresses in dict.fromkeys((t, n, tuple(a)) for t, n, a in targets):
        found.records.append(Record(name, "SRV", (0, weight, number, target)))
        for address in addresses:
            extra[Record(target, "AAAA" if ":" in address else "A", address)] = None
    found.additional = list(extra)[:MOST_ANSWERS]
    return found


def _port_numbers(ports: Iterable[Object], wanted: tuple[str, str]) -> list[int]:
    name, protocol = wanted
    return [
        int(entry["port"])
        for entry in ports
        if entry.get("port")
        and (not name or (entry.get("name") or "").lower() == name)
        and (not protocol or (entry.get("protocol") or "TCP").lower() == protocol)
    ]


def _reverse(name: str, kind: str, domain: str, source: Source) -> Answer:
    """PTR of a Service's address or a named endpoint's; other addresses belong to the upstream."""
    address = _reversed_address(name.lower())
    if address is None:
        return NOT_OURS
    zone = _Zone(domain, source)
    names = [zone.service_name(service) for service in source.services_at(address)]
    for one in source.slices_at(address) if not names else ():
        service = _service_of(one, source)
        if service is None or not _is_headless(service):
            continue
        for endpoint in one.get("endpoints") or ():
            if address in endpoint["addresses"]:
                names.append(f"{endpoint_label(endpoint)}.{zone.service_name(service)}")
    if not names:
        return NOT_OURS
    unique = dict.fromkeys(names)
    return Answer(records=[Record(name, "PTR", target) for target in unique] if kind == "PTR" else [])


def _service_of(one: Object, source: Source) -> Object | None:
    meta = one["metadata"]
    return source.service(meta["namespace"], (meta.get("labels") or {}).get("kubernetes.io/service-name", ""))


def _reversed_address(name: str) -> str | None:
    try:
        if name.endswith(".in-addr.arpa"):
            octets = name.removesuffix(".in-addr.arpa").split(".")
            return str(ipaddress.IPv4Address(".".join(reversed(octets))))
        nibbles = name.removesuffix(".ip6.arpa").split(".")
        text = "".join(reversed(nibbles))
        if len(text) != 32:
            return None
        return str(ipaddress.IPv6Address(bytes.fromhex(text)))
    except ValueError:
        return None
