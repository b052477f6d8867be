"""`python -m podloom.kube.controllers --kubeconfig F`: the controllers and the scheduler of one cluster."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
from pathlib import Path

import click
import structlog
import uvloop

from podloom.drivers.kube import KubeClient
from podloom.drivers.log import configure
from podloom.kube.controllers.run import Options, run_controllers

log = structlog.get_logger()


def _advertise(value: str | None) -> tuple[str, int] | None:
    """`ADDRESS:PORT`, IPv6 in brackets."""
    if not value:
        return None
    host, _, port = value.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    return str(address), int(port)


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path), help="How to reach the API server.")
@click.option("--cluster-ca", type=click.Path(path_type=Path), help="CA that pods get as kube-root-ca.crt.")
@click.option("--service-account-key", type=click.Path(path_type=Path), help="Accepted; the API server issues tokens.")
@click.option("--advertise-address", "advertise", help="ADDRESS:PORT of the API server as pods reach it.")
@click.option("--node-grace", "node_grace_s", default=40.0, show_default=True, help="Seconds of silence to Unknown.")
@click.option("--log-level", default="info", show_default=True)
def main(  # noqa: PLR0917
    kubeconfig: Path,
    cluster_ca: Path | None,
    service_account_key: Path | None,
    advertise: str | None,
    node_grace_s: float,
    log_level: str,
) -> None:
    """Run all controllers until SIGTERM."""
    configure(log_level)
    try:
        where = _advertise(advertise)
    except ValueError as e:
        raise click.BadParameter(f"{advertise}: {e}", param_hint="--advertise-address") from e
    options = Options(cluster_ca.read_text() if cluster_ca else "", where, node_grace_s)
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(kubeconfig, options))


async def _serve(kubeconfig: Path, options: Options) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with KubeClient.from_kubeconfig(kubeconfig, user_agent="podloom-controllers") as client:
        work = asyncio.create_task(run_controllers(client, options, lambda: log.info("controllers.running")))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


if __name__ == "__main__":
    main()
