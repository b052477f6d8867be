"""The agent put together: start, run, stop.

The problem: order. Leases are true before anything is served; a new boot ends the old boot's leases; the socket opens
before the spool is worked off, so that no DEL falls between; the configuration list appears only when the node can
serve. Nothing here waits for the API server, and everything started here is a task whose end is the agent's end.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from typing import Any

import structlog

from podloom.agent.cns import CnsApi
from podloom.agent.collector import Collector
from podloom.agent.dataplane import TAG, Dataplane
from podloom.agent.drift import Drift
from podloom.agent.host import Primary, boot_identity, empty_netns, netns_exists, netns_identity, read_primary
from podloom.agent.inputs import Inputs
from podloom.agent.install import install_conflist, install_plugins, installed
from podloom.agent.leases import LeaseBook
from podloom.agent.pods import Pods
from podloom.agent.server import PluginServer
from podloom.agent.settings import Settings
from podloom.agent.spool import Spool
from podloom.agent.status import Status
from podloom.agent.verbs import Answer, Verbs
from podloom.drivers.kernel import RealKernel
from podloom.drivers.kube import KubeClient
from podloom.drivers.store.lease import LeaseStore
from podloom.model.cni import IPAddress
from podloom.model.cns import HostFacts
from podloom.model.errors import PodloomError
from podloom.model.rows import Row
from podloom.native import native_path
from podloom.plan.nodetable import OWNER, NodeFacts, plan_kept_table, plan_node_basics, plan_node_table
from podloom.reconcile.runner import Loop
from podloom.render.relay import Frame

log = structlog.get_logger()
_SPOOL_S = 1.0
_DEFAULT_MTU = 1500
_BOOT = "boot"


class Agent:
    """One node's agent; `run` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = LeaseStore(settings.database)
        self.book = LeaseBook(self.store)
        self.primary: Primary | None = None
        self._forget_old_boot()
        self.dataplane = Dataplane(lambda: RealKernel(TAG))
        self.pods = Pods(
            self.book, self.dataplane, mtu=self._mtu, netns_exists=netns_exists, netns_identity=netns_identity
        )
        self.table = Loop(
            "table", self._apply_table, settle_s=0.05, pace_s=0.2, resync_s=settings.resync_s, retry_s=2.0
        )
        self.inputs = Inputs(settings.node_name, self.book, self._inputs_changed)
        self.table_ready = False
        self._why = ""
        self.verbs = _Timed(self.pods, trouble=self.trouble, before_add=self._before_add)
        self.spool = Spool(settings.spool, self.verbs)
        self.verbs.pod_cidrs = lambda: self.inputs.network.pod_cidrs if self.inputs.network else ()
        self.cns = CnsApi(
            self.book,
            self.verbs.addresses,
            trouble=self.trouble,
            network=lambda: self.inputs.network,
            host=self._host_facts,
        )
        self.server = PluginServer(settings.socket, self.verbs)
        self.drift = Drift(self.pods, self.dataplane, self.table.mark, sweep_s=settings.resync_s)
        self.pods.node_rows = self._node_rows
        self.pods.attached, self.pods.detached = self.drift.attached, self.drift.detached
        self.status = Status(self._gauges, lambda: list(self.verbs.counts.items()), self.trouble)
        self.verbs.histogram = self.status.seconds
        self._portmap = False

    def trouble(self) -> str:
        """Why pods cannot be added, or ""."""
        if self.primary is None:
            return "the node has no primary interface yet"
        return self.inputs.trouble() or ("" if self.table_ready else f"the node table is not in place{self._why}")

    async def run(self) -> None:
        """Serve until a signal; requests in work are ended first."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self.spool.prepare()
        self._read_primary()
        async with AsyncExitStack() as stack:
            client = await self._client(stack)
            await self._start()
            tasks = [asyncio.create_task(work) for work in self._work(client)]
            tasks.append(asyncio.create_task(stop.wait()))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self.server.close()
            await self.cns.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close()
            for task in done:
                task.result()

    async def _client(self, stack: AsyncExitStack) -> KubeClient | None:
        if not self.settings.kubeconfig:
            return None
        return await stack.enter_async_context(KubeClient.from_kubeconfig(self.settings.kubeconfig))

    async def _start(self) -> None:
        self._install_plugins()
        self.drift.start()
        with suppress(PodloomError):
            await self._apply_table()
        await self.server.start()
        await self.spool.drain()
        if self.settings.listen:
            with suppress(OSError):
                await self.status.start(self.settings.listen)
        if self.settings.cns_listen:
            try:
                await self.cns.start(self.settings.cns_listen)
            except OSError as error:
                log.error("cns.not_served", listen=self.settings.cns_listen, error=str(error))
        log.info("agent.started", node=self.settings.node_name, leases=len(self.book.leases))

    def _work(self, client: KubeClient | None) -> list[Coroutine[Any, Any, Any]]:
        settings = self.settings
        collector = Collector(
            self.pods,
            client,
            settings.node_name,
            interval_s=settings.collect_s,
            netns_exists=netns_exists,
            empty_netns=empty_netns,
        )
        work: list[Coroutine[Any, Any, Any]] = [self.table.run(), self.drift.run(), self._watch_node()]
        work.append(_every(_SPOOL_S, self.spool.drain))
        work.append(_every(settings.collect_s, collector.run_once))
        if client is not None:
            work += [informer.run() for informer in self.inputs.informers(client)]
        return work

    def _close(self) -> None:
        self.drift.close()
        self.status.close()
        self.dataplane.close()
        self.store.close()
        log.info("agent.stopped")

    def _forget_old_boot(self) -> None:
        boot = boot_identity()
        if self.book.recall(_BOOT) != boot:
            count = self.book.forget_all({_BOOT: boot})
            log.info("agent.new_boot", leases_ended=count)

    async def _before_add(self) -> None:
        if self.spool.waiting():
            await self.spool.drain()

    def _inputs_changed(self) -> None:
        self.table.mark()

    async def _apply_table(self) -> bool:
        """Node settings and the table, then the configuration list when the node can serve."""
        self._read_primary()
        if self.primary is None or self.inputs.network is None:
            return self.primary is not None
        report = self.dataplane.apply_node(self._node_rows(), OWNER)
        errors = list(report.errors.values())
        report = await self.dataplane.apply_table(await self._table_rows())
        errors += report.errors.values()
        if report.changed:
            log.info("table.changed", rows=report.changed)
        for error in errors[:3]:
            log.warning("table.failed", error=error.message)
        if errors:
            self._why = f": {errors[0].message}"
            return False
        self.table_ready = True
        if not installed(self.settings.plugin_dir, self.settings.conflist_dir):
            self._install_plugins()
        if not self.trouble() and install_conflist(self.settings.conflist_dir, portmap=self._portmap):
            log.info("conflist.written", folder=str(self.settings.conflist_dir))
        return True

    def _install_plugins(self) -> None:
        settings = self.settings
        self._portmap = install_plugins(native_path("azure-vnet"), settings.plugin_dir, settings.reference_dir)

    def _facts(self) -> NodeFacts:
        network = self.inputs.network
        assert network is not None
        untranslated = self.inputs.masquerade().untranslated(network.pod_cidrs)
        return NodeFacts(network.ranges, untranslated, self._addresses())

    def _node_rows(self) -> tuple[Row, ...]:
        return plan_node_basics(self._facts()) if self.inputs.network is not None else ()

    async def _table_rows(self) -> tuple[Row, ...]:
        facts = self._facts()
        if self.inputs.services_known():
            return plan_node_table(facts, self.inputs.view())
        return plan_kept_table(facts, await self.dataplane.table_elements())

    def _addresses(self) -> tuple[IPAddress, ...]:
        if self.settings.node_ip and self.settings.node_ip != "auto":
            return (ip_address(self.settings.node_ip),)
        return self.primary.addresses if self.primary else ()

    def _host_facts(self) -> HostFacts:
        primary, network = self.primary, self.inputs.network
        return HostFacts(
            address=str(self._addresses()[0]) if self._addresses() else "",
            gateway=primary.gateway if primary else "",
            subnet=primary.subnet if primary else "",
            container_id=network.container_id if network else "",
        )

    def _mtu(self) -> int:
        return self.primary.mtu if self.primary else _DEFAULT_MTU

    def _read_primary(self) -> None:
        try:
            primary = read_primary()
        except PodloomError as error:
            if self.primary is None:
                log.warning("agent.no_primary", error=error.message)
            return
        if primary != self.primary:
            log.info(
                "agent.primary", interface=primary.name, mtu=primary.mtu, addresses=list(map(str, primary.addresses))
            )
            self.primary = primary

    async def _watch_node(self) -> None:
        """Settings and files make no events: look at the node's own ones (and routes) every second."""
        while True:
            await asyncio.sleep(1.0)
            with suppress(PodloomError):
                missing = not self.trouble() and not installed(self.settings.plugin_dir, self.settings.conflist_dir)
                if missing or self.dataplane.node_differs(self._node_rows(), OWNER):
                    self.table.mark()

    def _gauges(self) -> dict[str, float]:
        return {
            "leases": len(self.book.leases),
            "addresses_free": self.book.free(),
            "lease_commits": self.book.commits,
            "drift_repairs": self.drift.repairs,
            "spool_waiting": len(self.spool.waiting()),
            "ready": not self.trouble(),
        }


class _Timed(Verbs):
    """Verbs with their durations."""

    histogram: Any = None

    async def answer(self, frame: Frame, *, in_order: bool = True) -> Answer:
        started = time.perf_counter()
        try:
            return await super().answer(frame, in_order=in_order)
        finally:
            if self.histogram is not None:
                self.histogram.labels(frame.environment.get("CNI_COMMAND", "")).observe(time.perf_counter() - started)


async def _every(seconds: float, work: Any) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except (PodloomError, OSError) as error:
            log.warning("agent.periodic", work=work.__qualname__, error=str(error))
