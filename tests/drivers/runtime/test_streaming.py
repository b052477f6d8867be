"""The client of the runtime's streaming server, against a small SPDY server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from podloom.drivers.runtime.api import RuntimeFailed
from podloom.drivers.runtime.streaming import SpdySession, upgrade
from podloom.render import spdy

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await serve(reader, writer, head)
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/exec/token"
    finally:
        listening.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
    """Accept, echo stdin to stdout, and at stdin's end close stdout, say the status and hang up at once."""
    assert "Upgrade: SPDY/3.1" in head and "X-Stream-Protocol-Version: v4.channel.k8s.io" in head
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n")
    packer, unpacker, kinds = spdy.Packer(), spdy.Unpacker(), dict[str, int]()
    while data := await reader.read(4096):
        for frame in unpacker.feed(data):
            if isinstance(frame, spdy.SynStream):
                kinds[frame.headers["streamtype"]] = frame.stream
                writer.write(packer.pack(spdy.SynReply(frame.stream)))
            elif isinstance(frame, spdy.Data) and frame.payload:
                writer.write(packer.pack(spdy.Data(kinds["stdout"], frame.payload)))
            elif isinstance(frame, spdy.Data) and frame.fin:
                writer.write(packer.pack(spdy.Ping(2)))
                writer.write(packer.pack(spdy.Data(kinds["stdout"], b"", True)))
                writer.write(packer.pack(spdy.Data(kinds["error"], b'{"status":"Success"}', True)))
                await writer.drain()
                return


async def test_streams_end_to_end() -> None:
    """More than a connection's buffers goes out and comes back whole, then the status, though the server hangs up."""
    async with server(_echo) as url:
        reader, writer, head = await upgrade(url, ["v4.channel.k8s.io"])
        assert head.startswith(b"HTTP/1.1 101")
        session = SpdySession(reader, writer)
        running = asyncio.create_task(session.run())
        error, stdin, stdout = [await session.open({"streamtype": kind}) for kind in ("error", "stdin", "stdout")]
        sent = bytes(range(256)) * 8192

        async def send() -> None:
            for at in range(0, len(sent), 50_000):
                await stdin.write(sent[at : at + 50_000])
            await stdin.close()

        sending, got = asyncio.create_task(send()), bytearray()
        async with asyncio.timeout(20):
            while data := await stdout.read():
                got += data
            assert await error.read() == b'{"status":"Success"}' and await error.read() == b""
        await sending
        assert bytes(got) == sent
        running.cancel()
        session.close()


async def test_a_lost_connection_ends_all_streams() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: str) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await writer.drain()

    async with server(hang_up) as url:
        reader, writer, _ = await upgrade(url, [])
        session = SpdySession(reader, writer)
        running = asyncio.create_task(session.run())
        stream = await session.open({"streamtype": "stdout"})
        async with asyncio.timeout(5):
            assert await stream.read() == b""
            await running
        session.close()


async def test_refusals() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: str) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
        await writer.drain()

    async with server(refuse) as url:
        with pytest.raises(RuntimeFailed, match="404 Not Found"):
            await upgrade(url, [])
    with pytest.raises(RuntimeFailed):
        await upgrade("http://127.0.0.1:1/x", [])
