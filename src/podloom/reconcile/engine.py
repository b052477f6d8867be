"""The engine: read the world, compare, apply, say what happened.

The problem: every door keeps some part of the world as planned, must bear failing calls, being killed at any
point and others meddling, and must not disturb what it did not make. So there is one loop for all: read the
rows that exist, diff them against the wanted ones, add in dependency order, remove in reverse, and while rows
fail and rounds are left, read again and repeat. State decides, not history: nothing is remembered between
rounds, so a round after a crash is like any other.

`reconcile` works on everything with our tag (resync: also prunes), or on one owner's rows only, which touches
just those rows' devices and costs the same however full the node is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from podloom.model.errors import Bug, PodloomError, Rejected, Unsupported
from podloom.model.rows import Kind, Row, RowId, index_rows

ROUNDS = 6


@dataclass(frozen=True)
class Scope:
    """What to read: `rows` (wanted, or known of the owner), and with `whole` everything that carries our tag."""

    rows: Mapping[RowId, Row]
    whole: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A row to be written; `old` is what the world has, `exists` whether it has the row."""

    row: Row
    exists: bool
    old: Any = None


class Target(Protocol):
    """One part of the world that holds rows of some kinds.

    atomic: upserts and deletes go in one call, so that nobody sees the state between them."""

    kinds: tuple[Kind, ...]
    atomic: bool

    def begin(self) -> None:
        """A round starts: forget what was looked up."""
        ...

    def read(self, scope: Scope) -> dict[RowId, Any]:
        """Values of the rows that exist."""
        ...

    def apply(self, upserts: Sequence[Change], deletes: Mapping[RowId, Any]) -> dict[RowId, PodloomError]:
        """Make it so; the failures."""
        ...

    def end(self) -> None:
        """The reconciliation is over: release what was opened."""
        ...


@dataclass
class Report:
    """What a reconciliation did. `changed` counts rows written or removed; `errors` are those still wrong."""

    changed: int = 0
    rounds: int = 0
    upserted: list[RowId] = field(default_factory=list)
    deleted: list[RowId] = field(default_factory=list)
    errors: dict[RowId, PodloomError] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.errors

    def check(self) -> None:
        """Raise the first error, if any."""
        for error in self.errors.values():
            raise error


@dataclass(frozen=True)
class Diff:
    """What differs: rows to write, and values of the rows to remove."""

    upserts: tuple[Change, ...]
    deletes: Mapping[RowId, Any]

    @property
    def empty(self) -> bool:
        return not self.upserts and not self.deletes


def reconcile(
    wanted: Iterable[Row],
    targets: Sequence[Target],
    owner: str | None = None,
    *,
    known: Iterable[Row] = (),
    rounds: int = ROUNDS,
) -> Report:
    """Make the world hold the wanted rows.

    Without `owner`: all of them, and nothing else that carries our tag. With `owner`: only its rows; `known`
    are rows it may have had (its former plan), of which those not wanted are removed. Applying twice changes
    nothing the second time. Raises Bug for a plan that contradicts itself; failures of rows are in the report
    (`report.check()` raises them)."""
    rows = index_rows(row for row in wanted if owner is None or row.owner == owner)
    former = index_rows(row for row in known if owner is None or row.owner == owner)
    report = Report()
    try:
        for _ in range(rounds):
            report.rounds += 1
            if not _round(rows, former, targets, owner is None, report):
                break
    finally:
        for target in targets:
            target.end()
    return report


def difference(
    wanted: Iterable[Row], targets: Sequence[Target], owner: str | None = None, *, known: Iterable[Row] = ()
) -> Diff:
    """What `reconcile` would change, changing nothing (CNI CHECK, doctor). Raises when the world cannot be read."""
    rows = index_rows(row for row in wanted if owner is None or row.owner == owner)
    former = index_rows(row for row in known if owner is None or row.owner == owner)
    found: dict[RowId, Any] = {}
    try:
        for target in targets:
            target.begin()
            found |= target.read(_scope(target, rows, former, owner is None))
    finally:
        for target in targets:
            target.end()
    return diff(rows, found)


def diff(rows: Mapping[RowId, Row], found: Mapping[RowId, Any]) -> Diff:
    """Rows to write (missing or different) and to remove (found, not wanted)."""
    upserts = tuple(
        Change(row, row_id in found, found.get(row_id))
        for row_id, row in rows.items()
        if row_id not in found or found[row_id] != row.value
    )
    return Diff(upserts, {row_id: value for row_id, value in found.items() if row_id not in rows})


def _scope(target: Target, rows: Mapping[RowId, Row], former: Mapping[RowId, Row], whole: bool) -> Scope:
    mine = {row_id: row for row_id, row in {**former, **rows}.items() if row_id.kind in target.kinds}
    return Scope(mine, whole)


def _round(
    rows: Mapping[RowId, Row], former: Mapping[RowId, Row], targets: Sequence[Target], whole: bool, report: Report
) -> bool:
    """One reading and writing of the world; whether another round could mend what failed.

    A kind is read after the kinds before it are written: a table's interfaces exist by then, and what went
    with a namespace is not deleted again. What cannot be read is neither written nor pruned."""
    report.errors = {}
    removals: list[tuple[Target, Mapping[RowId, Any]]] = []
    doomed: set[tuple[str, str]] = set()
    for target in targets:
        target.begin()
        scope = _scope(target, rows, former, whole)
        if not whole and not scope.rows:
            continue
        mine = {row_id: row for row_id, row in rows.items() if row_id.kind in target.kinds}
        try:
            delta = diff(mine, target.read(scope))
        except PodloomError as error:
            report.errors |= dict.fromkeys(mine or [RowId(target.kinds[0], ())], error)
            continue
        doomed |= _takes_along(delta.deletes)
        deletes = {i: value for i, value in delta.deletes.items() if not _goes_anyway(i, value, doomed)}
        now = deletes if target.atomic else {}
        if delta.upserts or now:
            _note(report, [c.row.id for c in delta.upserts], now, target.apply(delta.upserts, now))
        if deletes and not target.atomic:
            removals.append((target, deletes))
    for target, deletes in reversed(removals):
        _note(report, (), deletes, target.apply((), deletes))
    return any(not isinstance(error, (Rejected, Unsupported, Bug)) for error in report.errors.values())


def _takes_along(deletes: Mapping[RowId, Any]) -> set[tuple[str, str]]:
    """(namespace, device) of what will be gone, device "" for the whole namespace."""
    gone: set[tuple[str, str]] = set()
    for row_id, value in deletes.items():
        if row_id.kind is Kind.NETNS:
            gone.add((str(row_id.key[0]), ""))
        elif row_id.kind is Kind.LINK:
            gone |= {(str(row_id.key[0]), str(row_id.key[1])), (value.peer_netns, value.peer_name)}
    return gone


def _goes_anyway(row_id: RowId, value: Any, doomed: set[tuple[str, str]]) -> bool:
    """Whether the row goes with its namespace or device. A link has an end elsewhere, which should go at once."""
    if row_id.kind in (Kind.NETNS, Kind.LINK) or not doomed:
        return False
    netns = str(row_id.key[0])
    on_device = row_id.kind in (Kind.ADDRESS, Kind.NEIGHBOUR)
    dev = str(row_id.key[1]) if on_device else value.dev if row_id.kind is Kind.ROUTE else ""
    return (netns, "") in doomed or (bool(dev) and (netns, dev) in doomed)


def _note(
    report: Report,
    written: Sequence[RowId],
    removed: Collection[RowId],
    failures: Mapping[RowId, PodloomError],
) -> None:
    report.errors |= failures
    report.upserted += [row_id for row_id in written if row_id not in failures]
    report.deleted += [row_id for row_id in removed if row_id not in failures]
    report.changed = len(report.upserted) + len(report.deleted)
