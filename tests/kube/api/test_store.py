"""The store: what was acknowledged is there after any end, and older revisions can be told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from podloom.kube.api import state as state_module
from podloom.kube.api.state import State, Step
from podloom.kube.api.store import Change, Store

_WRITER = """
import sys, threading
from pathlib import Path
from podloom.kube.api.store import Change, Store
store = Store(Path(sys.argv[1]))
store.open()
for n in range(1, 100_000):
    done = threading.Event()
    store.submit([Change(n, ("g/k", "ns", f"o{n}"), b"{}", None, 0.0)], lambda _error, done=done: done.set())
    done.wait()
    print(n, flush=True)
"""


def test_kill_loses_no_acknowledged_write(tmp_path: Path) -> None:
    """Every write that was acknowledged before kill -9 is read back."""
    path = tmp_path / "s.db"
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = 0
    for line in process.stdout:
        last = int(line)
        if last >= 50:
            break
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    last = max([last, *(int(n) for n in rest if n.isdigit())])
    store = Store(path)
    found = store.open()
    store.close()
    assert {("g/k", "ns", f"o{n}") for n in range(1, last + 1)} <= set(found.objects)


def test_waiting_writers_share_a_transaction(tmp_path: Path) -> None:
    """Writes that wait are committed together, in order, and each is told."""
    store = Store(tmp_path / "s.db")
    store.open()
    told: list[int] = []
    last = threading.Event()
    for n in range(1, 501):

        def done(_error: BaseException | None, n: int = n) -> None:
            told.append(n)
            if n == 500:
                last.set()

        store.submit([Change(n, ("g/k", "", f"o{n}"), b"{}", None, 0.0)], done)
    assert last.wait(10)
    store.close()
    assert told == list(range(1, 501))


def _obj(name: str, value: int) -> dict[str, object]:
    return {"kind": "K", "apiVersion": "v1", "metadata": {"name": name}, "value": value}


async def _decide(state: State, name: str, value: int | None) -> int:
    step = Step(("g/k", "ns", name), None if value is None else _obj(name, value))
    events, done = state.decide([step])
    await done
    return events[0].rv


def _fail(error: BaseException) -> None:
    raise error


async def _open(path: Path) -> State:
    state = State(Store(path), on_fatal=_fail)
    state.open()
    return state


def _values(state: State, rv: int) -> dict[str, int] | None:
    found = state.at_revision("g/k", "ns", rv)
    return None if found is None else {r.name: r.obj["value"] for r in found}


async def test_every_revision_since_compaction_can_be_read(tmp_path: Path) -> None:
    """Lists at older revisions are exact, before and after a restart; compacted ones are refused."""
    state = await _open(tmp_path / "s.db")
    first = await _decide(state, "a", 1)
    second = await _decide(state, "b", 2)
    third = await _decide(state, "a", 3)
    fourth = await _decide(state, "b", None)
    expected = {first: {"a": 1}, second: {"a": 1, "b": 2}, third: {"a": 3, "b": 2}, fourth: {"a": 3}}
    assert {rv: _values(state, rv) for rv in expected} == expected
    state.close()
    state = await _open(tmp_path / "s.db")
    assert {rv: _values(state, rv) for rv in expected} == expected
    assert [e.rv for e in state.since("g/k", second)] == [third, fourth]
    state.compact(upto=second)
    assert _values(state, first) is None
    assert _values(state, third) == expected[third]
    await asyncio.sleep(0)
    state.close()
    state = await _open(tmp_path / "s.db")
    assert (_values(state, first), _values(state, fourth)) == (None, {"a": 3})
    assert state.revision == fourth
    state.close()


async def test_readers_see_a_write_only_when_it_is_durable(tmp_path: Path) -> None:
    """head has the decision at once, the visible table after the commit."""
    state = await _open(tmp_path / "s.db")
    _, done = state.decide([Step(("g/k", "ns", "a"), _obj("a", 1))])
    assert state.head_get("g/k", "ns", "a") is not None
    assert state.table("g/k").get("ns", "a") is None
    await done
    assert state.table("g/k").get("ns", "a") is not None
    state.close()


async def test_history_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large objects that change all the time do not fill the memory, though younger events would be kept."""
    monkeypatch.setattr(state_module, "KEEP_EVENTS_MIN", 10)
    monkeypatch.setattr(state_module, "KEEP_BYTES_MAX", 1000)
    state = await _open(tmp_path / "s.db")
    for n in range(100):
        await _decide(state, "a", n)
    assert state.compact() > 50
    assert _values(state, state.revision) == {"a": 99}
    state.close()
