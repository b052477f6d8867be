"""Container logs: read them as kubectl asks, follow them, and keep them from growing without bound.

The problem: the runtime appends CRI log lines to a file; clients want text, the last n lines, since a time, with
timestamps, for ever, or of the container before. Reading from the end costs what is read; following waits for
inotify; a container that ended ends the stream.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from podloom.drivers.runtime.api import RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.inotify import Watch
from podloom.model.runtime import State
from podloom.plan.kubelet.sync import PodRuntime
from podloom.render.crilog import parse_line

_BLOCK = 64 * 1024
_ROTATE_BYTES = 10 << 20
_END_CHECK_S = 1.0


@dataclass(frozen=True)
class LogOptions:
    """Query of /containerLogs (PodLogOptions)."""

    follow: bool = False
    tail: int | None = None
    since: str = ""  # RFC 3339, compared as text: same width, UTC
    timestamps: bool = False
    limit_bytes: int | None = None


def since_text(seconds: int | None, moment: str | None) -> str:
    """The `since` of sinceSeconds or sinceTime, in the log's own spelling."""
    if seconds is not None:
        return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    if moment:
        return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return ""


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` entries begin; partial entries (tag P) belong to the full line that ends them."""
    file.seek(0, 2)
    at = file.tell()
    if lines <= 0:
        return at
    buffer = b""
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        buffer = file.read(size) + buffer
        starts = _full_line_starts(buffer, whole=at == 0)
        if len(starts) >= lines:
            return at + starts[-lines]
    return 0


def _full_line_starts(buffer: bytes, *, whole: bool) -> list[int]:
    """Offsets in the buffer where a full line of output begins (after an entry tagged F)."""
    starts, at = [0] if whole else [], 0
    while (end := buffer.find(b"\n", at)) >= 0:
        parts = buffer[at:end].split(b" ", 3)
        full = len(parts) > 2 and parts[2] == b"F"
        at = end + 1
        if full and at < len(buffer):
            starts.append(at)
    return starts


def _format(raw: bytes, options: LogOptions) -> bytes:
    line = parse_line(raw)
    if line is None or (options.since and line.time < options.since):
        return b""
    return line.time.encode() + b" " + line.text if options.timestamps else line.text


async def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's text in pieces; with follow, until the container has ended and all is read."""
    left = options.limit_bytes
    async for piece in _pieces(path, options, running):
        kept = piece if left is None else piece[:left]
        if left is not None:
            left -= len(kept)
        if kept:
            yield kept
        if left == 0:
            return


async def _pieces(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    file = path.open("rb")
    watch = Watch(str(path)) if options.follow else None
    try:
        file.seek(tail_offset(file, options.tail) if options.tail is not None else 0)
        rest = b""
        while True:
            ended = not running()
            while block := file.read(_BLOCK):
                lines = (rest + block).splitlines(keepends=True)
                rest = b"" if not lines or lines[-1].endswith(b"\n") else lines.pop()
                yield b"".join(_format(line, options) for line in lines)
                await asyncio.sleep(0)
            if watch is None or ended:
                return
            if not await watch.changed(_END_CHECK_S) and path.exists() and path.stat().st_ino != _inode(file):
                file.close()
                file, rest = path.open("rb"), b""
                watch.close()
                watch = Watch(str(path))
    finally:
        file.close()
        if watch is not None:
            watch.close()


def _inode(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino


async def rotate_logs(node: Node, runtimes: Iterable[PodRuntime]) -> None:
    """Rename logs above 10 MiB to .1 (one is kept) and have the runtime open a new file."""
    for runtime in list(runtimes):
        for container in runtime.containers:
            path = Path(container.log_path) if container.log_path else None
            if container.state is not State.RUNNING or path is None or not path.is_file():
                continue
            if path.stat().st_size > _ROTATE_BYTES:
                path.replace(path.with_name(path.name + ".1"))
                try:
                    await node.runtime.reopen_log(container.id)
                except RuntimeFailed:
                    path.with_name(path.name + ".1").replace(path)
