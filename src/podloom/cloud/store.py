"""The cloud's memory: resources, operations and allocations in one SQLite file.

The problem: what the cloud has answered must be true after a kill -9 or a power cut, and every change must reach
the watchers, in order, exactly as committed. So each request is one transaction (WAL, synchronous FULL); every
write of a resource takes the next sequence number in the same transaction; a removed resource leaves a tombstone
with its number. The stream of changes is then simply "rows with a larger number": no separate log can disagree.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sqlite3
import uuid
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from podloom.model.arm import ResourceId
from podloom.render.arm import Json, overlay

_TOMBSTONES_KEPT = 20_000
_OPERATIONS_KEPT = 5_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources(
  key TEXT PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, grp TEXT NOT NULL, parent TEXT NOT NULL,
  body TEXT NOT NULL, reported TEXT NOT NULL, generation INTEGER NOT NULL, seq INTEGER NOT NULL UNIQUE) STRICT;
CREATE INDEX IF NOT EXISTS resources_by_type ON resources(type, grp);
CREATE INDEX IF NOT EXISTS resources_by_group ON resources(grp);
CREATE INDEX IF NOT EXISTS resources_by_parent ON resources(parent);
CREATE TABLE IF NOT EXISTS tombstones(
  key TEXT PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, seq INTEGER NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS operations(
  id TEXT PRIMARY KEY, key TEXT NOT NULL, verb TEXT NOT NULL, generation INTEGER NOT NULL, status TEXT NOT NULL,
  error TEXT, started TEXT NOT NULL, ended TEXT) STRICT;
CREATE INDEX IF NOT EXISTS operations_by_key ON operations(key, status);
CREATE TABLE IF NOT EXISTS addresses(
  pool TEXT NOT NULL, address TEXT NOT NULL, owner TEXT NOT NULL, part TEXT NOT NULL,
  PRIMARY KEY(pool, address), UNIQUE(pool, owner, part)) STRICT;
CREATE INDEX IF NOT EXISTS addresses_by_owner ON addresses(owner);
CREATE TABLE IF NOT EXISTS secrets(key TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY(key, name)) STRICT;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Row:
    """One stored resource: `body` is the wish (location, tags, properties ...), `reported` what became of it."""

    id: ResourceId
    body: Json
    reported: Json = field(default_factory=dict)
    generation: int = 1
    seq: int = 0

    @property
    def state(self) -> str:
        """provisioningState: Creating, Updating, Succeeded, Failed or Deleting."""
        return str(self.reported.get("provisioningState", "Succeeded"))

    @property
    def properties(self) -> Json:
        """The wish and the report joined, as readers see them."""
        joined: Json = overlay(self.body.get("properties", {}), self.reported)
        own = {**joined.get("podloom", {}), "generation": self.generation}
        return {**joined, "podloom": own}

    def view(self) -> Json:
        """The resource as ARM shows it."""
        head: Json = {"id": str(self.id), "name": self.id.name, "type": self.id.type}
        rest = {key: value for key, value in self.body.items() if key != "properties"}
        if self.id.type.startswith("Microsoft.Network/"):
            rest["etag"] = f'W/"{self.generation}-{self.seq}"'
        return {**head, **rest, "properties": self.properties}


@dataclass(frozen=True)
class Tombstone:
    id: str
    type: str
    seq: int


@dataclass(frozen=True)
class Operation:
    """A long operation: what an Azure-AsyncOperation address answers for."""

    id: str
    key: str
    verb: str
    generation: int
    status: str
    error: Json | None
    started: str
    ended: str | None


class Store:
    """Resources by key (ResourceId.key). Reads work anywhere; writes only inside `transaction`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        path.chmod(0o600)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._changed = asyncio.Event()
        self._numbers: dict[str, list[int]] = {}

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are committed together, or none; watchers wake after the commit."""
        before = self.seq
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._numbers.clear()
            raise
        self._db.execute("COMMIT")
        if self.seq != before:
            self._changed.set()
            self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next commit that changes a resource; take it before reading, to miss nothing."""
        return self._changed

    # resources

    def get(self, key: str) -> Row | None:
        return next(self._rows("WHERE key = ?", key), None)

    def of_type(self, type_: str, group_key: str = "") -> list[Row]:
        """All resources of `type_`, of one resource group when `group_key` is given, ordered by name."""
        if group_key:
            return list(self._rows("WHERE type = ? AND grp = ? ORDER BY key", type_.lower(), group_key))
        return list(self._rows("WHERE type = ? ORDER BY key", type_.lower()))

    def in_group(self, group_key: str) -> list[Row]:
        return list(self._rows("WHERE grp = ? AND key <> grp ORDER BY key", group_key))

    def children(self, key: str) -> list[Row]:
        return list(self._rows("WHERE parent = ? ORDER BY key", key))

    def write(self, row: Row) -> Row:
        """Store `row` under the next sequence number; returns it as stored."""
        seq = self._next_seq()
        key = row.id.key
        values = (str(row.id), orjson.dumps(row.body).decode(), orjson.dumps(row.reported).decode())
        self._db.execute("DELETE FROM tombstones WHERE key = ?", (key,))
        self._db.execute(
            "INSERT INTO resources(key, id, type, grp, parent, body, reported, generation, seq)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET"
            " body = excluded.body, reported = excluded.reported, generation = excluded.generation,"
            " seq = excluded.seq",
            (
                key,
                values[0],
                row.id.type.lower(),
                row.id.group_id.key,
                row.id.parent.key,
                values[1],
                values[2],
                row.generation,
                seq,
            ),
        )
        return Row(row.id, row.body, row.reported, row.generation, seq)

    def remove(self, row: Row) -> None:
        """Remove a resource with its addresses and secrets; its tombstone tells the watchers."""
        key, seq = row.id.key, self._next_seq()
        self._numbers.clear()
        for table, column in (("resources", "key"), ("addresses", "owner"), ("secrets", "key")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (key,))
        self._db.execute(
            "INSERT OR REPLACE INTO tombstones(key, id, type, seq) VALUES(?, ?, ?, ?)",
            (key, str(row.id), row.id.type, seq),
        )
        self._prune_tombstones()

    # changes

    @property
    def seq(self) -> int:
        return int(self.meta("seq") or 0)

    @property
    def pruned_seq(self) -> int:
        """Changes up to this number may be missing from `changes_after`."""
        return int(self.meta("pruned") or 0)

    def changes_after(self, seq: int, limit: int = 500) -> list[Row | Tombstone]:
        """The latest state of what changed after `seq`, in order, at most `limit` of it."""
        rows: list[Row | Tombstone] = list(self._rows("WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit))
        query = "SELECT id, type, seq FROM tombstones WHERE seq > ? ORDER BY seq LIMIT ?"
        rows.extend(Tombstone(*found) for found in self._db.execute(query, (seq, limit)))
        return sorted(rows, key=lambda change: change.seq)[:limit]

    # operations

    def begin(self, key: str, verb: str, generation: int, now: str) -> Operation:
        """A new operation on `key`. A delete cancels what is in progress; other wishes join and end together."""
        if verb == "delete":
            self.end(key, "Canceled", {"code": "OperationPreempted", "message": "superseded by a delete"}, now)
        operation = Operation(str(uuid.uuid4()), key, verb, generation, "InProgress", None, now, None)
        self._db.execute(
            "INSERT INTO operations(id, key, verb, generation, status, started) VALUES(?, ?, ?, ?, ?, ?)",
            (operation.id, key, verb, generation, "InProgress", now),
        )
        self._db.execute(
            "DELETE FROM operations WHERE status <> 'InProgress' AND rowid <= (SELECT MAX(rowid) FROM operations) - ?",
            (_OPERATIONS_KEPT,),
        )
        return operation

    def end(self, key: str, status: str, error: Json | None, now: str) -> None:
        """End every operation in progress on `key`."""
        text = None if error is None else orjson.dumps(error).decode()
        self._db.execute(
            "UPDATE operations SET status = ?, error = ?, ended = ? WHERE key = ? AND status = 'InProgress'",
            (status, text, now, key),
        )

    def operation(self, id_: str) -> Operation | None:
        return next(self._operations("WHERE id = ?", id_), None)

    def in_flight(self, key: str) -> Operation | None:
        return next(self._operations("WHERE key = ? AND status = 'InProgress' ORDER BY rowid DESC", key), None)

    # addresses

    def address_of(self, pool: str, owner: str, part: str) -> str | None:
        query = "SELECT address FROM addresses WHERE pool = ? AND owner = ? AND part = ?"
        return self._one(query, pool, owner, part)

    def owner_of(self, pool: str, address: str) -> str | None:
        return self._one("SELECT owner FROM addresses WHERE pool = ? AND address = ?", pool, address)

    def taken(self, pool: str) -> dict[str, str]:
        """Addresses in use of `pool` and the keys of their owners."""
        query = "SELECT address, owner FROM addresses WHERE pool = ?"
        return dict(self._db.execute(query, (pool,)).fetchall())

    def numbers(self, pool: str) -> list[int]:
        """The IP addresses in use of `pool` as sorted numbers; kept in memory, as a large pool is asked for often."""
        if pool not in self._numbers:
            self._numbers[pool] = sorted(int(ipaddress.ip_address(address)) for address in self.taken(pool))
        return self._numbers[pool]

    def take(self, pool: str, address: str, owner: str, part: str) -> None:
        """Give `address` to one part of `owner` (e.g. an ipConfiguration), instead of what that part had."""
        query = "DELETE FROM addresses WHERE pool = ? AND owner = ? AND part = ?"
        if self._db.execute(query, (pool, owner, part)).rowcount:
            self._numbers.pop(pool, None)
        self._db.execute("INSERT INTO addresses VALUES(?, ?, ?, ?)", (pool, address, owner, part))
        if pool in self._numbers:
            insort(self._numbers[pool], int(ipaddress.ip_address(address)))

    def free_except(self, owner: str, kept: set[tuple[str, str]]) -> None:
        """Free the addresses of `owner` whose (pool, part) is not in `kept`."""
        query = "SELECT pool, part FROM addresses WHERE owner = ?"
        for pool, part in self._db.execute(query, (owner,)).fetchall():
            if (pool, part) not in kept:
                self._numbers.pop(pool, None)
                self._db.execute("DELETE FROM addresses WHERE owner = ? AND pool = ? AND part = ?", (owner, pool, part))

    # secrets and meta

    def secret(self, key: str, name: str) -> str | None:
        return self._one("SELECT value FROM secrets WHERE key = ? AND name = ?", key, name)

    def keep_secret(self, key: str, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO secrets VALUES(?, ?, ?)", (key, name, value))

    def meta(self, name: str) -> str | None:
        return self._one("SELECT value FROM meta WHERE name = ?", name)

    def set_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (name, value))

    def _next_seq(self) -> int:
        seq = self.seq + 1
        self.set_meta("seq", str(seq))
        return seq

    def _prune_tombstones(self) -> None:
        query = "SELECT seq FROM tombstones ORDER BY seq DESC LIMIT 1 OFFSET ?"
        oldest = self._db.execute(query, (_TOMBSTONES_KEPT,)).fetchone()
        if oldest:
            self._db.execute("DELETE FROM tombstones WHERE seq <= ?", oldest)
            self.set_meta("pruned", str(oldest[0]))

    def _one(self, query: str, *values: str) -> str | None:
        found = self._db.execute(query, values).fetchone()
        return None if found is None else str(found[0])

    def _rows(self, where: str, *values: str | int) -> Iterator[Row]:
        query = f"SELECT id, body, reported, generation, seq FROM resources {where}"
        for id_, body, reported, generation, seq in self._db.execute(query, values).fetchall():
            parsed = ResourceId.parse(id_)
            yield Row(parsed, orjson.loads(body), orjson.loads(reported), generation, seq)

    def _operations(self, where: str, *values: str) -> Iterator[Operation]:
        columns = "id, key, verb, generation, status, error, started, ended"
        query = f"SELECT {columns} FROM operations {where}"
        for id_, key, verb, generation, status, error, started, ended in self._db.execute(query, values).fetchall():
            reason = orjson.loads(error) if error else None
            yield Operation(id_, key, verb, generation, status, reason, started, ended)
