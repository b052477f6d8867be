"""Targets over the kernel: one per kind of row, and one for nftables, which changes in whole transactions."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from podloom.drivers.kernel.api import Kernel
from podloom.model.errors import PodloomError, Unavailable
from podloom.model.rows import Key, Kind, RowId
from podloom.reconcile.engine import Change, Scope, Target

READ_TRIES = 4
NETLINK_KINDS = (Kind.LINK, Kind.ADDRESS, Kind.SYSCTL, Kind.ROUTE, Kind.RULE, Kind.NEIGHBOUR)


def kernel_targets(kernel: Kernel, namespaces: Collection[str] = ()) -> list[Target]:
    """All kinds, in dependency order. A whole reading covers the namespaces with our name prefix, those that
    wanted rows name, and `namespaces` (where leftovers of ours may be, e.g. "" for the process's own)."""
    extra = frozenset(namespaces)
    targets: list[Target] = [NetnsTarget(kernel)]
    targets += [RowTarget(kernel, kind, extra) for kind in NETLINK_KINDS]
    targets.append(NftTarget(kernel, extra))
    return targets


class NetnsTarget:
    """Namespaces by name."""

    kinds: tuple[Kind, ...] = (Kind.NETNS,)
    atomic = False

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def begin(self) -> None:
        self._kernel.refresh()

    def read(self, scope: Scope) -> dict[RowId, Any]:
        found: dict[RowId, Any] = {}
        if scope.whole:
            found = {RowId(Kind.NETNS, (name,)): None for name in self._kernel.namespaces()}
        for row_id in scope.rows.keys() - found.keys():
            for key in _read(self._kernel, Kind.NETNS, str(row_id.key[0]), {row_id.key: None}, whole=False):
                found[RowId(Kind.NETNS, key)] = None
        return found

    def apply(self, upserts: Sequence[Change], deletes: Mapping[RowId, Any]) -> dict[RowId, PodloomError]:
        failures = self._kernel.write(Kind.NETNS, "", {c.row.key: None for c in upserts}, {}) if upserts else {}
        if deletes:
            failures |= self._kernel.delete(Kind.NETNS, "", {row_id.key: None for row_id in deletes})
        return {RowId(Kind.NETNS, key): error for key, error in failures.items()}

    def end(self) -> None:
        self._kernel.release()


class RowTarget:
    """Rows of one netlink kind, or settings, grouped by namespace into one batch each."""

    atomic = False

    def __init__(self, kernel: Kernel, kind: Kind, namespaces: frozenset[str] = frozenset()) -> None:
        self._kernel = kernel
        self._kind = kind
        self._namespaces = namespaces
        self.kinds: tuple[Kind, ...] = (kind,)

    def begin(self) -> None:
        """Interfaces are looked up once per round, by whoever is first; links forget what they change."""

    def read(self, scope: Scope) -> dict[RowId, Any]:
        wanted = _by_netns({row_id: row.value for row_id, row in scope.rows.items()})
        places = set(wanted)
        if scope.whole and self._kind is not Kind.SYSCTL:
            places |= self._kernel.namespaces() | self._namespaces
        found: dict[RowId, Any] = {}
        for netns in places:
            whole = scope.whole and netns not in self._kernel.tag.guarded
            rows = _read(self._kernel, self._kind, netns, wanted.get(netns, {}), whole=whole)
            found.update((RowId(self._kind, key), value) for key, value in rows.items())
        return found

    def apply(self, upserts: Sequence[Change], deletes: Mapping[RowId, Any]) -> dict[RowId, PodloomError]:
        failures: dict[Key, PodloomError] = {}
        old = {c.row.key: c.old for c in upserts if c.exists}
        for netns, rows in _by_netns({c.row.id: c.row.value for c in upserts}).items():
            mine = {key: value for key, value in old.items() if key in rows}
            failures |= self._kernel.write(self._kind, netns, rows, mine)
        for netns, rows in _by_netns(deletes).items():
            failures |= self._kernel.delete(self._kind, netns, rows)
        return {RowId(self._kind, key): error for key, error in failures.items()}

    def end(self) -> None:
        self._kernel.release()


class NftTarget:
    """Tables and elements of nftables; a namespace's changes are one transaction."""

    kinds: tuple[Kind, ...] = (Kind.NFT_TABLE, Kind.NFT_ELEMENT)
    atomic = True

    def __init__(self, kernel: Kernel, namespaces: frozenset[str] = frozenset()) -> None:
        self._kernel = kernel
        self._namespaces = namespaces
        self._seen: dict[RowId, Any] = {}

    def begin(self) -> None:
        self._seen = {}

    def read(self, scope: Scope) -> dict[RowId, Any]:
        found: dict[RowId, Any] = {}
        places = {str(row_id.key[0]) for row_id in scope.rows}
        if scope.whole:
            places |= self._kernel.namespaces() | self._namespaces
        for netns in places:
            for kind in self.kinds:
                wanted = {
                    row_id.key: row.value
                    for row_id, row in scope.rows.items()
                    if row_id.kind is kind and row_id.key[0] == netns
                }
                whole = scope.whole and netns not in self._kernel.tag.guarded
                if wanted or whole:
                    rows = _read(self._kernel, kind, netns, wanted, whole=whole)
                    found.update((RowId(kind, key), value) for key, value in rows.items())
        self._seen = found
        return found

    def apply(self, upserts: Sequence[Change], deletes: Mapping[RowId, Any]) -> dict[RowId, PodloomError]:
        failures: dict[RowId, PodloomError] = {}
        places = {str(c.row.key[0]) for c in upserts} | {str(row_id.key[0]) for row_id in deletes}
        for netns in places:
            mine = [c.row for c in upserts if c.row.key[0] == netns]
            tables = {row.key: str(row.value) for row in mine if row.kind is Kind.NFT_TABLE}
            elements = {row.key: str(row.value) for row in mine if row.kind is Kind.NFT_ELEMENT}
            gone = [row_id.key for row_id in deletes if row_id.key[0] == netns]
            try:
                old = {row_id.key: str(v) for row_id, v in self._old(netns, tables).items()}
                answer = self._kernel.write_nft(netns, tables, elements, gone, old)
            except PodloomError as failure:
                answer = dict.fromkeys([*tables, *elements, *gone], failure)
            for key, error in answer.items():
                failures[RowId(Kind.NFT_TABLE if len(key) == 3 else Kind.NFT_ELEMENT, key)] = error
        return failures

    def _old(self, netns: str, tables: Mapping[Key, str]) -> dict[RowId, Any]:
        """What was read; a table that is to be replaced needs all its elements, also those of other owners."""
        old = {row_id: value for row_id, value in self._seen.items() if row_id.key[0] == netns}
        if tables:
            rows = _read(self._kernel, Kind.NFT_ELEMENT, netns, {}, whole=True)
            old |= {RowId(Kind.NFT_ELEMENT, key): value for key, value in rows.items()}
        return old

    def end(self) -> None:
        self._kernel.release()


def _read(kernel: Kernel, kind: Kind, netns: str, wanted: Mapping[Key, Any], *, whole: bool) -> dict[Key, Any]:
    """Read one namespace, a few times if need be: one failed reading would blind a whole target for the round."""
    for _ in range(READ_TRIES - 1):
        with contextlib.suppress(Unavailable):
            return kernel.read(kind, netns, wanted, whole=whole)
    return kernel.read(kind, netns, wanted, whole=whole)


def _by_netns(rows: Mapping[RowId, Any]) -> dict[str, dict[Key, Any]]:
    grouped: dict[str, dict[Key, Any]] = defaultdict(dict)
    for row_id, value in rows.items():
        grouped[str(row_id.key[0])][row_id.key] = value
    return grouped
