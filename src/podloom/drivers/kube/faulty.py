"""A client that fails a chosen share of its calls before or after they took effect.

The problem: a caller that survives a refused call may still not survive one whose answer got lost. So a call
fails either before it reaches the wrapped client or after it, decided by a seeded generator, and watches break
after a few events.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from podloom.drivers.kube.api import KubeApi
from podloom.model.errors import Unavailable
from podloom.model.kube import Object, Resource


class FaultyKube:
    """`KubeApi` around `inner`; each call fails with probability `share`, half of those after taking effect."""

    def __init__(self, inner: KubeApi, *, share: float = 0.1, seed: int = 0) -> None:
        self.inner, self.share = inner, share
        self._dice = random.Random(seed)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        verb = getattr(self.inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            fate = self._dice.random()
            if fate < self.share / 2:
                raise Unavailable(f"{name} at a faulty API server", "connection refused")
            answer = await verb(*args, **kwargs)
            if fate < self.share:
                raise Unavailable(f"{name} at a faulty API server", "connection reset, answer lost")
            return answer

        return call

    async def watch(self, res: Resource, *args: Any, **kwargs: Any) -> AsyncGenerator[tuple[str, Object], None]:
        async with aclosing(self.inner.watch(res, *args, **kwargs)) as events:
            async for event in events:
                if self._dice.random() < self.share:
                    raise Unavailable(f"watch of {res.plural} at a faulty API server", "connection reset")
                yield event
