"""The small HTTP server: keep-alive, chunked streams, refusals, vanished clients, taken connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from podloom.kube.kubelet.http import HttpError, HttpServer, Request, Response, parse_head

ended = asyncio.Event()


async def _endless() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.01)
    finally:
        ended.set()


async def _three() -> AsyncIterator[bytes]:
    for text in (b"a", b"", b"bc"):
        yield text


async def handle(request: Request) -> Response | None:
    if request.path == "/taken":
        request.writer.write(b"RAW " + await request.reader.readexactly(3))
        await request.writer.drain()
        return None
    if request.path == "/no":
        raise HttpError(404, "no such thing")
    if request.path == "/boom":
        raise RuntimeError("boom")
    streams = {"/three": _three, "/endless": _endless}
    if request.path in streams:
        return Response(body=streams[request.path]())
    return Response(body=f"{request.method} {request.path} {request.one('q')} {request.body.decode()}".encode())


@pytest.fixture
async def port() -> AsyncIterator[int]:
    http = HttpServer(handle)
    server = await http.start("127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    http.close()


async def ask(port: int, *requests: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(requests))
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


CLOSE = b"Connection: close\r\n\r\n"


async def test_keep_alive_and_bodies(port: int) -> None:
    first = b"POST /a%20b?q=1%262 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
    answer = await ask(port, first, b"GET /x?q= HTTP/1.1\r\n" + CLOSE)
    assert b"POST /a b 1&2 body" in answer and answer.endswith(b"GET /x  ")


async def test_chunks(port: int) -> None:
    assert (await ask(port, b"GET /three HTTP/1.1\r\n\r\n")).endswith(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")


async def test_refusals(port: int) -> None:
    """Text, or a metav1.Status where kubectl reads one."""
    plain = await ask(port, b"GET /no HTTP/1.1\r\n" + CLOSE)
    assert plain.startswith(b"HTTP/1.1 404 Not Found\r\n") and plain.endswith(b"no such thing")
    for header in (b"Accept: application/json, */*\r\n", b"Upgrade: SPDY/3.1\r\n"):
        answer = await ask(port, b"GET /no HTTP/1.1\r\n" + header + CLOSE)
        status = json.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert (status["kind"], status["reason"], status["message"]) == ("Status", "NotFound", "no such thing")
    assert (await ask(port, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert await ask(port, b"GET /boom HTTP/1.1\r\n\r\n") == b""


async def test_a_vanished_client_ends_its_stream(port: int) -> None:
    ended.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /endless HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"tick\n")
    writer.close()
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_taken_connection(port: int) -> None:
    assert await ask(port, b"GET /taken HTTP/1.1\r\n\r\nabc") == b"RAW abc"


def test_heads() -> None:
    assert parse_head(b"GET / HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n") == ("GET", "/", {"a": "1,2"})
    for bad in (b"\r\n\r\n", b"GET /\r\n\r\n"):
        with pytest.raises(HttpError):
            parse_head(bad)
