"""Raw byte tunnels through the HTTP server: an upgraded connection is copied both ways, whatever it carries.

The problem: after an upgrade the connection is no longer HTTP and the framework must keep its hands off. The
protocol hands all further bytes to a parser of ours, and we write to its transport. The framework's parser lets
only websocket upgrades through, so SPDY upgrade requests are relabelled before it sees them (`relabel`); the
original name travels in a private header.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_SPDY = re.compile(rb"(?im)^upgrade:[ \t]*(SPDY/[0-9.]+)[ \t]*\r\n")
_BUFFER_BYTES = 1 << 18


def relabel(data: bytes) -> bytes:
    """A request head with `Upgrade: SPDY/3.1` turned into one the framework upgrades; other data as it is."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return data
    head, rest = data[: end + 2], data[end + 2 :]
    found = _SPDY.search(head)
    if found is None:
        return data
    label = b"Upgrade: websocket\r\nX-Podloom-Upgrade: " + found.group(1) + b"\r\n"
    return head[: found.start()] + label + head[found.end() :] + rest


class Protocol(RequestHandler):
    """The framework's protocol, which also accepts SPDY upgrades."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if data[:5] in (b"POST ", b"GET /") and b"SPDY/" in data[:8192]:
            data = relabel(bytes(data))
        super().data_received(data)


class _Sink:
    """Takes the bytes that follow the request; the protocol calls it as its payload parser."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if data:
            self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def set_exception(self, exc: BaseException, _cause: BaseException | None = None) -> None:
        if not self._reader.at_eof():
            self._reader.feed_eof()


class _Done(web.StreamResponse):
    """The response of a hijacked connection: everything was sent already."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class Hijacked:
    """The client's side of a tunnel."""

    def __init__(self, transport: asyncio.Transport, reader: asyncio.StreamReader) -> None:
        self.transport = transport
        self.reader = reader
        self.response = _Done()
        self.response.force_close()


def hijack(http: web.BaseRequest) -> Hijacked:
    """Take over the connection of a request that was parsed as an upgrade."""
    transport = http.transport
    if transport is None:
        raise ConnectionResetError("client is gone")
    reader = asyncio.StreamReader(limit=_BUFFER_BYTES)
    parser: Any = _Sink(reader)
    http.protocol.set_parser(parser)
    return Hijacked(transport, reader)


async def pump(client: Hijacked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy both ways until either side ends; closes both."""

    async def up() -> None:
        while data := await client.reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def down() -> None:
        while data := await reader.read(1 << 16):
            client.transport.write(data)
            while client.transport.get_write_buffer_size() > _BUFFER_BYTES and not client.transport.is_closing():
                await asyncio.sleep(0.005)

    sides = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)
        writer.close()
        client.transport.close()
