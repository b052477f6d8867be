"""Waiting in line by name: who works on one thing at a time, first come first served.

The problem: verbs about one container, or about one host interface name, must not overlap, while those about others
must not wait; and a node sees hundreds of thousands of names in its life, so a name nobody waits for is forgotten.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """Locks by name, in the order they were asked for. Belongs to one event loop."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = defaultdict(_Turn)

    def busy(self, name: str) -> bool:
        """Whether somebody works on `name` or waits to."""
        return name in self._turns

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Have `name` for oneself."""
        turn = self._turns[name]
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[name]
