"""exec, attach and port-forward: joining a client's connection to the container runtime's.

The problem: clients speak SPDY/3.1 (kubectl before 1.31, client libraries) or websockets (v4 and v5 channels for exec
and attach; SPDY frames inside a websocket for port-forward), the runtime speaks SPDY/3.1. Where both speak SPDY the
two connections are joined byte by byte, whatever they carry; a websocket with channels is translated.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

import orjson

from podloom.drivers.runtime.api import RuntimeFailed
from podloom.drivers.runtime.streaming import SpdySession, SpdyStream, upgrade
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.http import HttpError, Request
from podloom.model.errors import Rejected
from podloom.model.runtime import Container, Sandbox
from podloom.render.websocket import (
    Channel,
    Opcode,
    Unpacker,
    accept_key,
    pack_channel,
    pack_message,
    parse_channel,
)

_CHUNK = 1 << 16
_CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_TUNNEL = "SPDY/3.1+portforward.k8s.io"
_PORT_FORWARD = "portforward.k8s.io"


class WebSocket:
    """The server's side of a websocket on a request's connection."""

    def __init__(self, request: Request, protocol: str) -> None:
        self._reader, self._writer = request.reader, request.writer
        self._unpacker = Unpacker()
        self._messages: list[bytes] = []
        self.protocol = protocol

    @classmethod
    async def accept(cls, request: Request, offered: Iterable[str]) -> WebSocket:
        """Answer the upgrade with the first protocol of ours that the client offers; HttpError 400 without one."""
        wanted = [one.strip() for one in request.headers.get("sec-websocket-protocol", "").split(",")]
        protocol = next((one for one in offered if one in wanted), "")
        key = request.headers.get("sec-websocket-key")
        if not protocol or not key:
            raise HttpError(400, f"unsupported websocket protocol: {', '.join(wanted)}")
        request.writer.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept_key(key)}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
            ).encode()
        )
        await request.writer.drain()
        return cls(request, protocol)

    async def receive(self) -> bytes | None:
        """The next data message; None when the client has closed. Pings are answered."""
        while not self._messages:
            data = await self._reader.read(_CHUNK)
            if not data:
                return None
            for message in self._unpacker.feed(data):
                if message.opcode is Opcode.CLOSE:
                    return self._messages.pop(0) if self._messages else None
                if message.opcode is Opcode.PING:
                    self._writer.write(pack_message(Opcode.PONG, message.payload))
                elif message.opcode in (Opcode.BINARY, Opcode.TEXT):
                    self._messages.append(message.payload)
        return self._messages.pop(0)

    async def send(self, payload: bytes) -> None:
        self._writer.write(pack_message(Opcode.BINARY, payload))
        await self._writer.drain()

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.write(pack_message(Opcode.CLOSE, b"\x03\xe8"))
            await self._writer.drain()


def _is_websocket(request: Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket"


async def _until_first_ends(*work: Awaitable[None]) -> None:
    """Run all until one ends, then end the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


class Streams:
    """Serves the three streaming requests."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def exec(self, request: Request, container: Container) -> None:
        """Run a command in a container; query: command..., input, output, error, tty."""
        tty = request.flag("tty")
        command = request.query.get("command") or []
        if not command:
            raise HttpError(400, "you must specify at least 1 command for the container")
        url = await self._url(
            self._node.runtime.exec_url(
                container.id,
                command,
                tty=tty,
                stdin=request.flag("input"),
                stdout=request.flag("output"),
                stderr=request.flag("error") and not tty,
            )
        )
        await self._remote_command(request, url, tty)

    async def attach(self, request: Request, container: Container, *, tty: bool) -> None:
        """Join the container's own process."""
        url = await self._url(
            self._node.runtime.attach_url(
                container.id,
                tty=tty,
                stdin=request.flag("input"),
                stdout=request.flag("output"),
                stderr=request.flag("error") and not tty,
            )
        )
        await self._remote_command(request, url, tty)

    async def port_forward(self, request: Request, sandbox: Sandbox) -> None:
        """Streams of `kubectl port-forward` into the sandbox's network namespace."""
        url = await self._url(self._node.runtime.port_forward_url(sandbox.id))
        if not _is_websocket(request):
            await self._join(request, url)
            return
        reader, writer, _ = await self._connect(url, [_PORT_FORWARD])
        try:
            socket = await WebSocket.accept(request, [_TUNNEL])
            await _until_first_ends(_tunnel_in(socket, writer), _tunnel_out(reader, socket))
            await socket.close()
        finally:
            writer.close()

    async def _url(self, call: Awaitable[str]) -> str:
        try:
            return await call
        except RuntimeFailed as e:
            raise HttpError(404 if e.code == "NOT_FOUND" else 500, e.found) from e

    async def _connect(
        self, url: str, protocols: list[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        try:
            return await upgrade(url, protocols)
        except RuntimeFailed as e:
            raise HttpError(500, e.found) from e

    async def _join(self, request: Request, url: str) -> None:
        """Both sides speak SPDY/3.1: copy bytes both ways."""
        if "spdy/3.1" not in request.headers.get("upgrade", "").lower():
            raise HttpError(400, "unable to upgrade: missing upgrade headers in request")
        offered = request.headers.get("x-stream-protocol-version", "").split(",")
        reader, writer, head = await self._connect(url, [one.strip() for one in offered if one.strip()])
        try:
            request.writer.write(head)
            await request.writer.drain()
            await _until_first_ends(_copy(request.reader, writer), _copy(reader, request.writer))
        finally:
            writer.close()

    async def _remote_command(self, request: Request, url: str, tty: bool) -> None:
        if not _is_websocket(request):
            await self._join(request, url)
            return
        reader, writer, _ = await self._connect(url, ["v4.channel.k8s.io"])
        session = SpdySession(reader, writer)
        running = asyncio.create_task(session.run())
        try:
            socket = await WebSocket.accept(request, _CHANNELS)
            await _Translation(session, socket, tty, request).run()
            await socket.close()
        finally:
            running.cancel()
            session.close()


async def _tunnel_in(socket: WebSocket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, Rejected):
        while (data := await socket.receive()) is not None:
            writer.write(data)
            await writer.drain()


async def _tunnel_out(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            await socket.send(data)


class _Translation:
    """One exec or attach: websocket channels on one side, SPDY streams on the other."""

    def __init__(self, session: SpdySession, socket: WebSocket, tty: bool, request: Request) -> None:
        self._session, self._socket, self._tty, self._request = session, socket, tty, request
        self._inputs: dict[int, SpdyStream] = {}

    async def run(self) -> None:
        """Until the command's status has been sent, or either side is gone."""
        wanted: list[tuple[int, str]] = [(Channel.ERROR, "error")]
        flags = {"stdin": "input", "stdout": "output", "stderr": "error"}
        for channel, name in ((Channel.STDIN, "stdin"), (Channel.STDOUT, "stdout"), (Channel.STDERR, "stderr")):
            if self._request.flag(flags[name]) and not (self._tty and name == "stderr"):
                wanted.append((channel, name))
        if self._tty:
            wanted.append((Channel.RESIZE, "resize"))
        outputs: list[Callable[[], Awaitable[None]]] = []
        status: SpdyStream | None = None
        for number, name in wanted:
            stream = await self._session.open({"streamtype": name})
            if number in (Channel.STDIN, Channel.RESIZE):
                self._inputs[number] = stream
            elif number == Channel.ERROR:
                status = stream
            else:
                outputs.append(lambda s=stream, c=number: self._output(s, c))  # type: ignore[misc]
        assert status is not None
        await _until_first_ends(self._results(status, outputs), self._input())

    async def _results(self, status: SpdyStream, outputs: list[Callable[[], Awaitable[None]]]) -> None:
        """All output first, then the status that ends the command on the client's side."""
        with contextlib.suppress(OSError):
            await asyncio.gather(*(one() for one in outputs))
            text = b""
            while data := await status.read():
                text += data
            await self._socket.send(pack_channel(Channel.ERROR, text or _success()))

    async def _output(self, stream: SpdyStream, channel: int) -> None:
        while data := await stream.read():
            await self._socket.send(pack_channel(channel, data))

    async def _input(self) -> None:
        """Input, window sizes and half-closes, until the client goes away."""
        with contextlib.suppress(OSError, Rejected):
            while (message := await self._socket.receive()) is not None:
                number, data = parse_channel(message)
                if number == Channel.CLOSE:
                    stream = self._inputs.get(data[0] if data else -1)
                    if stream is not None:
                        await stream.close()
                elif number in self._inputs and data:
                    await self._inputs[number].write(data)


def _success() -> bytes:
    return orjson.dumps({"metadata": {}, "status": "Success"})
