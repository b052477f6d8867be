"""A cloud client that loses a chosen share of its calls, before or after they took effect.

The problem: who survives a refused call may still not survive one whose answer got lost. So a call fails before it
reaches the wrapped client or after it, decided by a seeded generator, and the change stream repeats what it said.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from podloom.drivers.arm.api import Change, CloudApi
from podloom.model.errors import Unavailable


class FaultyCloud:
    """`CloudApi` around `inner`; each call fails with probability `share`, half of those after taking effect."""

    def __init__(self, inner: CloudApi, *, share: float = 0.1, seed: int = 0) -> None:
        self.inner, self.share = inner, share
        self._dice = random.Random(seed)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        verb = getattr(self.inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            fate = self._dice.random()
            if fate < self.share / 2:
                raise Unavailable(f"{name} at a faulty cloud", "connection refused")
            answer = await verb(*args, **kwargs)
            if fate < self.share:
                raise Unavailable(f"{name} at a faulty cloud", "connection reset, answer lost")
            return answer

        return call

    async def changes(self, since: int = 0) -> AsyncIterator[Change]:
        """The inner stream; now and then it breaks and, as the real one, resumes after the last change seen."""
        while True:
            async for change in self.inner.changes(since):
                since = 0 if change.marker == "snapshot" else max(since, change.seq)
                yield change
                if self._dice.random() < self.share:
                    break
