"""The DNS server at 168.63.129.16 of each virtual network, over UDP and TCP (RFC 1035, RFC 7766).

It answers A and AAAA for the names of the network's zone, an empty answer for other types of a known name,
NXDOMAIN for unknown names (the lab has no way to the real DNS, and inventing answers would be worse), and FORMERR
or NOTIMP for what is no plain query. One server per router, its sockets opened inside the namespace; it is
replaced when the namespace is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import structlog

from podloom.drivers.kernel import socket_in_netns
from podloom.drivers.kernel.netns import netns_inode
from podloom.model.errors import PodloomError
from podloom.plan.fabric.settings import WIRE_SERVER

log = structlog.get_logger()
Zone = Mapping[str, tuple[str, ...]]
TTL_S = 5
PORT = 53
_IP_FREEBIND = 15
_TCP_IDLE_S = 10.0
_UDP_SIZE = 512


def answer(query: bytes, zone: Zone, *, udp: bool) -> bytes | None:
    """The response to one query; None for what is not even a header."""
    try:
        message = dns.message.from_wire(query)
    except dns.exception.DNSException:
        return _malformed(query)
    if message.flags & dns.flags.QR:
        return None
    response = dns.message.make_response(message, recursion_available=True)
    response.flags |= dns.flags.AA
    if message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP)
    else:
        _fill(response, message.question[0], zone)
    size = max(message.payload, _UDP_SIZE) if udp else 65535
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        response.answer = []
        response.flags |= dns.flags.TC
        return response.to_wire()


def _fill(response: dns.message.Message, question: dns.rrset.RRset, zone: Zone) -> None:
    addresses = zone.get(question.name.to_text(omit_final_dot=True).lower())
    if addresses is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
        return
    types = {dns.rdatatype.A: ".", dns.rdatatype.AAAA: ":"}
    mark = types.get(question.rdtype)
    found = [address for address in addresses if mark and mark in address]
    if found:
        response.answer.append(
            dns.rrset.from_text_list(question.name, TTL_S, dns.rdataclass.IN, question.rdtype, found)
        )


def _malformed(query: bytes) -> bytes | None:
    if len(query) < 12 or query[2] & 0x80:
        return None
    return query[:2] + struct.pack("!HHHHH", 0x8000 | dns.rcode.FORMERR, 0, 0, 0, 0)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Callable[[], Zone]) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Neither asyncio's nor uvloop's UDP transport is a subclass of DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = answer(data, self._zone(), udp=True)
        if response is not None:
            self._transport.sendto(response, addr)


class NetworkDns:
    """The server of one router namespace; `zone` may be replaced at any time."""

    def __init__(self, netns: str, zone: Zone) -> None:
        self.netns = netns
        self.zone = zone
        self.inode = netns_inode(netns)
        self._udp: asyncio.BaseTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; raises PodloomError or OSError when the namespace is not there."""
        loop = asyncio.get_running_loop()
        udp = _bound(self.netns, socket.SOCK_DGRAM)
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(lambda: self.zone), sock=udp)
        tcp = _bound(self.netns, socket.SOCK_STREAM)
        self._tcp = await asyncio.start_server(self._stream, sock=tcp)

    def close(self) -> None:
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(_TCP_IDLE_S):
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    query = await reader.readexactly(size)
                response = answer(query, self.zone, udp=False)
                if response is None:
                    break
                writer.write(struct.pack("!H", len(response)) + response)
                await writer.drain()
        writer.close()


def _bound(netns: str, kind: int) -> socket.socket:
    opened = socket_in_netns(netns, socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((WIRE_SERVER, PORT))
    except BaseException:
        opened.close()
        raise
    return opened


class DnsServers:
    """One NetworkDns per router of a changing set."""

    def __init__(self) -> None:
        self._servers: dict[str, NetworkDns] = {}

    async def serve(self, zones: Mapping[str, Zone]) -> None:
        """Serve exactly these zones by router namespace; a server that cannot start is tried again next time."""
        for netns, server in list(self._servers.items()):
            if netns not in zones or server.inode != netns_inode(netns):
                self._servers.pop(netns).close()
        for netns, zone in zones.items():
            if netns in self._servers:
                self._servers[netns].zone = zone
                continue
            server = NetworkDns(netns, zone)
            try:
                await server.start()
            except (PodloomError, OSError) as error:
                server.close()
                log.warning("no DNS in a virtual network", netns=netns, error=str(error))
                continue
            self._servers[netns] = server

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()
