"""Which outbound address each virtual network was given, kept in one small file.

Established connections through a network survive a restart of the fabric only if its address does. A lost or
spoiled file costs no more than that.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson


class OutboundStore:
    """`outbound.json` in the state folder; replaced whole, so a reader or a crash never sees half of it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "outbound.json"

    def read(self) -> dict[str, str]:
        """Address by VNet id; empty when there is no usable file."""
        try:
            found = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    def write(self, assigned: dict[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(orjson.dumps(assigned))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
