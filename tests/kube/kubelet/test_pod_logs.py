"""Reading container logs: tail, since, limits, partial lines, following and rotation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.kube.kubelet.logs import LogOptions, read_log, since_text, tail_offset

T = "2026-01-01T00:00:0{}.000000000Z"


def write(path: Path, *lines: tuple[int, str, str]) -> None:
    with path.open("a") as file:
        for second, tag, text in lines:
            file.write(f"{T.format(second)} stdout {tag} {text}\n")


async def whole(path: Path, options: LogOptions, *, running: bool = False) -> bytes:
    return b"".join([piece async for piece in read_log(path, options, lambda: running)])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    write(path, (1, "F", "one"), (2, "P", "tw"), (2, "F", "o"), (3, "F", ""), (4, "F", "four"))
    return path


async def test_options(log: Path) -> None:
    assert await whole(log, LogOptions()) == b"one\ntwo\n\nfour\n"
    assert await whole(log, LogOptions(tail=3)) == b"two\n\nfour\n"
    assert await whole(log, LogOptions(tail=0)) == b""
    assert await whole(log, LogOptions(tail=99)) == b"one\ntwo\n\nfour\n"
    assert await whole(log, LogOptions(limit_bytes=5)) == b"one\nt"
    assert await whole(log, LogOptions(since=since_text(None, "2026-01-01T00:00:03Z"))) == b"\nfour\n"
    assert await whole(log, LogOptions(tail=1, timestamps=True)) == f"{T.format(4)} four\n".encode()


@given(
    st.lists(st.tuples(st.booleans(), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9))),
    st.integers(0, 8),
)
def test_tail_begins_at_a_line(entries: list[tuple[bool, str]], count: int) -> None:
    """The offset is where the last `count` full lines begin, partial entries counted with the line they begin."""
    import io

    data, starts, fresh = b"", [0], True
    for full, text in entries:
        if fresh and data:
            starts.append(len(data))
        data += f"{T.format(1)} stdout {'F' if full else 'P'} {text}\n".encode()
        fresh = full
    expected = len(data) if count == 0 or not entries else starts[-count] if count <= len(starts) else 0
    assert tail_offset(io.BytesIO(data), count) == expected


async def test_follow_until_the_container_ends(log: Path) -> None:
    """New lines come at once; after the end everything written is delivered, then the stream ends."""
    alive, got = True, b""
    stream = read_log(log, LogOptions(follow=True, tail=1), lambda: alive)
    got += await anext(stream)
    write(log, (5, "F", "five"))
    async with asyncio.timeout(1):
        while b"five" not in got:
            got += await anext(stream)
    write(log, (6, "F", "six"))
    alive = False
    async with asyncio.timeout(5):
        async for piece in stream:
            got += piece
    assert got == b"four\nfive\nsix\n"


async def test_follow_over_a_rotation(log: Path) -> None:
    """A renamed file and a new one under the name: the stream goes on with the new one."""
    stream = read_log(log, LogOptions(follow=True, tail=0), lambda: True)
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    log.replace(log.with_name("0.log.1"))
    write(log, (7, "F", "seven"))
    async with asyncio.timeout(5):
        got = await task
        while b"seven" not in got:
            got += await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
