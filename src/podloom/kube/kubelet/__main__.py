"""`python -m podloom.kube.kubelet`: the node runtime of one node."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from pathlib import Path

import structlog

from podloom.drivers import log as logs
from podloom.drivers.kube.client import KubeClient
from podloom.drivers.kube.informer import Informer
from podloom.drivers.runtime.cri import connect_when_up
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.manager import PodManager
from podloom.kube.kubelet.node import NodeReporter
from podloom.kube.kubelet.server import KubeletServer
from podloom.kube.kubelet.settings import Settings, parse_settings
from podloom.model.kube import SERVICES

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Containers go on running without us."""
    Path(settings.root).mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    runtime = await connect_when_up(settings.cri)
    async with KubeClient.from_kubeconfig(settings.kubeconfig, user_agent="kubelet/podloom") as kube:
        services = Informer(kube, SERVICES)
        node = Node.build(settings, kube, runtime, services)
        manager = PodManager(node)
        reporter = NodeReporter(node, manager.mark_all)
        server = KubeletServer(node, manager)
        work = [services.run(), node.recorder.run(), reporter.run(), manager.run(), server.run()]
        tasks = [asyncio.create_task(one) for one in work]
        log.info("kubelet started", node=settings.node_name, port=settings.port)
        gc.collect()
        gc.freeze()
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not stop.is_set():
                task.result()
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    await runtime.close()


def main() -> None:
    settings = parse_settings()
    logs.configure(settings.log_level)
    import uvloop

    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
