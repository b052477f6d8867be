"""Lines of CRI container logs: `TIME STREAM TAGS TEXT` (Kubernetes design "CRI logging").

TIME is RFC 3339 with nanoseconds, STREAM stdout or stderr, TAGS `F` for a full line or `P` for a part of one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LogLine:
    """One entry; `text` ends in a newline when the entry ends a line."""

    time: str
    stream: str
    text: bytes


def parse_line(raw: bytes) -> LogLine | None:
    """The entry of one line of the file (with or without its newline); None when it is not one."""
    parts = raw.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    text = parts[3] if len(parts) == 4 else b""
    partial = b"P" in parts[2].split(b":")
    return LogLine(parts[0].decode(), parts[1].decode(), text if partial else text + b"\n")


def render_line(line: LogLine) -> bytes:
    """The file's bytes of an entry."""
    full = line.text.endswith(b"\n")
    text = line.text[:-1] if full else line.text
    return b" ".join([line.time.encode(), line.stream.encode(), b"F" if full else b"P", text]) + b"\n"
