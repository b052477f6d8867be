"""rtnetlink messages as bytes, both ways (uapi linux/netlink.h, rtnetlink.h, if_link.h, fib_rules.h).

The problem: a pod's interface, addresses, routes and neighbours are a dozen kernel objects, and a general
netlink library spends more time on Python objects than the kernel spends on the work. So each object is one
frozen value here with `pack_*` and `unpack_*`; a message is header + fixed struct + attributes, built by
struct. Values carry interface indexes as the kernel does; names are resolved by the driver. Everything is in
host byte order except addresses, which the kernel wants in network order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
IFF_UP: Final = 1
NUD_PERMANENT: Final = 0x80
IFA_F_NODAD: Final = 0x02
IFA_F_PERMANENT: Final = 0x80
IFA_F_NOPREFIXROUTE: Final = 0x200
RTNH_F_ONLINK: Final = 4
RTPROT_UNSPEC: Final = 0
RT_TABLE_MAIN: Final = 254

SCOPES: Final = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
SCOPE_NAMES: Final = {number: name for name, number in SCOPES.items()}
_TYPES = "unicast local broadcast anycast multicast blackhole unreachable prohibit throw"
ROUTE_TYPES: Final = {name: number for number, name in enumerate(_TYPES.split(), 1)}
ROUTE_TYPE_NAMES: Final = {number: name for name, number in ROUTE_TYPES.items()}
RULE_ACTIONS: Final = {"table": 1, "goto": 2, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}
RULE_ACTION_NAMES: Final = {number: name for name, number in RULE_ACTIONS.items()}

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGH = struct.Struct("=BxxxiHBB")
_RULE = struct.Struct("=BBBBBxxBI")
_U32 = struct.Struct("=I")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


@dataclass(frozen=True, slots=True)
class Link:
    """One interface; `peer_index` and `peer_nsid` (-1: same namespace) come from the kernel for a veth."""

    index: int
    name: str
    up: bool = False
    mtu: int = 0
    mac: str = ""
    group: int = 0
    kind: str = ""
    peer_index: int = 0
    peer_nsid: int = -1


@dataclass(frozen=True, slots=True)
class Address:
    """One address of an interface, `address` as "10.0.0.4/16"; protocol is IFA_PROTO (Linux 5.18+), else 0."""

    index: int
    address: str
    scope: str = "global"
    flags: int = 0
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """One route; `dst` as "0.0.0.0/0"; `mtu` is the RTAX_MTU metric, 0 for none."""

    dst: str
    table: int = RT_TABLE_MAIN
    protocol: int = 0
    scope: str = "global"
    type: str = "unicast"
    index: int = 0
    via: str = ""
    src: str = ""
    metric: int = 0
    onlink: bool = False
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One neighbour entry; only permanent ones are written by us."""

    index: int
    address: str
    mac: str
    state: int = NUD_PERMANENT
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy-routing rule; `src` and `dst` as prefixes or ""; `mark` 0 for any."""

    family: int
    priority: int
    table: int = 0
    action: str = "table"
    iif: str = ""
    oif: str = ""
    src: str = ""
    dst: str = ""
    protocol: int = 0
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One received netlink message."""

    type: int
    flags: int
    seq: int
    body: bytes


@lru_cache(maxsize=8192)
def address_bytes(text: str) -> bytes:
    """The 4 or 16 bytes of an address in network order; raises ValueError for a malformed one."""
    if ":" in text:
        return IPv6Address(text).packed
    parts = bytes(map(int, text.split(".")))
    if len(parts) != 4:
        raise ValueError(f"not an IPv4 address: {text!r}")
    return parts


def address_text(raw: bytes) -> str:
    """The usual text of a 4 or 16 byte address."""
    if len(raw) == 4:
        return "{}.{}.{}.{}".format(*raw)
    return str(IPv6Address(raw))


def mac_bytes(text: str) -> bytes:
    """The six bytes of "02:00:00:00:00:01"."""
    return bytes.fromhex(text.replace(":", ""))


def mac_text(raw: bytes) -> str:
    return raw.hex(":")


def family_of(text: str) -> int:
    """AF_INET or AF_INET6 of an address or prefix in text."""
    return AF_INET6 if ":" in text else AF_INET


def message(mtype: int, flags: int, seq: int, body: bytes) -> bytes:
    """One whole message; `flags` are added to NLM_F_REQUEST."""
    return _HEADER.pack(16 + len(body), mtype, flags | NLM_F_REQUEST, seq, 0) + body


def messages(buffer: bytes) -> Iterator[Message]:
    """The messages of one received datagram."""
    offset = 0
    while offset + 16 <= len(buffer):
        length, mtype, flags, seq, _ = _HEADER.unpack_from(buffer, offset)
        if length < 16:
            return
        yield Message(mtype, flags, seq, buffer[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def unpack_error(msg: Message) -> tuple[int, str]:
    """(errno, the kernel's words) of an NLMSG_ERROR; errno 0 is an acknowledgement. Words need NETLINK_EXT_ACK."""
    (code,) = struct.unpack_from("=i", msg.body)
    if not code or not msg.flags & NLM_F_ACK_TLVS:
        return -code, ""
    (inner,) = struct.unpack_from("=I", msg.body, 4)
    offset = 4 + (16 if msg.flags & NLM_F_CAPPED else (inner + 3) & ~3)
    words = _attributes(msg.body, offset).get(1, b"")
    return -code, words.rstrip(b"\0").decode(errors="replace")


def _attr(kind: int, payload: bytes) -> bytes:
    length = len(payload)
    return _ATTR.pack(length + 4, kind) + payload + _PAD[length & 3]


def _u32(kind: int, value: int) -> bytes:
    return _ATTR.pack(8, kind) + _U32.pack(value)


def _string(kind: int, text: str) -> bytes:
    return _attr(kind, text.encode() + b"\0")


def _attributes(body: bytes, offset: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    end = len(body)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(body, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _int(raw: bytes | None) -> int:
    return int.from_bytes(raw, "little") if raw else 0


def _text(raw: bytes | None) -> str:
    return raw.rstrip(b"\0").decode() if raw else ""


def _split(prefix: str) -> tuple[bytes, int]:
    address, _, length = prefix.partition("/")
    raw = address_bytes(address)
    return raw, int(length) if length else len(raw) * 8


def _prefix(raw: bytes | None, length: int, family: int) -> str:
    return f"{address_text(raw or bytes(16 if family == AF_INET6 else 4))}/{length}"


# links ---------------------------------------------------------------------------------------------------


def _link_head(index: int, up: bool | None, *, mtu: int, mac: str, group: int, name: str) -> bytes:
    flags, change = (IFF_UP if up else 0, IFF_UP if up is not None else 0)
    body = _LINK.pack(AF_UNSPEC, 0, index, flags, change)
    if name:
        body += _string(3, name)
    if mtu:
        body += _u32(4, mtu)
    if mac:
        body += _attr(1, mac_bytes(mac))
    if group:
        body += _u32(27, group)
    return body


def pack_veth(
    name: str,
    peer_name: str,
    *,
    mtu: int = 0,
    mac: str = "",
    peer_mac: str = "",
    group: int = 0,
    queues: int = 0,
    peer_netns_fd: int = -1,
) -> bytes:
    """Body of RTM_NEWLINK for a veth pair, the peer made directly in the namespace of the fd.

    The near end comes up; the peer cannot while it has no other end (veth_open answers ENOTCONN). `queues` 0 leaves
    their number to the kernel, which makes one per CPU."""
    count = _u32(31, queues) + _u32(32, queues) if queues else b""
    peer = _link_head(0, None, mtu=mtu, mac=peer_mac, group=0, name=peer_name) + count
    if peer_netns_fd >= 0:
        peer += _u32(28, peer_netns_fd)
    info = _string(1, "veth") + _attr(2, _attr(1, peer))
    return _link_head(0, True, mtu=mtu, mac=mac, group=group, name=name) + count + _attr(18, info)


def pack_set_link(
    index: int, *, up: bool | None = None, mtu: int = 0, mac: str = "", group: int = 0, name: str = ""
) -> bytes:
    """Body of RTM_NEWLINK that changes an existing interface; what is not given stays."""
    return _link_head(index, up, mtu=mtu, mac=mac, group=group, name=name)


def pack_link_name(name: str) -> bytes:
    """Body of RTM_GETLINK or RTM_DELLINK for one name."""
    return _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + _string(3, name)


def pack_link_index(index: int) -> bytes:
    """Body of RTM_DELLINK for one index."""
    return _LINK.pack(AF_UNSPEC, 0, index, 0, 0)


def pack_link_group(group: int) -> bytes:
    """Body of RTM_DELLINK that deletes every link of a group at once (25 ms for 50 veths, not 850)."""
    return _LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + _u32(27, group)


def unpack_link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = _attributes(body, _LINK.size)
    nsid = found.get(37)
    return Link(
        index=index,
        name=_text(found.get(3)),
        up=bool(flags & IFF_UP),
        mtu=_int(found.get(4)),
        mac=mac_text(found.get(1, b"")),
        group=_int(found.get(27)),
        kind=_text(_attributes(found.get(18, b""), 0).get(1)),
        peer_index=_int(found.get(5)),
        peer_nsid=struct.unpack("=i", nsid)[0] if nsid else -1,
    )


# addresses -----------------------------------------------------------------------------------------------


def pack_address(item: Address) -> bytes:
    """Body of RTM_NEWADDR or RTM_DELADDR."""
    raw, length = _split(item.address)
    family = AF_INET if len(raw) == 4 else AF_INET6
    body = _ADDR.pack(family, length, item.flags & 0xFF, SCOPES[item.scope], item.index)
    body += _attr(2, raw) + _attr(1, raw) + _u32(8, item.flags)
    if item.protocol:
        body += _attr(11, bytes((item.protocol,)))
    return body


def unpack_address(body: bytes) -> Address:
    family, length, flags, scope, index = _ADDR.unpack_from(body)
    found = _attributes(body, _ADDR.size)
    raw = found.get(2) or found.get(1)
    return Address(
        index=index,
        address=_prefix(raw, length, family),
        scope=SCOPE_NAMES.get(scope, str(scope)),
        flags=_int(found[8]) if 8 in found else flags,
        protocol=_int(found.get(11)),
    )


# routes --------------------------------------------------------------------------------------------------


def pack_route(item: Route) -> bytes:
    """Body of RTM_NEWROUTE or RTM_DELROUTE."""
    raw, length = _split(item.dst)
    family = AF_INET if len(raw) == 4 else AF_INET6
    body = _ROUTE.pack(
        family,
        length,
        0,
        0,
        item.table if item.table < 256 else 0,
        item.protocol,
        SCOPES[item.scope],
        ROUTE_TYPES[item.type],
        RTNH_F_ONLINK if item.onlink else 0,
    )
    if length:
        body += _attr(1, raw)
    body += _u32(15, item.table)
    if item.index:
        body += _u32(4, item.index)
    if item.via:
        body += _attr(5, address_bytes(item.via))
    if item.src:
        body += _attr(7, address_bytes(item.src))
    if item.metric:
        body += _u32(6, item.metric)
    if item.mtu:
        body += _attr(8, _u32(2, item.mtu))
    return body


def unpack_route(body: bytes) -> Route:
    family, length, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(body)
    found = _attributes(body, _ROUTE.size)
    metrics = _attributes(found.get(8, b""), 0)
    return Route(
        dst=_prefix(found.get(1), length, family),
        table=_int(found[15]) if 15 in found else table,
        protocol=protocol,
        scope=SCOPE_NAMES.get(scope, str(scope)),
        type=ROUTE_TYPE_NAMES.get(kind, str(kind)),
        index=_int(found.get(4)),
        via=address_text(found[5]) if 5 in found else "",
        src=address_text(found[7]) if 7 in found else "",
        metric=_int(found.get(6)),
        onlink=bool(flags & RTNH_F_ONLINK),
        mtu=_int(metrics.get(2)),
    )


# neighbours ----------------------------------------------------------------------------------------------


def pack_neighbour(item: Neighbour) -> bytes:
    """Body of RTM_NEWNEIGH or RTM_DELNEIGH."""
    raw = address_bytes(item.address)
    family = AF_INET if len(raw) == 4 else AF_INET6
    body = _NEIGH.pack(family, item.index, item.state, 0, 0) + _attr(1, raw)
    if item.mac:
        body += _attr(2, mac_bytes(item.mac))
    if item.protocol:
        body += _attr(12, bytes((item.protocol,)))
    return body


def unpack_neighbour(body: bytes) -> Neighbour:
    _, index, state, _, _ = _NEIGH.unpack_from(body)
    found = _attributes(body, _NEIGH.size)
    return Neighbour(
        index=index,
        address=address_text(found[1]) if len(found.get(1, b"")) in (4, 16) else "",
        mac=mac_text(found.get(2, b"")),
        state=state,
        protocol=_int(found.get(12)),
    )


# rules ---------------------------------------------------------------------------------------------------


def pack_rule(item: Rule) -> bytes:
    """Body of RTM_NEWRULE or RTM_DELRULE."""
    src, src_length = _split(item.src) if item.src else (b"", 0)
    dst, dst_length = _split(item.dst) if item.dst else (b"", 0)
    table = item.table if item.table < 256 else 0
    body = _RULE.pack(item.family, dst_length, src_length, 0, table, RULE_ACTIONS[item.action], 0)
    body += _u32(6, item.priority)
    if item.action == "table":
        body += _u32(15, item.table)
    if src:
        body += _attr(2, src)
    if dst:
        body += _attr(1, dst)
    if item.iif:
        body += _string(3, item.iif)
    if item.oif:
        body += _string(17, item.oif)
    if item.mark:
        body += _u32(10, item.mark) + _u32(16, 0xFFFFFFFF)
    if item.protocol:
        body += _attr(21, bytes((item.protocol,)))
    return body


def unpack_rule(body: bytes) -> Rule:
    family, dst_length, src_length, _, table, action, _ = _RULE.unpack_from(body)
    found = _attributes(body, _RULE.size)
    return Rule(
        family=family,
        priority=_int(found.get(6)),
        table=_int(found[15]) if 15 in found else table,
        action=RULE_ACTION_NAMES.get(action, str(action)),
        iif=_text(found.get(3)),
        oif=_text(found.get(17)),
        src=_prefix(found[2], src_length, family) if 2 in found else "",
        dst=_prefix(found[1], dst_length, family) if 1 in found else "",
        protocol=_int(found.get(21)),
        mark=_int(found.get(10)),
    )


# dumps ---------------------------------------------------------------------------------------------------


def pack_dump(mtype: int, family: int = AF_UNSPEC, *, protocol: int = 0, index: int = 0, table: int = 0) -> bytes:
    """Body of an RTM_GET* dump; with NETLINK_GET_STRICT_CHK the kernel filters routes and addresses itself."""
    if mtype == RTM_GETLINK:
        return _LINK.pack(AF_UNSPEC, 0, 0, 0, 0)
    if mtype == RTM_GETADDR:
        return _ADDR.pack(family, 0, 0, 0, index)
    if mtype == RTM_GETROUTE:
        body = _ROUTE.pack(family, 0, 0, 0, table if table < 256 else 0, protocol, 0, 0, 0)
        return body + (_u32(4, index) if index else b"")
    if mtype == RTM_GETNEIGH:
        return _NEIGH.pack(family, 0, 0, 0, 0) + (_u32(8, index) if index else b"")
    return _RULE.pack(family, 0, 0, 0, 0, 0, 0)
