"""SPDY/3.1 frames, both ways: what exec, attach and port-forward streams of Kubernetes travel in.

The problem: container runtimes and kubectl multiplex streams over one upgraded HTTP connection with SPDY (draft 3.1),
a protocol with no library left. Frames are small: a header of eight bytes, and name/value blocks compressed with
zlib and a dictionary that both sides know. `Packer` and `Unpacker` each keep one direction's zlib state; neither
touches a socket.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from podloom.model.errors import Rejected

VERSION = 3
FIN = 1
DATA_MAX = (1 << 24) - 1
_HEADER = struct.Struct(">II")

# The dictionary of draft-mbelshe-httpbis-spdy-00, 2.6.10.1: length-prefixed words, then loose text.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_LOOSE = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _prefixed(word: str) -> bytes:
    return struct.pack(">I", len(word)) + word.encode()


DICTIONARY = (
    b"".join(_prefixed(word) for word in _WORDS.split(" "))
    + b"".join(
        _prefixed(word)
        for word in ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
    )
    + _LOOSE.encode()
)


class Type(IntEnum):
    """Control frame types."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


Headers = Mapping[str, str]


@dataclass(frozen=True)
class SynStream:
    """Opens a stream."""

    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False
    priority: int = 0


@dataclass(frozen=True)
class SynReply:
    """Accepts a stream."""

    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True)
class MoreHeaders:
    stream: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True)
class Data:
    """Bytes of a stream; fin: no more will come in this direction."""

    stream: int
    payload: bytes
    fin: bool = False


@dataclass(frozen=True)
class Reset:
    stream: int
    status: int = 5  # CANCEL


@dataclass(frozen=True)
class Ping:
    id: int


@dataclass(frozen=True)
class GoAway:
    last_stream: int
    status: int = 0


@dataclass(frozen=True)
class WindowUpdate:
    stream: int
    delta: int


@dataclass(frozen=True)
class Settings:
    """(id, flags, value) entries."""

    entries: tuple[tuple[int, int, int], ...] = ()


Frame = SynStream | SynReply | MoreHeaders | Data | Reset | Ping | GoAway | WindowUpdate | Settings


class Packer:
    """Frames to bytes for one direction of one connection: header blocks share a compression state."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    def _block(self, headers: Headers) -> bytes:
        raw = struct.pack(">I", len(headers)) + b"".join(
            _prefixed_bytes(name.lower().encode()) + _prefixed_bytes(value.encode()) for name, value in headers.items()
        )
        return self._zlib.compress(raw) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def pack(self, frame: Frame) -> bytes:
        """The frame's bytes; frames must be sent in the order they were packed."""
        if isinstance(frame, Data):
            if len(frame.payload) > DATA_MAX:
                raise Rejected("pack a SPDY data frame", f"{len(frame.payload)} bytes", f"send at most {DATA_MAX}")
            return _HEADER.pack(frame.stream, frame.fin << 24 | len(frame.payload)) + frame.payload
        if isinstance(frame, SynStream):
            body = struct.pack(">IIBB", frame.stream, 0, frame.priority << 5, 0) + self._block(frame.headers)
            return _control(Type.SYN_STREAM, frame.fin, body)
        if isinstance(frame, SynReply | MoreHeaders):
            kind = Type.SYN_REPLY if isinstance(frame, SynReply) else Type.HEADERS
            return _control(kind, frame.fin, struct.pack(">I", frame.stream) + self._block(frame.headers))
        return _pack_plain(frame)


def _pack_plain(frame: Reset | Ping | GoAway | WindowUpdate | Settings) -> bytes:
    if isinstance(frame, Reset):
        return _control(Type.RST_STREAM, False, struct.pack(">II", frame.stream, frame.status))
    if isinstance(frame, Ping):
        return _control(Type.PING, False, struct.pack(">I", frame.id))
    if isinstance(frame, GoAway):
        return _control(Type.GOAWAY, False, struct.pack(">II", frame.last_stream, frame.status))
    if isinstance(frame, WindowUpdate):
        return _control(Type.WINDOW_UPDATE, False, struct.pack(">II", frame.stream, frame.delta))
    entries = b"".join(struct.pack(">II", flags << 24 | key, value) for key, flags, value in frame.entries)
    return _control(Type.SETTINGS, False, struct.pack(">I", len(frame.entries)) + entries)


def _prefixed_bytes(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _control(kind: Type, fin: bool, body: bytes) -> bytes:
    return _HEADER.pack(1 << 31 | VERSION << 16 | kind, fin << 24 | len(body)) + body


class Unpacker:
    """Bytes to frames for one direction; feed it what arrives, in any pieces."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(15, DICTIONARY)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Rejected when the bytes are not SPDY/3."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = _HEADER.unpack_from(self._buffer)
            size, flags = second & 0xFFFFFF, second >> 24
            if len(self._buffer) < 8 + size:
                return
            body = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            if first >> 31:
                frame = self._control(first, flags, body)
                if frame is not None:
                    yield frame
            else:
                yield Data(first & 0x7FFFFFFF, body, bool(flags & FIN))

    def _control(self, first: int, flags: int, body: bytes) -> Frame | None:
        if (first >> 16) & 0x7FFF != VERSION:
            raise Rejected("read a SPDY frame", f"version {(first >> 16) & 0x7FFF}", "speak SPDY/3.1")
        kind, fin = first & 0xFFFF, bool(flags & FIN)
        try:
            return self._parse(kind, fin, body)
        except (struct.error, zlib.error, UnicodeDecodeError) as e:
            raise Rejected("read a SPDY frame", f"type {kind}: {e}") from e

    def _parse(self, kind: int, fin: bool, body: bytes) -> Frame | None:
        if kind == Type.SYN_STREAM:
            stream, _, priority, _ = struct.unpack_from(">IIBB", body)
            return SynStream(stream & 0x7FFFFFFF, self._headers(body[10:]), fin, priority >> 5)
        if kind in (Type.SYN_REPLY, Type.HEADERS):
            stream = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
            make = SynReply if kind == Type.SYN_REPLY else MoreHeaders
            return make(stream, self._headers(body[4:]), fin)
        if kind == Type.RST_STREAM:
            return Reset(*struct.unpack_from(">II", body))
        if kind == Type.PING:
            return Ping(*struct.unpack_from(">I", body))
        if kind == Type.GOAWAY:
            return GoAway(*struct.unpack_from(">II", body))
        if kind == Type.WINDOW_UPDATE:
            return WindowUpdate(*struct.unpack_from(">II", body))
        if kind == Type.SETTINGS:
            count = struct.unpack_from(">I", body)[0]
            pairs = [struct.unpack_from(">II", body, 4 + 8 * index) for index in range(count)]
            return Settings(tuple((key & 0xFFFFFF, key >> 24, value) for key, value in pairs))
        return None  # unknown types are ignored (2.2.1)

    def _headers(self, block: bytes) -> dict[str, str]:
        raw = self._zlib.decompress(block)
        (count,) = struct.unpack_from(">I", raw)
        at, words = 4, []
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", raw, at)
            words.append(raw[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return dict(zip(words[::2], words[1::2], strict=True))
