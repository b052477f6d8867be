"""`python -m podloom.operator`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog
import uvloop

from podloom.drivers import log as logging
from podloom.drivers.arm import CloudClient
from podloom.drivers.kube import Backoff, KubeApi, KubeClient, KubeError
from podloom.model.errors import PodloomError
from podloom.model.kube import CRDS
from podloom.operator.controller import Controller
from podloom.operator.leader import Leader
from podloom.operator.routes import Routes
from podloom.operator.settings import Settings, parse_settings
from podloom.reconcile.runner import Loop
from podloom.render.nnc import nnc_definition

log = structlog.get_logger()


async def ensure_definition(client: KubeApi) -> None:
    """Have the NodeNetworkConfig definition; waits for the API server as long as it takes."""
    backoff = Backoff(first_s=0.1, most_s=5.0)
    definition = nnc_definition()
    name = definition["metadata"]["name"]
    while True:
        try:
            try:
                found = await client.get(CRDS, name)
                if found["spec"]["versions"][0].get("schema") != definition["spec"]["versions"][0]["schema"]:
                    await client.replace(CRDS, {**found, "spec": definition["spec"]})
            except KubeError as error:
                if not error.not_found:
                    raise
                await client.create(CRDS, definition)
            return
        except PodloomError as error:
            log.info("definition.waits", error=error.message)
            await asyncio.sleep(backoff.next_s())


async def run(settings: Settings) -> None:
    """Serve until a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(KubeClient.from_kubeconfig(settings.kubeconfig))
        cloud = None
        if settings.cloud_url:
            cloud = await stack.enter_async_context(CloudClient(settings.cloud_url, settings.cloud_ca or None))
        stopped = asyncio.create_task(stop.wait())
        tasks = [stopped, asyncio.create_task(_serve(settings, client, cloud))]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
    log.info("operator.stopped")


async def _serve(settings: Settings, client: KubeApi, cloud: CloudClient | None) -> None:
    await ensure_definition(client)
    routes = Routes(cloud, settings.routing_domain) if cloud else None
    loop: Loop

    def mark() -> None:
        loop.mark()

    controller = Controller(
        client,
        settings.pod_cidrs,
        routes,
        Leader(client, settings.identity),
        subnet=settings.routing_domain.rpartition("/")[2] or "overlay",
        release_after_s=settings.release_after_s,
        mark=mark,
    )
    loop = Loop("ranges", controller.run_once, settle_s=0.02, pace_s=0.05, resync_s=settings.resync_s, retry_s=2.0)
    log.info("operator.started", pod_cidrs=list(map(str, settings.pod_cidrs)))
    async with asyncio.TaskGroup() as group:
        for informer in controller.informers():
            group.create_task(informer.run())
        group.create_task(loop.run())
        if cloud is not None and routes is not None:
            group.create_task(_follow_routes(cloud, routes, mark))


async def _follow_routes(cloud: CloudClient, routes: Routes, mark: Callable[[], None]) -> None:
    """Look again whenever a route of ours changes in the cloud, whoever changed it."""
    async for change in cloud.changes():
        if change.marker == "synced" or routes.owns(change.id):
            routes.forget()
            mark()


def main() -> int:
    settings = parse_settings()
    logging.configure(settings.log_level)
    try:
        uvloop.run(run(settings))
    except PodloomError as error:
        log.error("operator.ended", error=error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
