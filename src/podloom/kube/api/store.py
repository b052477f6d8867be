"""Durable objects in SQLite: one transaction for all writers that wait, nothing lost by kill -9.

The problem: every acknowledged write must survive a crash, yet a commit with a full sync costs a disk round
trip and must not stop the event loop. So a thread owns the database; writers hand it transactions through a
queue and it commits all that wait as one (group commit). `events` is an undo log: each row keeps what an
object was before the write, so the objects table plus the log give every revision since the last compaction,
also after a restart, without storing any value twice.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

Key = tuple[str, str, str]  # storage key (group/plural), namespace, name

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects(
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, rv INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(kind, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(
  rv INTEGER PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  at REAL NOT NULL, before BLOB);
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Change:
    """One object's step to revision rv; value None is a removal, before None a creation."""

    rv: int
    key: Key
    value: bytes | None
    before: bytes | None
    at: float


@dataclass(frozen=True)
class Snapshot:
    """Everything the database holds: objects with their revision, the undo log oldest first, revisions."""

    objects: dict[Key, tuple[int, bytes]]
    events: list[tuple[int, Key, float, bytes | None]]
    revision: int
    compacted: int


@dataclass
class _Compact:
    upto: int


Done = Callable[[BaseException | None], None]


class Store:
    """A SQLite file with its writer thread. `submit` may be called from one thread only, in revision order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[tuple[Sequence[Change] | _Compact, Done] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> Snapshot:
        """Create or read the file, start the writer thread."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = self._connect()
        try:
            db.executescript(_SCHEMA)
            snapshot = _read(db)
        finally:
            db.close()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()
        return snapshot

    def submit(self, changes: Sequence[Change], done: Done) -> None:
        """Commit changes as part of one transaction; done(error) is called on the writer thread afterwards."""
        self._queue.put((changes, done))

    def compact(self, upto: int, done: Done) -> None:
        """Forget revisions up to and including `upto`."""
        self._queue.put((_Compact(upto), done))

    def close(self) -> None:
        """Commit what waits and stop."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join()
        self._thread = None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-16384")
        return db

    def _run(self) -> None:
        db = self._connect()
        stopping = False
        while not stopping:
            batch = []
            item = self._queue.get()
            while True:
                if item is None:
                    stopping = True
                    break
                batch.append(item)
                if len(batch) >= 1000:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(db, batch)
        db.close()

    def _commit(self, db: sqlite3.Connection, batch: Sequence[tuple[Sequence[Change] | _Compact, Done]]) -> None:
        error: BaseException | None = None
        try:
            db.execute("BEGIN IMMEDIATE")
            for work, _ in batch:
                if isinstance(work, _Compact):
                    _forget(db, work.upto)
                else:
                    _write(db, work)
            db.execute("COMMIT")
        except BaseException as exc:
            error = exc
            log.error("store commit failed", error=repr(exc))
            if db.in_transaction:
                db.execute("ROLLBACK")
        for _, done in batch:
            done(error)


def _write(db: sqlite3.Connection, changes: Sequence[Change]) -> None:
    for c in changes:
        kind, namespace, name = c.key
        if c.value is None:
            db.execute("DELETE FROM objects WHERE kind=? AND namespace=? AND name=?", c.key)
        else:
            db.execute("INSERT OR REPLACE INTO objects VALUES(?,?,?,?,?)", (kind, namespace, name, c.rv, c.value))
        db.execute("INSERT INTO events VALUES(?,?,?,?,?,?)", (c.rv, kind, namespace, name, c.at, c.before))


def _forget(db: sqlite3.Connection, upto: int) -> None:
    db.execute("DELETE FROM events WHERE rv<=?", (upto,))
    db.execute("INSERT OR REPLACE INTO meta VALUES('compacted', ?)", (upto,))


def _read(db: sqlite3.Connection) -> Snapshot:
    objects: dict[Key, tuple[int, bytes]] = {}
    for kind, namespace, name, rv, value in db.execute("SELECT kind, namespace, name, rv, value FROM objects"):
        objects[(kind, namespace, name)] = (rv, value)
    rows = db.execute("SELECT rv, kind, namespace, name, at, before FROM events ORDER BY rv")
    events = [(rv, (kind, ns, name), at, before) for rv, kind, ns, name, at, before in rows]
    found = db.execute("SELECT value FROM meta WHERE key='compacted'").fetchone()
    compacted = int(found[0]) if found else 0
    revision = max([compacted, *(rv for rv, _ in objects.values()), *(e[0] for e in events[-1:])])
    return Snapshot(objects, events, revision, compacted)
