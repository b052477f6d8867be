"""The node's kernel as the agent keeps it: one pod at a time, removals together, the node table by itself.

The problem: an ADD must cost about a millisecond, however many pods there are, while deleting a link costs the kernel
a grace period of some 15 ms, and the service table may be large. So there are three hands, each with its own
sockets: pods are applied on the event loop, at once, one owner's rows only; removals wait for each other and go in one
batch, in a thread, answered when they are done; the nftables table is compared and changed in another thread.

Kernel sockets in a pod's namespace would keep the namespace alive, so they are closed after each use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from podloom.drivers.kernel.api import Kernel
from podloom.drivers.kernel.errors import kernel_error
from podloom.drivers.kernel.rtnl import Request, Rtnl
from podloom.model.errors import PodloomError
from podloom.model.rows import AGENT_PROTOCOL, Kind, Row, RowId, Tag
from podloom.plan.endpoint import HOST_PREFIX
from podloom.plan.nodetable import FAMILY, TABLE
from podloom.reconcile.engine import Diff, Report, Target, difference, reconcile
from podloom.reconcile.kernel import NetnsTarget, NftTarget, RowTarget
from podloom.render import netlink as nl

TAG = Tag(AGENT_PROTOCOL, link_prefixes=(HOST_PREFIX,))
_POD_KINDS = (Kind.LINK, Kind.ADDRESS, Kind.SYSCTL, Kind.ROUTE, Kind.NEIGHBOUR)
_HOST_KINDS = (Kind.LINK, Kind.ROUTE)
_REMOVAL = "removal"
_LOOPBACK_INDEX = 1


class Dataplane:
    """Applies rows. `kernel` makes a kernel body of its own for each hand; all with the tag TAG."""

    def __init__(self, kernel: Callable[[], Kernel]) -> None:
        self._pods = kernel()
        self._pod_targets = _targets(self._pods, _POD_KINDS)
        self._setting_targets: list[Target] = [RowTarget(self._pods, Kind.SYSCTL)]
        self._node_targets = _targets(self._pods, (Kind.SYSCTL, Kind.ROUTE))
        self._removals = kernel()
        self._removal_targets = _targets(self._removals, _HOST_KINDS)
        self._tables = kernel()
        self._table_targets: list[Target] = [NetnsTarget(self._tables), NftTarget(self._tables, frozenset({""}))]
        self._removal_thread = ThreadPoolExecutor(1, "removals")
        self._table_thread = ThreadPoolExecutor(1, "tables")
        self._table_lock = asyncio.Lock()
        self._queue: list[tuple[tuple[Row, ...], asyncio.Future[None]]] = []
        self._removing: asyncio.Task[None] | None = None

    def apply_owner(self, rows: Sequence[Row], owner: str) -> Report:
        """Make one pod's rows so, on the calling thread; raises the first failure."""
        report = reconcile(rows, self._pod_targets, owner)
        report.check()
        return report

    def check_owner(self, rows: Sequence[Row], owner: str) -> Diff:
        """What differs for one pod (CNI CHECK)."""
        return difference(rows, self._pod_targets, owner)

    def loopback_up(self, netns: str) -> None:
        """Bring a namespace's loopback interface up; raises Stale when there is no such namespace."""
        with Rtnl(netns) as rtnl:
            request = Request(nl.RTM_NEWLINK, 0, nl.pack_set_link(_LOOPBACK_INDEX, up=True))
            answer = rtnl.batch([request])[0]
        if answer.errno:
            raise kernel_error(answer.errno, f"bring up lo in namespace {netns}", answer.words)

    def wrong_settings(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the setting rows (Kind.SYSCTL) that read differently."""
        diff = difference(rows, self._setting_targets)
        return [change.row for change in diff.upserts]

    def apply_node(self, rows: Iterable[Row], owner: str) -> Report:
        """Make the node's own settings and routes so; the report carries failures."""
        return reconcile(rows, self._node_targets, owner)

    def node_differs(self, rows: Iterable[Row], owner: str) -> bool:
        """Whether any of the node's own settings and routes is not so."""
        return not difference(rows, self._node_targets, owner).empty

    async def remove(self, rows: Iterable[Row]) -> None:
        """Remove rows of this namespace; returns when they are gone, raises when they cannot be removed.

        Callers that come while a batch is under way form the next batch together.
        """
        done = asyncio.get_running_loop().create_future()
        self._queue.append((tuple(replace(row, owner=_REMOVAL) for row in rows), done))
        if self._removing is None:
            self._removing = asyncio.create_task(self._remove_batches())
        await done

    async def table_elements(self) -> dict[RowId, str]:
        """The elements the node table has now, e.g. from the agent before this one."""
        loop = asyncio.get_running_loop()
        async with self._table_lock:
            return await loop.run_in_executor(self._table_thread, self._read_elements)

    async def apply_table(self, rows: Sequence[Row]) -> Report:
        """Make the node table (and nothing else with our table names) so; the report carries failures."""
        loop = asyncio.get_running_loop()
        async with self._table_lock:
            return await loop.run_in_executor(self._table_thread, self._apply_table, tuple(rows))

    def host_rows(self) -> dict[RowId, object]:
        """Links and routes of this namespace that carry our tag, as they are."""
        found: dict[RowId, object] = {}
        self._pods.refresh()
        for kind in _HOST_KINDS:
            rows = self._pods.read(kind, "", {}, whole=True)
            found.update((RowId(kind, key), value) for key, value in rows.items())
        return found

    def remove_now(self, ids: Iterable[RowId], values: dict[RowId, object]) -> Report:
        """Remove rows that nobody wants, on the calling thread."""
        rows = [Row(row_id.kind, row_id.key, values[row_id], _REMOVAL) for row_id in ids]
        return reconcile((), self._pod_targets, _REMOVAL, known=rows)

    def close(self) -> None:
        """Let the threads end and close what is open."""
        self._removal_thread.shutdown(wait=True)
        self._table_thread.shutdown(wait=True)
        for kernel in (self._pods, self._removals, self._tables):
            kernel.release()

    def _read_elements(self) -> dict[RowId, str]:
        try:
            rows = self._tables.read(Kind.NFT_ELEMENT, "", {}, whole=True)
            return {RowId(Kind.NFT_ELEMENT, key): str(v) for key, v in rows.items() if key[1:3] == (FAMILY, TABLE)}
        finally:
            self._tables.release()

    def _apply_table(self, rows: Sequence[Row]) -> Report:
        return reconcile(rows, self._table_targets)

    async def _remove_batches(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                rows = [row for part, _ in batch for row in part]
                try:
                    report = await loop.run_in_executor(self._removal_thread, self._remove_rows, rows)
                except PodloomError as error:
                    report = Report(errors={row.id: error for row in rows})
                for part, done in batch:
                    failed = [report.errors[row.id] for row in part if row.id in report.errors]
                    if done.done():
                        continue
                    if failed:
                        done.set_exception(failed[0])
                    else:
                        done.set_result(None)
        finally:
            self._removing = None

    def _remove_rows(self, rows: Sequence[Row]) -> Report:
        return reconcile((), self._removal_targets, _REMOVAL, known=rows)


def _targets(kernel: Kernel, kinds: Iterable[Kind]) -> list[Target]:
    return [NetnsTarget(kernel), *(RowTarget(kernel, kind) for kind in kinds)]
