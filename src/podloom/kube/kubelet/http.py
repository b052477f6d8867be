"""A small HTTP/1.1 server whose connections can become something else.

The problem: the kubelet answers a dozen simple requests, and three kinds whose connection is upgraded to SPDY/3.1 or a
websocket and then carries raw bytes. General frameworks let only websockets through. This server parses one
request, hands it over with its streams, and lets the handler keep the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import structlog

log = structlog.get_logger()
_HEAD_MAX = 64 * 1024
_BODY_MAX = 1 << 20
_IDLE_S = 120.0
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}


@dataclass
class Request:
    """One parsed request; header names are lower case, query values lists."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""

    def one(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next(iter(self.query.get(name) or ()), None)

    def flag(self, name: str) -> bool:
        return self.one(name) in ("true", "1")


@dataclass(frozen=True)
class Response:
    """An answer in one piece, or as a stream of pieces."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


Handler = Callable[[Request], Awaitable[Response | None]]  # None: the connection was taken over


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """(method, target, headers) of a request head; HttpError 400 when it is none. Equal headers join with a comma."""
    try:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _version = first.split(" ")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
    except ValueError as e:
        raise HttpError(400, "malformed request") from e
    return method, target, headers


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request, None at the connection's end."""
    try:
        async with asyncio.timeout(_IDLE_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, TimeoutError, OSError):
        return None
    except asyncio.LimitOverrunError as e:
        raise HttpError(400, "request head too large") from e
    method, target, headers = parse_head(head)
    parts = urlsplit(target)
    length = int(headers.get("content-length") or 0)
    if length > _BODY_MAX:
        raise HttpError(400, "request body too large")
    body = await reader.readexactly(length) if length else b""
    return Request(
        method, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), headers, reader, writer, body
    )


async def write_response(request: Request, response: Response) -> bool:
    """Send it; whether the connection can go on."""
    body, writer = response.body, request.writer
    head = {"Content-Type": response.content_type, **response.headers}
    if isinstance(body, bytes):
        keep = request.headers.get("connection", "").lower() != "close"
        head["Content-Length"] = str(len(body))
        head |= {} if keep else {"Connection": "close"}
        writer.write(_head(response.status, head) + body)
        await writer.drain()
        return keep
    writer.write(_head(response.status, head | {"Transfer-Encoding": "chunked", "Connection": "close"}))
    await writer.drain()
    await _stream(request, body)
    return False


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _stream(request: Request, body: AsyncIterator[bytes]) -> None:
    """Chunks until the body ends or the client goes away."""

    async def send() -> None:
        async for piece in body:
            if piece:
                request.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await request.writer.drain()
        request.writer.write(b"0\r\n\r\n")
        await request.writer.drain()

    sending, gone = asyncio.create_task(send()), asyncio.create_task(request.reader.read(1))
    try:
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
        gone.cancel()
        await asyncio.gather(sending, gone, return_exceptions=True)


def refusal(request: Request, error: HttpError) -> Response:
    """The error as text; as metav1.Status where kubectl reads one: accepting JSON, or asking for an upgrade."""
    if "application/json" not in request.headers.get("accept", "") and "upgrade" not in request.headers:
        return Response(error.status, error.text.encode())
    reason = {400: "BadRequest", 403: "Forbidden", 404: "NotFound"}.get(error.status, "InternalError")
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body = orjson.dumps({**status, "message": error.text, "reason": reason, "code": error.status})
    return Response(error.status, body, "application/json")


class HttpServer:
    """Serves `handler` on one address until cancelled."""

    def __init__(self, handler: Handler, secure: ssl.SSLContext | None = None) -> None:
        self._handler, self._secure = handler, secure
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> asyncio.Server:
        return await asyncio.start_server(
            self._accept, address, port, ssl=self._secure, limit=_HEAD_MAX, reuse_address=True, backlog=256
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._once(reader, writer):
                pass
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("request")
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = None
        try:
            request = await read_request(reader, writer)
            if request is None:
                return False
            response = await self._handler(request)
        except HttpError as e:
            request = request or Request("GET", "/", {}, {"connection": "close"}, reader, writer)
            response = refusal(request, e)
        return response is not None and await write_response(request, response)

    def close(self) -> None:
        """End all connections that are open."""
        for task in list(self._connections):
            task.cancel()
