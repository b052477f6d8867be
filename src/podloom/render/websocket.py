"""Websocket frames (RFC 6455), both ways, and Kubernetes' channel protocol inside them.

The problem: kubectl 1.31+ opens exec, attach and port-forward as websockets. A frame is a header, an optional mask and
bytes. In v4 and v5 of channel.k8s.io the first byte of a message is the channel; v5 adds 255, "close channel n".
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from podloom.model.errors import Rejected

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MESSAGE_MAX = 64 << 20


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Channel(IntEnum):
    """Channels of channel.k8s.io."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True)
class Message:
    """A whole message or a control frame."""

    opcode: Opcode
    payload: bytes


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept of a Sec-WebSocket-Key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def mask_bytes(payload: bytes, mask: bytes) -> bytes:
    """Payload XOR the repeated 4-byte mask; its own inverse."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def pack_message(opcode: Opcode, payload: bytes, mask: bytes = b"") -> bytes:
    """One unfragmented frame; clients must give a 4-byte mask, servers none."""
    flag, size = 0x80 if mask else 0, len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, flag | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, flag | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, flag | 127, size)
    return head + mask + (mask_bytes(payload, mask) if mask else payload)


def _parse_frame(buffer: bytearray) -> tuple[bool, int, bytes, int] | None:
    """(final, opcode, payload, bytes used), None when more bytes are needed."""
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    size, at = second & 0x7F, 2
    extra = {126: 2, 127: 8}.get(size, 0)
    if len(buffer) < at + extra:
        return None
    if extra:
        size = int.from_bytes(buffer[at : at + extra], "big")
        at += extra
    if size > _MESSAGE_MAX:
        raise Rejected("read a websocket message", f"{size} bytes", f"send at most {_MESSAGE_MAX}")
    mask = b""
    if second & 0x80:
        mask, at = bytes(buffer[at : at + 4]), at + 4
    if len(buffer) < at + size:
        return None
    payload = bytes(buffer[at : at + size])
    return bool(first & 0x80), first & 0x0F, mask_bytes(payload, mask) if mask else payload, at + size


class Unpacker:
    """Bytes to messages; fragments are joined."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._opcode = Opcode.BINARY

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now; Rejected when the bytes are no websocket frames."""
        self._buffer += data
        while (frame := _parse_frame(self._buffer)) is not None:
            final, opcode, payload, used = frame
            del self._buffer[:used]
            if opcode not in Opcode.__members__.values():
                raise Rejected("read a websocket message", f"opcode {opcode}")
            if opcode >= Opcode.CLOSE:
                yield Message(Opcode(opcode), payload)
                continue
            if opcode != Opcode.CONTINUATION:
                self._opcode, self._parts = Opcode(opcode), []
            self._parts.append(payload)
            if final:
                yield Message(self._opcode, b"".join(self._parts))
                self._parts = []


def parse_channel(payload: bytes) -> tuple[int, bytes]:
    """(channel, bytes) of a channel.k8s.io message; Rejected when empty."""
    if not payload:
        raise Rejected("read a channel message", "it is empty")
    return payload[0], payload[1:]


def pack_channel(channel: int, data: bytes) -> bytes:
    return bytes([channel]) + data
