"""The runner: marks are one, the pace is bounded, failures back off, silence ends in a resync."""

import asyncio

import pytest

from podloom.model.errors import Bug, Unavailable
from podloom.reconcile.runner import Loop


async def run_for(loop: Loop, seconds: float) -> None:
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_burst_of_marks_is_one_run() -> None:
    """A hundred marks at once cost one run, after the first one at the start."""
    runs: list[float] = []

    async def work() -> bool:
        runs.append(asyncio.get_running_loop().time())
        return True

    loop = Loop("test", work, settle_s=0.001, pace_s=0.02, resync_s=9)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.05)
    for _ in range(100):
        loop.mark()
    await asyncio.sleep(0.1)
    task.cancel()
    assert len(runs) == 2


async def test_the_pace_is_bounded() -> None:
    """Work that marks itself dirty runs at the pace, not in a busy loop."""

    async def work() -> bool:
        loop.mark()
        return True

    loop = Loop("test", work, settle_s=0.0, pace_s=0.02, resync_s=9)
    await run_for(loop, 0.2)
    assert 3 <= loop.runs <= 11


async def test_failures_back_off_and_end() -> None:
    """Errors are tried again, ever slower; a success forgets them."""
    fails = 3

    async def work() -> bool:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise Unavailable("test", "not yet")
        return True

    loop = Loop("test", work, settle_s=0.0, pace_s=0.001, resync_s=9)
    await run_for(loop, 0.2)
    assert loop.runs == 4
    assert loop.failures == 0


async def test_a_cancellation_that_meets_a_mark_is_obeyed() -> None:
    """Ending a door while events arrive ends it."""

    async def work() -> bool:
        return True

    loop = Loop("test", work, settle_s=0.0, pace_s=0.0, resync_s=9)
    for ticks in range(8):
        task = asyncio.create_task(loop.run())
        await asyncio.sleep(0.01)
        loop.mark()
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=1)
        assert done


async def test_silence_ends_in_a_resync() -> None:
    """Without any mark the work still runs."""

    async def work() -> bool:
        return True

    loop = Loop("test", work, settle_s=0.0, pace_s=0.001, resync_s=0.03)
    await run_for(loop, 0.2)
    assert loop.runs >= 3


async def test_a_bug_is_seen() -> None:
    """A broken invariant is not retried."""

    async def work() -> bool:
        raise Bug("test", "broken")

    with pytest.raises(Bug):
        await asyncio.wait_for(Loop("test", work).run(), 1)
