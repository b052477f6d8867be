"""The fabric's one loop: the cloud's wishes in, kernel and reports out.

The problem: the change stream, the kernel's events and the clock all say "look again", and a resource's report
must be about the wish that was realised, not about a newer one. So the stream only fills a dictionary of
documents and marks dirty; a run takes a snapshot of it, plans, reconciles in a thread, and reports per resource
with the generation it saw. Before the stream has caught up nothing is pruned, because nothing is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

import structlog

from podloom.drivers.arm.api import Change
from podloom.drivers.kernel.api import Kernel
from podloom.drivers.kernel.monitor import Monitors, ours
from podloom.fabric.dns import DnsServers
from podloom.fabric.outbound import OutboundStore
from podloom.model.arm import NETWORK_INTERFACES, PUBLIC_ADDRESSES, ROUTING_DOMAINS, VIRTUAL_NETWORKS
from podloom.model.errors import PodloomError, Rejected, Stale, Unavailable
from podloom.model.rows import Kind, Row
from podloom.plan.fabric import names
from podloom.plan.fabric.outbound import assign_outbound
from podloom.plan.fabric.plan import FabricPlan, plan_fabric
from podloom.plan.fabric.settings import FabricSettings
from podloom.plan.fabric.view import View, read_view
from podloom.plan.fabric.zone import zone_of
from podloom.reconcile import Diff, Report, difference, kernel_targets, reconcile
from podloom.reconcile.runner import Loop

log = structlog.get_logger()
Json = dict[str, Any]
T = TypeVar("T")
REPORTED = frozenset(kind.lower() for kind in (VIRTUAL_NETWORKS, NETWORK_INTERFACES, ROUTING_DOMAINS))
CONSUMED = REPORTED | {PUBLIC_ADDRESSES.lower(), f"{ROUTING_DOMAINS}/routes".lower()}
WATCH_S = 0.5
SETTINGS_EVERY = 3
FAILURES_BEFORE_REPORT = 3


class Cloud(Protocol):
    """The part of CloudClient that the fabric uses."""

    def changes(self, since: int = 0) -> AsyncIterator[Change]: ...

    async def report(self, id: str, properties_patch: Json, *, generation: int | None = None) -> Json: ...


class Fabric:
    """Realises the wishes of one cloud under one tag; `run` until cancelled."""

    def __init__(
        self,
        cloud: Cloud,
        kernel: Kernel,
        settings: FabricSettings,
        outbound: OutboundStore,
        *,
        watch_kernel: bool = True,
        pace_s: float = 0.05,
    ) -> None:
        self._cloud = cloud
        self._kernel = kernel
        self._settings = settings
        self._outbound = outbound
        self._watch_kernel = watch_kernel
        self._documents: dict[str, Json] = {}
        self._synced = asyncio.Event()
        self._failures: dict[str, int] = defaultdict(int)
        self._said: dict[str, str] = {}
        self._namespaces: Collection[str] = ()
        self._rows: tuple[Row, ...] = ()
        self._kernel_lock = asyncio.Lock()
        self._dns = DnsServers()
        self.loop = Loop("fabric", self.once, pace_s=pace_s)
        devices = {names.VM_INTERFACE, names.UPLINK, names.shell_link(settings.tag)}
        self._monitors = Monitors(self.loop.mark, ours(kernel.tag, devices), own_nft=False)

    async def run(self) -> None:
        """Follow the cloud and the kernel; leaves the world as it is when cancelled."""
        follow = asyncio.create_task(self._follow())
        tasks = [follow]
        try:
            await self._first(follow, self._synced.wait())
            tasks.append(asyncio.create_task(self.loop.run()))
            if self._watch_kernel:
                tasks.append(asyncio.create_task(self._watch()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._monitors.close()
            self._dns.close()

    @staticmethod
    async def _first(task: asyncio.Task[None], event: Any) -> None:
        waiting = asyncio.ensure_future(event)
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()

    async def _follow(self) -> None:
        """Keep the documents as the stream says."""
        fresh: dict[str, Json] | None = None
        async for change in self._cloud.changes():
            if change.marker == "snapshot":
                fresh = {}
            elif change.marker == "synced":
                if fresh is not None:
                    self._documents, fresh = fresh, None
                self._synced.set()
                self.loop.mark()
            elif change.id:
                self._take(change, fresh if fresh is not None else self._documents)
                if fresh is None:
                    self.loop.mark()

    @staticmethod
    def _take(change: Change, documents: dict[str, Json]) -> None:
        key = change.id.lower()
        if change.deleted or change.resource is None:
            documents.pop(key, None)
        elif str(change.resource.get("type", change.type)).lower() in CONSUMED:
            documents[key] = change.resource

    async def _watch(self) -> None:
        """Notice what sends no events: namespaces that went, and settings."""
        while True:
            for _ in range(SETTINGS_EVERY):
                if self._monitors.watch(self._namespaces):
                    self.loop.mark()
                await asyncio.sleep(WATCH_S)
            with contextlib.suppress(PodloomError):
                if not (await self._in_thread(self._settings_differ)).empty:
                    self.loop.mark()

    def _settings_differ(self) -> Diff:
        self._kernel.refresh()
        settings = [row for row in self._rows if row.kind is Kind.SYSCTL]
        return difference(settings, [t for t in kernel_targets(self._kernel) if Kind.SYSCTL in t.kinds])

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """One at a time: the kernel driver is not for several threads at once."""
        async with self._kernel_lock:
            return await asyncio.to_thread(work, *arguments)

    async def once(self) -> bool:
        """One plan, reconciliation and report; whether all is as wanted."""
        documents = dict(self._documents)
        view = read_view(documents.values())
        outbound = self._assign(view)
        plan = plan_fabric(self._settings, view, outbound)
        self._namespaces = {str(row.key[0]) for row in plan.rows if row.kind in (Kind.NETNS, Kind.ADDRESS)}
        if self._watch_kernel:
            self._monitors.watch(self._namespaces)
        report = await self._in_thread(reconcile, plan.rows, kernel_targets(self._kernel))
        self._rows = plan.rows
        if report.changed:
            log.info("realised", changed=report.changed, rounds=report.rounds, errors=len(report.errors))
        if self._watch_kernel:
            self._monitors.watch(self._namespaces)
            await self._dns.serve(self._zones(view))
        errors = self._errors(plan, report)
        told = await self._report(documents, errors)
        return told and not errors

    def _assign(self, view: View) -> dict[str, str]:
        taken = {public.address for public in view.publics.values()}
        held = self._outbound.read()
        assigned = assign_outbound(view.vnets, held, taken, self._settings.outbound_range)
        if assigned != held:
            self._outbound.write(assigned)
        return assigned

    def _zones(self, view: View) -> dict[str, dict[str, tuple[str, ...]]]:
        tag = self._settings.tag
        return {names.router_netns(tag, vnet.id): zone_of(self._settings, view, vnet) for vnet in view.vnets.values()}

    @staticmethod
    def _errors(plan: FabricPlan, report: Report) -> dict[str, PodloomError]:
        """What is wrong, by resource id."""
        errors = dict(plan.problems)
        owners = {row.id: row.owner for row in plan.rows}
        for row_id, error in report.errors.items():
            errors.setdefault(owners.get(row_id, "leftovers"), error)
        return errors

    async def _report(self, documents: Mapping[str, Json], errors: Mapping[str, PodloomError]) -> bool:
        """Tell the cloud what is new; whether it heard everything."""
        for key in set(self._failures) - set(errors):
            del self._failures[key]
        for key, error in errors.items():
            self._failures[key] += 1
            if self._said.get(key) != error.message:
                log.warning("not realised", resource=key, error=error.message)
        self._said = {key: error.message for key, error in errors.items()}
        told = True
        for key, document in documents.items():
            if str(document.get("type", "")).lower() not in REPORTED:
                continue
            patch = self._news(document, errors.get(key), self._failures.get(key, 0))
            if patch is not None:
                told &= await self._tell(str(document["id"]), document, patch)
        return told

    @staticmethod
    def _news(document: Json, error: PodloomError | None, failures: int) -> Json | None:
        """The report that this resource is due, if any: success at once, failure when it stays."""
        state = document.get("properties", {}).get("provisioningState")
        if state == "Deleting":
            return None
        if error is None:
            return None if state == "Succeeded" else {"provisioningState": "Succeeded", "error": None}
        lasting = isinstance(error, Rejected) or failures >= FAILURES_BEFORE_REPORT
        if state == "Failed" or not lasting:
            return None
        found = {"code": error.arm_code, "message": error.message}
        return {"provisioningState": "Failed", "error": found}

    async def _tell(self, resource_id: str, document: Json, patch: Json) -> bool:
        generation = document.get("properties", {}).get("podloom", {}).get("generation")
        try:
            await self._cloud.report(resource_id, patch, generation=generation)
        except (Unavailable, Stale):
            return False
        except PodloomError as error:
            log.info("a report was refused", resource=resource_id, error=str(error))
        return True


async def until_signalled(fabric: Fabric, *others: Any, stop: Callable[[], Any]) -> None:
    """Run the fabric and the other tasks until `stop` completes or one of them fails."""
    tasks = [asyncio.ensure_future(work) for work in (fabric.run(), *others, stop())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
