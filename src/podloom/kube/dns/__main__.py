"""`python -m podloom.kube.dns --cluster-domain cluster.local --listen 0.0.0.0:53 --upstream 168.63.129.16`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
from pathlib import Path

import structlog

from podloom.drivers.kube import KubeClient
from podloom.drivers.log import configure
from podloom.kube.dns.forward import Upstream
from podloom.kube.dns.server import DnsServer, Responder, serve_health
from podloom.kube.dns.source import ClusterSource

log = structlog.get_logger()


def _endpoint(text: str, port: int = 53) -> tuple[str, int]:
    """`ADDRESS` or `ADDRESS:PORT`, IPv6 in brackets when a port follows."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest.removeprefix(":") or port)
    host, colon, rest = text.rpartition(":")
    return (host, int(rest)) if colon and ":" not in host else (text, port)


def _arguments() -> argparse.Namespace:
    """argparse, not click: this process starts in a small image and should do so quickly."""
    parser = argparse.ArgumentParser(prog="podloom.kube.dns", description="Cluster DNS.")
    parser.add_argument("--cluster-domain", default="cluster.local")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's service account")
    parser.add_argument("--listen", type=_endpoint, default=("0.0.0.0", 53), metavar="ADDRESS:PORT")
    parser.add_argument("--upstream", type=_endpoint, action="append", default=[], metavar="ADDRESS[:PORT]")
    parser.add_argument("--health-port", type=int, default=8080)
    parser.add_argument("--ready-port", type=int, default=8181)
    parser.add_argument("--log-level", default="info")
    return parser.parse_args()


async def _serve(args: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = KubeClient.from_kubeconfig(args.kubeconfig) if args.kubeconfig else KubeClient.in_cluster()
    async with client, contextlib.AsyncExitStack() as stack:
        source = ClusterSource(client)
        await stack.enter_async_context(source.following())
        host = args.listen[0]
        for port, path, healthy in (
            (args.health_port, "/health", lambda: True),
            (args.ready_port, "/ready", lambda: source.synced),
        ):
            stack.callback((await serve_health(host, port, path, healthy)).close)
        server = DnsServer(Responder(args.cluster_domain, source, Upstream(args.upstream)))
        synced = asyncio.create_task(source.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((synced, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():  # before the first lists every name would be NXDOMAIN, and be cached
            await server.start(*args.listen)
            stack.push_async_callback(server.stop)
            log.info("dns.serving", domain=args.cluster_domain, listen=args.listen, upstream=args.upstream)
            gc.freeze()
        await stopped
        synced.cancel()


def main() -> None:
    """Serve cluster DNS until SIGTERM."""
    args = _arguments()
    configure(args.log_level)
    asyncio.run(_serve(args))


if __name__ == "__main__":
    main()
