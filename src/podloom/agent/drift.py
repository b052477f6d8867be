"""Drift: what others changed on this node is put right within two seconds.

The problem: reading every pod all the time costs too much, and events say too little and get lost. So events of the
kernel only name what to look at (a host interface, a pod's namespace), the look itself reads the world, and a slower
sweep looks at everything. Settings under /proc/sys make no events, so those are read at each tick; they are
few and cheap. Our own changes make events too; the look then finds nothing to do.

Sockets in pods' namespaces keep those alive, so they are closed with the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from podloom.agent.dataplane import TAG, Dataplane
from podloom.agent.pods import Pods
from podloom.drivers.kernel.monitor import Monitor, ours
from podloom.model.cni import Attachment
from podloom.model.errors import PodloomError
from podloom.model.lease import Lease
from podloom.model.rows import Kind
from podloom.plan.endpoint import host_ifname
from podloom.render import netlink as nl

log = structlog.get_logger()
TICK_S = 0.8
_MONITOR_AFTER_S = 1.0
_SETTINGS_AT_ONCE = 16


class Drift:
    """Watches and repairs; `table_dirty` is called when nftables changed. Belongs to one event loop."""

    def __init__(self, pods: Pods, dataplane: Dataplane, table_dirty: Callable[[], None], *, sweep_s: float) -> None:
        self._pods = pods
        self._dataplane = dataplane
        self._table_dirty = table_dirty
        self._sweep_s = sweep_s
        self._names: set[str] = set()
        self._attachments: set[Attachment] = set()
        self._everything = True
        self._monitors: dict[Attachment, Monitor] = {}
        self._host: list[Monitor] = []
        self.repairs = 0

    def start(self) -> None:
        """Open the host's monitors and those of every lease."""
        self._host = [Monitor("", self._host_changed, self._notice, nft=False), Monitor("", self._table_dirty, _never)]
        for lease in self._pods.book.leases.values():
            self._open(lease)

    def close(self) -> None:
        for monitor in [*self._host, *self._monitors.values()]:
            monitor.close()

    def attached(self, lease: Lease) -> None:
        """A pod came: watch it from a second on (its own making is over by then), after one look."""
        asyncio.get_running_loop().call_later(_MONITOR_AFTER_S, self._open, lease)

    def detached(self, lease: Lease) -> None:
        """A pod went: let its namespace go."""
        monitor = self._monitors.pop(lease.attachment, None)
        if monitor is not None:
            monitor.close()

    async def run(self) -> None:
        """Repair at each tick, sweep now and then; until cancelled."""
        loop = asyncio.get_running_loop()
        swept = 0.0
        while True:
            if self._everything or loop.time() - swept > self._sweep_s:
                self._everything = False
                swept = loop.time()
                await self._sweep()
            else:
                await self._tick()
            await asyncio.sleep(TICK_S)

    async def _sweep(self) -> None:
        """The whole node: every pod, then what belongs to none."""
        self._names.clear()
        self._attachments.clear()
        for attachment in list(self._pods.book.leases):
            self._repair(attachment)
            await asyncio.sleep(0)
        with contextlib.suppress(PodloomError):
            self._pods.prune()

    async def _tick(self) -> None:
        touched, self._names = self._names, set()
        dirty, self._attachments = self._attachments, set()
        dirty |= set(self._by_name(touched)) | await self._changed_settings()
        for attachment in dirty:
            self._repair(attachment)
            await asyncio.sleep(0)

    def _by_name(self, names: set[str]) -> list[Attachment]:
        if not names:
            return []
        return [
            lease.attachment
            for lease in self._pods.book.leases.values()
            if host_ifname(lease.pod_namespace, lease.pod_name, lease.attachment.ifname) in names
            or any(str(address) in names for address in lease.addresses)
        ]

    async def _changed_settings(self) -> set[Attachment]:
        """Attachments with a setting that reads differently; some at a time, so that no ADD waits for all."""
        leases = list(self._pods.book.leases.values())
        wrong: set[Attachment] = set()
        for start in range(0, len(leases), _SETTINGS_AT_ONCE):
            some = leases[start : start + _SETTINGS_AT_ONCE]
            rows = {row: x.attachment for x in some for row in self._pods.rows(x) if row.kind is Kind.SYSCTL}
            wrong |= {rows[row] for row in self._dataplane.wrong_settings(rows)}
            await asyncio.sleep(0)
        return wrong

    def _repair(self, attachment: Attachment) -> None:
        self.repairs += self._pods.repair(attachment)

    def _open(self, lease: Lease) -> None:
        known = self._pods.book.leases.get(lease.attachment) == lease
        if not known or lease.delegated or lease.attachment in self._monitors:
            return
        with contextlib.suppress(PodloomError, OSError):
            self._monitors[lease.attachment] = Monitor(
                lease.netns,
                lambda: self._attachments.add(lease.attachment),
                ours(TAG, (lease.attachment.ifname,)),
                nft=False,
            )
        self._attachments.add(lease.attachment)

    def _notice(self, message: nl.Message) -> bool:
        """Remember what an event of the host's namespace is about; True for one that cannot be told."""
        if message.type in (nl.RTM_NEWLINK, nl.RTM_DELLINK):
            name = nl.unpack_link(message.body).name
            if TAG.owns_link(name):
                self._names.add(name)
        elif message.type in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE):
            route = nl.unpack_route(message.body)
            if route.protocol == TAG.protocol or message.flags & nl.NLM_F_REPLACE:
                self._names.add(route.dst.partition("/")[0])
        return False

    def _host_changed(self) -> None:
        """Events were lost: look at everything."""
        self._everything = True


def _never(message: nl.Message) -> bool:
    return False
