"""Waiting for a file to change (inotify(7)), without polling."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_IN_MODIFY, _IN_MOVE_SELF, _IN_DELETE_SELF, _IN_CREATE, _IN_MOVED_TO = 0x2, 0x800, 0x400, 0x100, 0x80
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class Watch:
    """`changed` returns when something happened to the path since the last call, or when the time is over."""

    def __init__(self, path: str) -> None:
        self._fd = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1", path)
        mask = _IN_MODIFY | _IN_MOVE_SELF | _IN_DELETE_SELF | _IN_CREATE | _IN_MOVED_TO
        if _libc.inotify_add_watch(self._fd, os.fsencode(path), mask) < 0:
            code = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(code, os.strerror(code), path)

    async def changed(self, timeout_s: float) -> bool:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, event.set)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._fd)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)
        return True

    def close(self) -> None:
        os.close(self._fd)
