"""ClusterIP services: from Services and EndpointSlices to frontends with backends (SVC-02).

The problem: what a client may reach behind a service address follows from several objects (ports by name, readiness,
terminating fallback, locality), and the packet path must cost the same with one service or ten thousand. This module
reduces the objects to `Frontend`s and those to elements of nftables maps that never need a rule of their own
(`plan.nodetable` holds the few rules): address, protocol and port choose how many backends there are, a
random index chooses one. A client-affine service spreads its backends over a fixed number of slots by rendezvous
hashing, and the client's address hashes to a slot: the same client stays with its backend without any state, and when a
backend comes or goes only the clients of that backend move.

A service address without backends, or a port it does not have, is in no frontend; the table refuses it at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from podloom.model.cni import IPAddress
from podloom.model.nnc import Network

SLOTS = 251
PICKS_MIN = 16
SERVICE_LABEL = "kubernetes.io/service-name"
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}

Backend = tuple[IPAddress, int]


@dataclass(frozen=True)
class Frontend:
    """One address, IP protocol number and port of a service; backends sorted; `sticky`: by client address."""

    address: IPAddress
    protocol: int
    port: int
    backends: tuple[Backend, ...]
    sticky: bool = False
    service: str = ""


@dataclass(frozen=True)
class ServiceView:
    """What the node serves: frontends with backends, and every service address."""

    frontends: tuple[Frontend, ...] = ()
    addresses: tuple[IPAddress, ...] = ()

    def picks(self) -> int:
        """How many pick chains there must be: a power of two, so that it seldom changes."""
        return pick_chains(max((len(f.backends) for f in self.frontends if not f.sticky), default=0))


def pick_chains(most: int) -> int:
    """How many pick chains a table has when the largest frontend has `most` backends."""
    return max(PICKS_MIN, 1 << (most - 1).bit_length()) if most else PICKS_MIN


def view_services(services: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]], node: str) -> ServiceView:
    """The frontends of every ClusterIP of `services` with the backends of their EndpointSlices, as seen on `node`."""
    by_service: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in slices:
        meta = item["metadata"]
        name = (meta.get("labels") or {}).get(SERVICE_LABEL)
        if name:
            by_service.setdefault((meta.get("namespace", ""), name), []).append(item)
    frontends: list[Frontend] = []
    addresses: set[IPAddress] = set()
    for service in services:
        key = (service["metadata"].get("namespace", ""), service["metadata"]["name"])
        for address in cluster_addresses(service):
            addresses.add(address)
            frontends += _frontends(service, address, by_service.get(key, ()), node)
    ordered = sorted(frontends, key=lambda f: (f.address.version, int(f.address), f.protocol, f.port))
    return ServiceView(tuple(ordered), tuple(sorted(addresses, key=lambda a: (a.version, int(a)))))


def cluster_addresses(service: Mapping[str, Any]) -> tuple[IPAddress, ...]:
    """The service's cluster addresses; none for headless and ExternalName services."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return ()
    texts = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return tuple(ip_address(text) for text in texts if text and text != "None")


def slots(frontend: Frontend) -> tuple[Backend, ...]:
    """The backend of each of SLOTS slots by rendezvous hashing: stable when other backends come or go."""
    names = [(f"{address}.{port}".encode(), (address, port)) for address, port in frontend.backends]
    return tuple(max(names, key=lambda item: _weight(item[0], slot))[1] for slot in range(SLOTS))


def frontend_elements(frontend: Frontend) -> tuple[tuple[str, str], tuple[tuple[str, str], ...]]:
    """The verdict-map element of a frontend, and its backend-map elements, as nft prints them (element, data)."""
    key = f"{frontend.address} . {frontend.protocol} . {frontend.port}"
    suffix = "" if frontend.address.version == 4 else "_6"
    if frontend.sticky:
        verdict, chosen = f"goto sticky{suffix}", slots(frontend)
    else:
        verdict, chosen = f"goto pick_{len(frontend.backends)}{suffix}", frontend.backends
    backends = tuple((f"{key} . {index}", f"{address} . {port}") for index, (address, port) in enumerate(chosen))
    return (key, verdict), backends


def local_backends(frontends: Iterable[Frontend], ranges: Sequence[Network]) -> tuple[IPAddress, ...]:
    """Backends among this node's own pods: those that may meet their own traffic again (hairpin)."""
    found = {address for f in frontends for address, _ in f.backends if any(address in r for r in ranges)}
    return tuple(sorted(found, key=lambda a: (a.version, int(a))))


def _frontends(
    service: Mapping[str, Any], address: IPAddress, slices: Iterable[Mapping[str, Any]], node: str
) -> list[Frontend]:
    spec = service["spec"]
    meta = service["metadata"]
    family = f"IPv{address.version}"
    same_family = [item for item in slices if item.get("addressType", "IPv4") == family]
    only_node = node if spec.get("internalTrafficPolicy") == "Local" else ""
    found = []
    for port in spec.get("ports") or ():
        backends = _backends(same_family, port, only_node)
        if backends:
            found.append(
                Frontend(
                    address,
                    _PROTOCOLS[port.get("protocol", "TCP")],
                    port["port"],
                    backends,
                    spec.get("sessionAffinity") == "ClientIP",
                    f"{meta.get('namespace', '')}/{meta['name']}:{port.get('name', '')}",
                )
            )
    return found


def _backends(slices: Iterable[Mapping[str, Any]], port: Mapping[str, Any], only_node: str) -> tuple[Backend, ...]:
    """Ready endpoints; when there is none, those that terminate but still serve (KEP-1669)."""
    ready: set[Backend] = set()
    fallback: set[Backend] = set()
    for item in slices:
        number = _port_number(item, port)
        if not number:
            continue
        for endpoint in item.get("endpoints") or ():
            if only_node and endpoint.get("nodeName") != only_node:
                continue
            conditions = endpoint.get("conditions") or {}
            backend = (ip_address(endpoint["addresses"][0]), number)
            if conditions.get("ready") is not False:
                ready.add(backend)
            elif conditions.get("serving") and conditions.get("terminating"):
                fallback.add(backend)
    return tuple(sorted(ready or fallback, key=lambda b: (int(b[0]), b[1])))


def _port_number(item: Mapping[str, Any], port: Mapping[str, Any]) -> int:
    wanted = (port.get("name") or "", port.get("protocol", "TCP"))
    for candidate in item.get("ports") or ():
        if (candidate.get("name") or "", candidate.get("protocol") or "TCP") == wanted:
            return int(candidate.get("port") or 0)
    return 0


def _weight(name: bytes, slot: int) -> bytes:
    return hashlib.blake2b(name + slot.to_bytes(2), digest_size=8).digest()
