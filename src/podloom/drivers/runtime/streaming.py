"""The client of a container runtime's streaming server: SPDY/3.1 over an upgraded HTTP connection.

The problem: CRI's Exec, Attach and PortForward answer with a URL; behind it the runtime speaks remotecommand v4
(or portforward.k8s.io) in SPDY/3.1. `upgrade` opens the raw connection, which port-forward and SPDY clients are
simply joined to; `SpdySession` is for clients that speak something else: streams of bytes. It sends no
WINDOW_UPDATE: Kubernetes' SPDY library never waits for one, and a write to a connection the runtime has just
closed would make the kernel drop what is still unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from podloom.drivers.runtime.api import RuntimeFailed
from podloom.model.errors import Rejected
from podloom.render import spdy

_READ_BYTES = 1 << 16
_PIECES_MAX = 64  # of one stream waiting for its reader; then the connection itself must wait
_CONNECT_S = 10.0
_HEAD_MAX = 64 * 1024


async def upgrade(
    url: str, protocols: Sequence[str], headers: Mapping[str, str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """Connect to a streaming URL and upgrade to SPDY/3.1; the streams and the answer's head. RuntimeFailed."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_HEAD_MAX)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
            lines += [f"X-Stream-Protocol-Version: {one}" for one in protocols]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
        raise RuntimeFailed(f"open the runtime's stream {parts.path}", str(e) or type(e).__name__, "UNAVAILABLE") from e
    if not head.startswith(b"HTTP/1.1 101"):
        words = head.split(b"\r\n", 1)[0].decode("latin-1")
        writer.close()
        raise RuntimeFailed(f"open the runtime's stream {parts.path}", f"it answered {words}", "INTERNAL")
    return reader, writer, head


class SpdyStream:
    """One stream: `read` gives bytes until the other side's end (b"")."""

    def __init__(self, session: SpdySession, number: int) -> None:
        self._session, self.number = session, number
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_PIECES_MAX)
        self._ended = False

    async def put(self, data: bytes, fin: bool) -> None:
        if data:
            await self._queue.put(data)
        if fin and not self._ended:
            self._ended = True
            await self._queue.put(b"")

    async def read(self) -> bytes:
        return await self._queue.get()

    async def write(self, data: bytes) -> None:
        await self._session.send(spdy.Data(self.number, data))

    async def close(self) -> None:
        """Half-close: nothing more will be written."""
        await self._session.send(spdy.Data(self.number, b"", True))


class SpdySession:
    """The client's side of one connection; `run` must be running for streams to receive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._packer, self._unpacker = spdy.Packer(), spdy.Unpacker()
        self._streams: dict[int, SpdyStream] = {}
        self._next = 1

    async def open(self, headers: Mapping[str, str]) -> SpdyStream:
        """Open a stream; its answer is not waited for."""
        stream = SpdyStream(self, self._next)
        self._streams[self._next] = stream
        self._next += 2
        await self.send(spdy.SynStream(stream.number, headers))
        return stream

    async def send(self, frame: spdy.Frame) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the runtime closed the stream")
        self._writer.write(self._packer.pack(frame))
        await self._writer.drain()

    async def run(self) -> None:
        """Read frames until the connection ends; then every stream has ended."""
        try:
            while data := await self._reader.read(_READ_BYTES):
                for frame in self._unpacker.feed(data):
                    await self._take(frame)
        except (OSError, Rejected):
            pass
        finally:
            for stream in self._streams.values():
                await stream.put(b"", True)

    async def _take(self, frame: spdy.Frame) -> None:
        if isinstance(frame, spdy.Data):
            if frame.stream in self._streams:
                await self._streams[frame.stream].put(frame.payload, frame.fin)
        elif isinstance(frame, spdy.Reset):
            if frame.stream in self._streams:
                await self._streams[frame.stream].put(b"", True)
        elif isinstance(frame, spdy.Ping):
            await self.send(frame)
        elif isinstance(frame, spdy.SynReply) and frame.fin:
            await self._streams[frame.stream].put(b"", True)

    def close(self) -> None:
        self._writer.close()
