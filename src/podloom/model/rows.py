"""Desired rows: what the kernel should hold, as frozen values.

The problem: fabric and agent both turn a picture (cloud resources, leases) into kernel objects, must repair
what others broke, and must delete only what they made. So every kernel object is one row with the same four
parts: its kind, the key that names it in the kernel (first part: the network namespace), the value it should
have, and the owner on whose behalf it exists (a pod, a NIC, a VNet). Plans produce rows, the reconcile engine
compares them with the world, targets write them. Two rows with one (kind, key) are a mistake of the plan.

A namespace is named by its name under /run/netns, by an absolute path, or by "" for the process's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

from podloom.model.errors import Bug

FABRIC_PROTOCOL: Final = 80
"""Route, rule, neighbour and address protocol number of what the fabric makes (rtnetlink.h leaves 80 unassigned)."""
AGENT_PROTOCOL: Final = 81
"""The same for what the node agent makes."""


class Kind(Enum):
    """Kinds of rows, in the order in which they can be added; removal goes in reverse."""

    NETNS = 1
    LINK = 2
    ADDRESS = 3
    SYSCTL = 4
    ROUTE = 5
    RULE = 6
    NEIGHBOUR = 7
    NFT_TABLE = 8
    NFT_ELEMENT = 9

    def __repr__(self) -> str:
        return self.name.lower()

    __hash__ = object.__hash__


Key = tuple[str | int, ...]


class RowId(NamedTuple):
    """What names a row in the world."""

    kind: Kind
    key: Key


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair named at its near end; the peer is made in `peer_netns`. An empty MAC means any.

    `up`, of both ends, is False only in what was read. `queues` matter when the pair is made: each costs the kernel
    time (0.2 ms with one, 0.45 with two) and serves only XDP; 0 means one per CPU."""

    peer_netns: str
    peer_name: str
    mtu: int = 1500
    mac: str = ""
    peer_mac: str = ""
    group: int = 0
    up: bool = True
    queues: int = field(default=1, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AddressValue:
    """Scope of an address, and whether the kernel makes a route for its prefix."""

    scope: str = "global"
    prefix_route: bool = True


@dataclass(frozen=True, slots=True)
class RouteValue:
    """Where a route leads; `type` is unicast, blackhole, unreachable, prohibit or local; mtu 0: the device's."""

    dev: str = ""
    via: str = ""
    src: str = ""
    scope: str = "global"
    type: str = "unicast"
    onlink: bool = False
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class RuleValue:
    """What a policy rule does: look up a table, or refuse."""

    table: int = 0
    action: str = "table"


Value = Veth | AddressValue | RouteValue | RuleValue | str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel object that should exist."""

    kind: Kind
    key: Key
    value: Any
    owner: str = ""

    @property
    def id(self) -> RowId:
        return RowId(self.kind, self.key)

    def __str__(self) -> str:
        return f"{self.kind!r} {' '.join(str(part) or '-' for part in self.key)} = {self.value}"


@dataclass(frozen=True)
class Tag:
    """What marks kernel objects as ours; nothing without the mark is ever changed or deleted.

    netns_prefix: namespaces of this name prefix are ours (empty: none). link_prefixes: the near ends of our
    links. protocol: our number on routes, rules, neighbours and addresses. nft_prefix: our tables' names.
    guarded: namespaces that are others': there, only wanted rows are looked at, nothing is pruned (what we made
    goes with our link), and a route of others is not replaced even under an equal key.
    """

    protocol: int
    link_prefixes: tuple[str, ...] = ()
    netns_prefix: str = ""
    nft_prefix: str = "podloom"
    guarded: frozenset[str] = field(default_factory=frozenset)

    def owns_netns(self, name: str) -> bool:
        return bool(self.netns_prefix) and name.startswith(self.netns_prefix)

    def owns_link(self, name: str) -> bool:
        return name.startswith(self.link_prefixes) if self.link_prefixes else False


def netns_row(name: str, owner: str = "") -> Row:
    """A named network namespace, its loopback up."""
    return Row(Kind.NETNS, (name,), None, owner)


def veth_row(
    netns: str,
    name: str,
    peer_netns: str,
    peer_name: str,
    *,
    mtu: int = 1500,
    mac: str = "",
    peer_mac: str = "",
    group: int = 0,
    queues: int = 1,
    owner: str = "",
) -> Row:
    """A veth pair, both ends up with the same MTU; deleting the row deletes both ends."""
    value = Veth(peer_netns, peer_name, mtu, mac, peer_mac, group, queues=queues)
    return Row(Kind.LINK, (netns, name), value, owner)


def address_row(
    netns: str, dev: str, address: str, *, scope: str = "global", prefix_route: bool = True, owner: str = ""
) -> Row:
    """An address such as "10.0.0.4/16" on an interface (at either end of one of our links, or on lo)."""
    return Row(Kind.ADDRESS, (netns, dev, address), AddressValue(scope, prefix_route), owner)


def sysctl_row(netns: str, path: str, value: str | int, owner: str = "") -> Row:
    """A setting below /proc/sys/net, e.g. "ipv4/conf/eth0/proxy_arp"; never pruned, it goes with its device."""
    return Row(Kind.SYSCTL, (netns, path), str(value), owner)


def route_row(
    netns: str,
    dst: str,
    *,
    dev: str = "",
    via: str = "",
    src: str = "",
    table: int = 254,
    metric: int = 0,
    scope: str = "",
    type: str = "unicast",
    onlink: bool = False,
    mtu: int = 0,
    owner: str = "",
) -> Row:
    """A route to `dst` ("10.0.0.0/8"). Scope defaults to link without a gateway; IPv6 has no scopes, metric 1024."""
    six = ":" in dst
    if six:
        scope, metric = "global", metric or 1024
    elif not scope:
        scope = "link" if type == "unicast" and not via else "global"
    return Row(Kind.ROUTE, (netns, table, dst, metric), RouteValue(dev, via, src, scope, type, onlink, mtu), owner)


def rule_row(
    netns: str,
    priority: int,
    *,
    table: int = 0,
    iif: str = "",
    oif: str = "",
    src: str = "",
    dst: str = "",
    action: str = "table",
    mark: int = 0,
    family: int = 4,
    owner: str = "",
) -> Row:
    """A policy-routing rule of IPv4 (family 4) or IPv6 (6); `mark` 0 for packets of any mark."""
    return Row(Kind.RULE, (netns, family, priority, iif, oif, src, dst, mark), RuleValue(table, action), owner)


def neighbour_row(netns: str, dev: str, address: str, mac: str, owner: str = "") -> Row:
    """A permanent neighbour entry."""
    return Row(Kind.NEIGHBOUR, (netns, dev, address), mac, owner)


def nft_table_row(netns: str, family: str, table: str, body: str, owner: str = "") -> Row:
    """A whole nftables table: `body` is what stands between its braces, without elements of named sets and maps
    that have element rows. A change replaces the table in one transaction that keeps those elements."""
    return Row(Kind.NFT_TABLE, (netns, family, table), body, owner)


def nft_element_row(  # noqa: PLR0917 - the parts of the key, in nft's order
    netns: str, family: str, table: str, container: str, element: str, data: str = "", owner: str = ""
) -> Row:
    """One element of a named set, or of a named map (with `data`, e.g. "accept" or "10.0.0.1 . 80").

    `element` in the canonical text that nft prints, parts joined by " . "."""
    return Row(Kind.NFT_ELEMENT, (netns, family, table, container, element), data, owner)


def index_rows(rows: Iterable[Row]) -> dict[RowId, Row]:
    """Rows by id; raises Bug when two different rows claim one id."""
    found: dict[RowId, Row] = {}
    for row in rows:
        other = found.setdefault(row.id, row)
        if other is not row and other.value != row.value:
            raise Bug(f"plan of {row}", f"another row of the plan has the same key: {other} (owner {other.owner})")
    return found
