"""The frames between the plugin executable (relay/azure-vnet.c) and the agent.

    request:  "PLR1" u32 environment_bytes u32 stdin_bytes  (NAME=value NUL)... stdin
    answer:   "PLA1" u32 exit_code         u32 stdout_bytes stdout              (little endian)

The problem: either side may be killed in the middle, and half a request must never be acted on. Lengths come first,
so a frame is whole or it is nothing. Files in the spool folder hold one request frame each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from podloom.model.cni import Undecodable

HEADER = struct.Struct("<4sII")
REQUEST = b"PLR1"
ANSWER = b"PLA1"
PART_BYTES_MAX = 8 << 20


@dataclass(frozen=True)
class Frame:
    """A request as it arrived: variables by name and standard input, nothing interpreted."""

    environment: dict[str, str]
    stdin: bytes


def request_sizes(header: bytes) -> tuple[int, int]:
    """The sizes of a request's two parts from its first HEADER.size bytes; raises Undecodable."""
    magic, environment, stdin = HEADER.unpack(header)
    if magic != REQUEST or max(environment, stdin) > PART_BYTES_MAX:
        raise Undecodable("read a plugin request", "the frame's header is not ours", "install the matching plugin")
    return environment, stdin


def parse_parts(environment: bytes, stdin: bytes) -> Frame:
    """The frame from its two parts; variables that are not UTF-8 keep their bytes by surrogate escapes."""
    pairs = (item.partition(b"=") for item in environment.split(b"\0") if item)
    return Frame({name.decode(errors="surrogateescape"): _text(value) for name, _, value in pairs}, stdin)


def parse_request(data: bytes) -> Frame:
    """A whole request frame, e.g. a spool file's content; raises Undecodable when it is cut or too long."""
    if len(data) < HEADER.size:
        raise Undecodable("read a plugin request", f"{len(data)} bytes are less than a header")
    environment, stdin = request_sizes(data[: HEADER.size])
    if len(data) != HEADER.size + environment + stdin:
        raise Undecodable("read a plugin request", f"{len(data)} bytes do not match the header's sizes")
    middle = HEADER.size + environment
    return parse_parts(data[HEADER.size : middle], data[middle:])


def render_request(frame: Frame) -> bytes:
    """The bytes the plugin executable would send."""
    environment = b"".join(f"{k}={v}".encode(errors="surrogateescape") + b"\0" for k, v in frame.environment.items())
    return HEADER.pack(REQUEST, len(environment), len(frame.stdin)) + environment + frame.stdin


def render_answer(exit_code: int, stdout: bytes) -> bytes:
    """The answer frame: the executable prints stdout and exits with exit_code."""
    return HEADER.pack(ANSWER, exit_code, len(stdout)) + stdout


def parse_answer(data: bytes) -> tuple[int, bytes]:
    """Exit code and standard output of a whole answer frame; raises Undecodable otherwise."""
    magic, exit_code, size = HEADER.unpack(data[: HEADER.size])
    if magic != ANSWER or len(data) != HEADER.size + size:
        raise Undecodable("read the agent's answer", "the frame is not whole")
    return exit_code, data[HEADER.size :]


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
