"""Putting the plugin and its configuration where the runtime looks.

The problem: a runtime may start a plugin or read a list at any moment, so no file may ever be half there, and the list
must not be there before the node can serve. Files are written aside, synced and renamed; a file that is already
right is left alone. The reference plugins portmap and loopback come from the distribution; without portmap the list
leaves it out, and without loopback the plugin executable takes its name (the agent brings `lo` up).
"""

from __future__ import annotations

import os
from pathlib import Path

from podloom.render.conflist import FILE_NAME, overlay_conflist, render_conflist

PLUGIN_NAMES = ("azure-vnet", "azure-vnet-ipam", "azure-ipam")
PORTMAP, LOOPBACK = "portmap", "loopback"


def install_plugins(executable: Path, plugin_dir: Path, reference_dir: Path) -> bool:
    """Install the executable under its names and the reference plugins beside it; True when portmap is there."""
    program = executable.read_bytes()
    for name in PLUGIN_NAMES:
        write_atomically(plugin_dir / name, program, 0o755)
    for name in (PORTMAP, LOOPBACK):
        reference = reference_dir / name
        if reference.exists() and not (plugin_dir / name).exists():
            write_atomically(plugin_dir / name, reference.read_bytes(), 0o755)
    if not (plugin_dir / LOOPBACK).exists():
        write_atomically(plugin_dir / LOOPBACK, program, 0o755)
    return (plugin_dir / PORTMAP).exists()


def install_conflist(folder: Path, *, portmap: bool) -> bool:
    """Write the configuration list; True when it had to be written."""
    return write_atomically(folder / FILE_NAME, render_conflist(overlay_conflist(portmap=portmap)), 0o644)


def installed(plugin_dir: Path, conflist_dir: Path) -> bool:
    """Whether the plugin and the list are where the runtime looks (their content is compared when written)."""
    return (conflist_dir / FILE_NAME).exists() and all((plugin_dir / name).exists() for name in PLUGIN_NAMES)


def write_atomically(path: Path, content: bytes, mode: int) -> bool:
    """Make `path` hold `content`, never half; False when it did already."""
    try:
        if path.stat().st_mode & 0o777 == mode and path.read_bytes() == content:
            return False
    except OSError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    fresh.replace(path)
    return True
