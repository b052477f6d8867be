"""Questions about the rest of the world go to the upstream servers.

The problem: an upstream may be silent, slow or lie about being the one asked. Each question goes out from a socket
of its own with a fresh identifier (hard to forge), is tried at each server in turn within a bound, and is answered
SERVFAIL when none replies. The number of questions under way is bounded.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Sequence
from contextlib import suppress

from podloom.model.errors import Exhausted, Unavailable

_UNDER_WAY_MOST = 1000


class Upstream:
    """`ask` relays raw queries to `servers` (addresses, port 53 unless given as (address, port))."""

    def __init__(self, servers: Sequence[tuple[str, int]], timeout_s: float = 2.0, rounds: int = 2) -> None:
        self.servers, self.timeout_s, self.rounds = tuple(servers), timeout_s, rounds
        self._under_way = 0

    async def ask(self, query: bytes, *, udp: bool) -> bytes:
        """The upstream's answer with the query's own identifier; raises Unavailable, Exhausted."""
        if self._under_way >= _UNDER_WAY_MOST:
            raise Exhausted("forwarding a DNS question", f"{self._under_way} are under way")
        self._under_way += 1
        try:
            return await self._ask(query, udp=udp)
        finally:
            self._under_way -= 1

    async def _ask(self, query: bytes, *, udp: bool) -> bytes:
        number = secrets.token_bytes(2)
        trouble = "no upstream server is set"
        for _ in range(self.rounds):
            for server in self.servers:
                way = _ask_udp if udp else _ask_tcp
                try:
                    async with asyncio.timeout(self.timeout_s):
                        answer = await way(server, number + query[2:])
                    return query[:2] + answer[2:]
                except TimeoutError:
                    trouble = f"{server[0]} did not answer within {self.timeout_s} s"
                except (OSError, asyncio.IncompleteReadError) as e:
                    trouble = f"{server[0]}: {e}"
        raise Unavailable("forwarding a DNS question", trouble)


class _OneAnswer(asyncio.DatagramProtocol):
    """Takes the first datagram with the right identifier and question."""

    def __init__(self, query: bytes) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._query = query

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) >= 12 and data[:2] == self._query[:2] and data[2] & 0x80 and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_udp(server: tuple[str, int], query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _OneAnswer(query), remote_addr=server)
    try:
        transport.sendto(query)
        return await protocol.answer
    finally:
        transport.close()


async def _ask_tcp(server: tuple[str, int], query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(size)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
