"""Who must reach whom in a cluster, and whom the other side must see.

The problem: "the network works" is many facts: pods without NAT (PLAN-13), a pod at its own node untranslated and
everywhere outside the pod CIDR as its node (OVL-05), nobody from outside at a pod (OVL-06), names, services, full
packets. Each fact is a probe with an expectation; probes of one source and one kind of destination make a cell.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

POD_HTTP, POD_ECHO = 8080, 7
NODE_HTTP, NODE_ECHO = 19080, 19007
INTERNET_HTTP = 80
OUTSIDE_HTTP = 8080
FULL_PAYLOAD = 1472  # 1500 - 20 (IPv4) - 8 (UDP)

COLUMNS = (
    "pod, same node",
    "pod, other node",
    "own node",
    "other node",
    "VNet",
    "internet",
    "service",
    "DNS",
    "full packet",
)


@dataclass(frozen=True)
class Endpoint:
    """A place probes start from or arrive at: a pod, a node (hostNetwork pod), or a host outside."""

    name: str
    kind: str  # pod | node | vnet | internet
    address: str
    node: str = ""
    http_port: int = POD_HTTP
    echo_port: int = POD_ECHO


@dataclass(frozen=True)
class World:
    """All endpoints of one run and what they need to know."""

    endpoints: tuple[Endpoint, ...]
    service_address: str
    service_name: str
    outside_name: str = ""  # a name that resolves outside the cluster, with its address
    outside_address: str = ""
    public_prefixes: tuple[str, ...] = ()  # what the internet may see the cluster as; empty: not checked


@dataclass(frozen=True)
class Probe:
    """One connection and what must come of it. `seen` is the client's address at the other side."""

    source: str
    column: str
    target: str  # as tools/probe.c reads it
    to: str
    reachable: bool = True
    seen: tuple[str, ...] = ()  # addresses or prefixes; empty: any


@dataclass(frozen=True)
class Outcome:
    """What came of a probe; `problem` is empty when it is as expected."""

    probe: Probe
    ok: bool
    seen: str
    error: str
    us: int
    problem: str = ""


@dataclass
class Cell:
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return all(not outcome.problem for outcome in self.outcomes)


def plan_probes(world: World) -> list[Probe]:
    """Every probe of the matrix, grouped by source."""
    return [probe for source in world.endpoints for probe in _from(source, world)]


def _from(source: Endpoint, world: World) -> Iterable[Probe]:
    inside = source.kind in {"pod", "node"}
    for target in world.endpoints:
        if target == source or (column := _column(source, target)) is None:
            continue
        reachable = inside or _reachable_from_outside(source, target)
        seen = _seen(source, target, world) if reachable else ()
        yield Probe(source.name, column, f"http,{target.address},{target.http_port}", target.name, reachable, seen)
        if inside and target.kind == "pod":
            text = f"df,{target.address},{target.echo_port},{FULL_PAYLOAD}"
            yield Probe(source.name, "full packet", text, target.name)
    if inside:
        yield Probe(source.name, "service", f"http,{world.service_address},{POD_HTTP}", "service")
    if source.kind == "pod":
        yield from _names(source, world)


def _names(source: Endpoint, world: World) -> Iterable[Probe]:
    yield Probe(source.name, "DNS", f"dns,{world.service_name}", world.service_name, seen=(world.service_address,))
    if world.outside_name:
        seen = (world.outside_address,)
        yield Probe(source.name, "DNS", f"dns,{world.outside_name}", world.outside_name, seen=seen)


def _column(source: Endpoint, target: Endpoint) -> str | None:
    if target.kind == "pod":
        return "pod, same node" if source.node == target.node else "pod, other node"
    if target.kind == "node":
        if source.kind == "node" and source.node == target.node:
            return None
        return "own node" if source.node == target.node else "other node"
    return {"vnet": "VNet", "internet": "internet"}.get(target.kind)


def _reachable_from_outside(source: Endpoint, target: Endpoint) -> bool:
    """From the VNet: nodes, never pods (OVL-06). From the internet: neither has an address there."""
    return source.kind == "vnet" and target.kind != "pod"


def _seen(source: Endpoint, target: Endpoint, world: World) -> tuple[str, ...]:
    """The address the target must see (OVL-05, PLAN-13)."""
    if target.kind == "internet":
        return world.public_prefixes
    if source.kind == "pod" and not (target.kind == "pod" or target.node == source.node):
        return (next(e.address for e in world.endpoints if e.kind == "node" and e.node == source.node),)
    return (source.address,)


def judge(probe: Probe, answer: Mapping[str, Any]) -> Outcome:
    """Compare an answer of `probe` (tools/probe.c) with what was expected."""
    ok, error = bool(answer["ok"]), str(answer["error"])
    seen = str(answer.get("client") or answer.get("address") or "")
    problem = ""
    if ok and not probe.reachable:
        problem = f"reached, and must not be (the other side saw {seen})"
    elif not ok and probe.reachable:
        problem = f"not reached: {error}"
    elif ok and probe.seen and not _matches(seen, probe.seen):
        problem = f"saw {seen or 'nothing'} instead of {' or '.join(probe.seen)}"
    return Outcome(probe, ok, seen, error, int(answer["us"]), problem)


def _matches(seen: str, wanted: Sequence[str]) -> bool:
    try:
        address = ipaddress.ip_address(seen)
    except ValueError:
        return False
    networks = (ipaddress.ip_network(text) for text in wanted)
    return any(address.version == network.version and address in network for network in networks)


def matrix(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Cell]]:
    """Rows by source, cells by column."""
    rows: dict[str, dict[str, Cell]] = {}
    for outcome in outcomes:
        row = rows.setdefault(outcome.probe.source, {})
        row.setdefault(outcome.probe.column, Cell()).outcomes.append(outcome)
    return rows


def table(rows: Mapping[str, Mapping[str, Cell]]) -> list[dict[str, str]]:
    """The matrix as rows for a printer: ok, FAIL, or - where there is nothing to probe."""
    printed = []
    for source in sorted(rows):
        cells = {c: "-" if c not in rows[source] else _word(rows[source][c]) for c in COLUMNS}
        printed.append({"from": source, **cells})
    return printed


def _word(cell: Cell) -> str:
    if not cell.good:
        return "FAIL"
    return "ok" if any(outcome.probe.reachable for outcome in cell.outcomes) else "ok (refused)"
