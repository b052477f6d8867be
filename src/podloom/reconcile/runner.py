"""The runner: reconcile when marked dirty, at a bounded pace, and now and then anyway.

The problem: events come in bursts and get lost, work fails, and neither may turn into a busy loop or into silence.
So marks are counted as one, a pause between two runs bounds the pace (longer after each failure, up to a limit),
and a resync runs when nothing was marked for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from podloom.model.errors import Bug, PodloomError

log = structlog.get_logger()


class Loop:
    """Runs `work` forever. `work` answers whether the world is as wanted; False is tried again, ever slower.

    settle_s: wait after a mark, so that a burst is one run. pace_s: pause between runs. resync_s: run at least
    this often. retry_s: the longest pause after failures."""

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[bool]],
        *,
        settle_s: float = 0.005,
        pace_s: float = 0.1,
        resync_s: float = 30.0,
        retry_s: float = 5.0,
    ) -> None:
        self._name = name
        self._work = work
        self._settle_s = settle_s
        self._pace_s = pace_s
        self._resync_s = resync_s
        self._retry_s = retry_s
        self._dirty = asyncio.Event()
        self.runs = 0
        self.failures = 0

    def mark(self) -> None:
        """Something may have changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Until cancelled. A Bug ends it; every other error is logged and tried again."""
        self.mark()
        while True:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets a mark.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self._dirty.wait()
                await asyncio.sleep(self._settle_s)
            self._dirty.clear()
            await self._once()
            await asyncio.sleep(self._pace_s)

    def _wait_s(self) -> float:
        if not self.failures:
            return self._resync_s
        return float(min(self._pace_s * 2 ** min(self.failures, 10), self._retry_s, self._resync_s))

    async def _once(self) -> None:
        self.runs += 1
        try:
            done = await self._work()
        except Bug:
            raise
        except (PodloomError, OSError) as error:
            log.warning("reconciliation failed", loop=self._name, error=str(error), failures=self.failures + 1)
            done = False
        self.failures = 0 if done else self.failures + 1
