"""What long work tells while it goes on: named steps, in the order they began, with what became of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

Publish = Callable[[list[dict[str, Any]]], Awaitable[None]]
PUBLISH_PAUSE_S = 0.1


class Steps:
    """A list of {name, state: running|done|failed, at, detail} that is published when it changes, coalesced."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._entries: dict[str, dict[str, Any]] = {}
        self._dirty = asyncio.Event()

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """The body is the work of step `name`."""
        self._set(name, "running")
        try:
            yield
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._set(name, "failed", str(error))
            raise
        self._set(name, "done")

    def restart(self) -> None:
        self._entries.clear()

    def _set(self, name: str, state: str, detail: str = "") -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._entries[name] = {"name": name, "state": state, "at": at, **({"detail": detail} if detail else {})}
        self._dirty.set()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return list(self._entries.values())

    async def run(self) -> None:
        """Publish until cancelled; publishing is for people, so its failure stops nothing."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            with contextlib.suppress(Exception):
                await self._publish(self.entries)
            await asyncio.sleep(PUBLISH_PAUSE_S)
