"""tmpfs mounts for what must not reach a disk (mount(2), umount2(2))."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_MS_NOSUID, _MS_NODEV = 2, 4
_MNT_DETACH = 2


def mount_tmpfs(path: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None:
    """Mount a tmpfs at `path`, once: a path that is one already is left alone. OSError names the path."""
    if os.path.ismount(path):
        return
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
    if _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", _MS_NOSUID | _MS_NODEV, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))


def mounts_below(path: Path) -> list[Path]:
    """Mount points at or below `path`, deepest first (proc_pid_mountinfo(5))."""
    root = str(path)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = line.split()[4].encode().decode("unicode_escape")
        if where == root or where.startswith(root + "/"):
            found.append(where)
    return [Path(where) for where in sorted(found, key=len, reverse=True)]


def unmount_below(path: Path) -> None:
    """Detach every mount at or below `path`."""
    for where in mounts_below(path):
        _libc.umount2(os.fsencode(where), _MNT_DETACH)
