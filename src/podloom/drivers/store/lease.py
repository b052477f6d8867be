"""The lease store: the agent's one durable decision.

The problem: an address in two pods, or one that nobody holds and nobody can get, must be impossible whatever dies
when. So leases are rows of a SQLite database in WAL mode with `synchronous=FULL` (a commit that was answered
survives power loss), and UNIQUE(address) is a constraint of the database, not a promise of the code. A
commit takes a whole batch, so many pods at once cost one sync. A file lock keeps a second agent out.

Small facts the agent must remember share the file (`meta`): the boot it was written in, the last known
NodeNetworkConfig, the last address handed out per range.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from podloom.model.cni import Attachment
from podloom.model.errors import Bug, Unavailable
from podloom.model.lease import Lease

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (
    container_id TEXT NOT NULL, ifname TEXT NOT NULL, netns TEXT NOT NULL, pod_namespace TEXT NOT NULL,
    pod_name TEXT NOT NULL, pod_uid TEXT NOT NULL, network TEXT NOT NULL, created_s REAL NOT NULL,
    PRIMARY KEY (container_id, ifname)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease_address (
    address TEXT NOT NULL PRIMARY KEY, container_id TEXT NOT NULL, ifname TEXT NOT NULL, position INTEGER NOT NULL,
    FOREIGN KEY (container_id, ifname) REFERENCES lease ON DELETE CASCADE) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lease_address_owner ON lease_address (container_id, ifname);
"""


class LeaseStore:
    """Leases on disk. Not for use by two threads; `path` may be ":memory:" (then nothing lasts and nothing locks)."""

    def __init__(self, path: str | Path) -> None:
        self._lock = None if str(path) == ":memory:" else _lock(Path(path))
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-512"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self.close()
            raise Unavailable(
                f"open the lease store {path}", f"{error}", "check the disk; a broken file may be moved away"
            ) from error

    def leases(self) -> list[Lease]:
        """Every lease, addresses in the order they were given."""
        addresses: dict[Attachment, list[str]] = {}
        query = "SELECT container_id, ifname, address FROM lease_address ORDER BY container_id, ifname, position"
        for container_id, ifname, address in self._db.execute(query):
            addresses.setdefault(Attachment(container_id, ifname), []).append(address)
        found = []
        for row in self._db.execute(
            "SELECT container_id, ifname, netns, pod_namespace, pod_name, pod_uid, network, created_s FROM lease"
        ):
            attachment = Attachment(row[0], row[1])
            found.append(Lease(attachment, tuple(map(ip_address, addresses.get(attachment, ()))), *row[2:]))
        return found

    def commit(
        self,
        *,
        add: Iterable[Lease] = (),
        delete: Iterable[Attachment] = (),
        meta: Mapping[str, str] | None = None,
    ) -> None:
        """Delete, then add, in one transaction that is on disk when this returns; all or nothing.

        Raises Bug when an address or an attachment is already leased, Unavailable when the disk fails.
        """
        added = list(add)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._delete(delete)
                self._add(added)
                if meta:
                    self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            who = ", ".join(f"{lease.pod} {'/'.join(map(str, lease.addresses))}" for lease in added)
            raise Bug(f"lease addresses to {who}", f"already leased: {error}") from error
        except sqlite3.Error as error:
            raise Unavailable("write the lease store", f"{error}", "check the disk") from error

    def clear(self, meta: Mapping[str, str]) -> None:
        """Forget every lease (a new boot has no pods) and remember `meta`, in one transaction."""
        self.commit(delete=[lease.attachment for lease in self.leases()], meta=meta)

    def meta(self, key: str) -> str | None:
        """The remembered value of `key`."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close the database and let another process have it."""
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _delete(self, attachments: Iterable[Attachment]) -> None:
        self._db.executemany(
            "DELETE FROM lease WHERE container_id = ? AND ifname = ?",
            [(item.container_id, item.ifname) for item in attachments],
        )

    def _add(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            key = (lease.attachment.container_id, lease.attachment.ifname)
            self._db.execute(
                "INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, lease.netns, lease.pod_namespace, lease.pod_name, lease.pod_uid, lease.network, lease.created_s),
            )
            self._db.executemany(
                "INSERT INTO lease_address VALUES (?, ?, ?, ?)",
                [(str(address), *key, index) for index, address in enumerate(lease.addresses)],
            )


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(
            f"open the lease store {path}", "another agent holds it", "stop the other agent first"
        ) from error
    return descriptor
