"""nftables through libnftables in this process: text or JSON in, one transaction each.

The problem: the nft program costs 2 ms a start and parses output meant for people. libnftables is the same
code as a library (0.06 ms for one element); its context holds a netlink socket, so it belongs to the namespace
in which it was made and keeps that alive: close it. All commands of one `run` are one kernel transaction.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import orjson

from podloom.drivers.kernel.netns import in_netns
from podloom.model.errors import PodloomError, Rejected, Stale, Unavailable, Unsupported

STATELESS, TERSE, JSON = 1 << 2, 1 << 11, 1 << 4
_NUMERIC = 1 << 7 | 1 << 8
_STALE = ("No such file or directory", "File exists", "does not exist")
_BUSY = ("Resource temporarily unavailable", "Interrupted system call", "Device or resource busy", "Cannot allocate")


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libnftables.so.1")
    except OSError as e:
        raise Unsupported("load libnftables.so.1", str(e), "install the package libnftables1") from e
    lib.nft_ctx_new.restype = ctypes.c_void_p
    lib.nft_ctx_new.argtypes = (ctypes.c_uint32,)
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(lib, name).argtypes = (ctypes.c_void_p,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(lib, name).argtypes = (ctypes.c_void_p,)
        getattr(lib, name).restype = ctypes.c_char_p
    lib.nft_ctx_output_set_flags.argtypes = (ctypes.c_void_p, ctypes.c_uint)
    lib.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return lib


class Nft:
    """A libnftables context in `netns` (name, path, "" or fd). Not for several threads at once."""

    def __init__(self, netns: int | str = "") -> None:
        self._lib = _library()
        self._netns = netns
        with in_netns(netns):
            self._ctx: int | None = self._lib.nft_ctx_new(0)
        if not self._ctx:
            raise Unavailable(f"open nftables in namespace {netns!r}", "libnftables gave no context", "repeat later")
        self._lib.nft_ctx_buffer_output(self._ctx)
        self._lib.nft_ctx_buffer_error(self._ctx)

    def close(self) -> None:
        if self._ctx:
            self._lib.nft_ctx_free(self._ctx)
            self._ctx = None

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, text: str, flags: int = 0) -> str:
        """Run commands as one transaction; their output. Raises Rejected for text that nft refuses, Stale when
        it speaks of something that is not there (or already there), Unavailable when the kernel is busy."""
        self._lib.nft_ctx_output_set_flags(self._ctx, flags | _NUMERIC)
        failed = self._lib.nft_run_cmd_from_buffer(self._ctx, text.encode())
        output: bytes = self._lib.nft_ctx_get_output_buffer(self._ctx)
        words: bytes = self._lib.nft_ctx_get_error_buffer(self._ctx)
        if failed:
            raise _error(self._netns, text, words.decode(errors="replace"))
        return output.decode()

    def json(self, command: dict[str, Any] | str) -> dict[str, Any]:
        """Run one JSON command object, or a text `list` command with JSON output."""
        text = command if isinstance(command, str) else orjson.dumps(command).decode()
        output = self.run(text, JSON)
        found: dict[str, Any] = orjson.loads(output) if output.strip() else {"nftables": []}
        return found


def _error(netns: int | str, text: str, words: str) -> PodloomError:
    lines = [line for line in words.splitlines() if line.strip()]
    found = " | ".join(lines[:3]) if lines else "failed without words"
    shown = text if len(text) <= 300 else text[:300] + " ..."
    attempted = f"nftables of namespace {netns!r}: {' '.join(shown.split())}"
    if any(word in words for word in _STALE):
        return Stale(attempted, found, "read the world again and repeat")
    if any(word in words for word in _BUSY):
        return Unavailable(attempted, found, "repeat later")
    if "Operation not permitted" in words:
        return Unsupported(attempted, found, "run as root")
    return Rejected(attempted, found, "correct the rules")
