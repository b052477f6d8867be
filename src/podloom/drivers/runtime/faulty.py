"""A runtime that fails a chosen share of its calls, before or after they took effect, and loses events.

The problem: a call whose answer is lost has happened all the same (a sandbox nobody knows of, a container that
runs); whoever survives that survives a kill -9 between two calls.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from podloom.drivers.runtime.api import Runtime, RuntimeFailed
from podloom.model.runtime import Event


class FaultyRuntime:
    """Runtime around `inner`; each call fails with probability `share`, half of those after taking effect."""

    def __init__(self, inner: Runtime, *, share: float = 0.1, seed: int = 0) -> None:
        self.inner, self.share = inner, share
        self._dice = random.Random(seed)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        real = getattr(self.inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            fate = self._dice.random()
            if fate < self.share / 2:
                raise RuntimeFailed(f"{name} at a faulty runtime", "connection refused", "UNAVAILABLE")
            answer = await real(*args, **kwargs)
            if fate < self.share:
                raise RuntimeFailed(f"{name} at a faulty runtime", "connection reset, answer lost", "UNAVAILABLE")
            return answer

        return call

    async def events(self) -> AsyncIterator[Event]:
        async for event in self.inner.events():
            fate = self._dice.random()
            if fate < self.share / 2:
                raise RuntimeFailed("events of a faulty runtime", "connection reset", "UNAVAILABLE")
            if fate >= self.share:
                yield event
