"""A work queue of keys: many events, one visit; failures come back later and later.

The problem: events arrive faster than they are worked on and a failing key must neither block the others nor be
forgotten. A key is in the queue at most once, is never worked on by two workers, is queued again when it was
marked during work, and returns after a bounded, doubling wait when its work failed. The number of keys bounds
the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

from podloom.drivers.kube import Backoff

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys waiting for a worker. Not for threads."""

    def __init__(self, *, first_s: float = 0.02, most_s: float = 15.0) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._ready: dict[K, None] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._backoff: dict[K, Backoff] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._working)

    def add(self, key: K) -> None:
        """Mark `key` dirty."""
        if key in self._working:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._wake.set()

    def add_after(self, key: K, wait_s: float) -> None:
        """Mark `key` dirty in `wait_s` seconds; of several such requests the earliest counts."""
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + wait_s:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(max(0.0, wait_s), self._fire, key)

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def take(self) -> K:
        """The oldest waiting key; the caller must call `done` or `failed` with it."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key = next(iter(self._ready))
        del self._ready[key]
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Work on `key` succeeded."""
        self._backoff.pop(key, None)
        self._finish(key)

    def failed(self, key: K) -> float:
        """Work on `key` failed; it returns after the wait this answers, in seconds."""
        wait_s = self._backoff.setdefault(key, Backoff(self._first_s, self._most_s)).next_s()
        self._finish(key)
        self.add_after(key, wait_s)
        return wait_s

    def _finish(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
