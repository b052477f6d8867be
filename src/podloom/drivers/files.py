"""Files that are whole or absent, whenever the machine stops."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Replace `path` by `data` so that a reader, or a restart after power loss, sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_if_changed(path: Path, data: bytes | str, *, mode: int = 0o644) -> bool:
    """As write_atomic, but leaves a file that already says `data` alone; tells whether it wrote."""
    wanted = data.encode() if isinstance(data, str) else data
    if path.exists() and path.read_bytes() == wanted:
        return False
    write_atomic(path, wanted, mode=mode)
    return True


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (creations, renames, removals) durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
