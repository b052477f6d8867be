"""`python -m podloom.cloud`: the cloud as a process.

Serves until SIGTERM or SIGINT. State is in DIR/cloud.db; a kill at any moment loses nothing that was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import ssl
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import structlog
import uvloop
from aiohttp import web

from podloom.cloud.engine import Engine
from podloom.cloud.http import Api
from podloom.cloud.providers import ALL
from podloom.cloud.store import Store
from podloom.drivers import log
from podloom.drivers.arm import TOKEN_FILE
from podloom.drivers.files import write_atomic

_SHUTDOWN_S = 1.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="podloom.cloud", description="The local Azure: ARM REST API over TLS.")
    parser.add_argument("--listen", default="127.0.0.1:8443", help="ADDRESS:PORT")
    parser.add_argument("--tls-cert", type=Path, required=True, help="certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, required=True, help="private key (PEM)")
    parser.add_argument("--data", type=Path, required=True, help="folder of the database")
    parser.add_argument("--subscription", default="", help="the subscription; default: made once and kept")
    parser.add_argument("--token-file", type=Path, help="what clients must send; default: cloud.token beside --tls-key")
    parser.add_argument("--log-level", default="info")
    return parser.parse_args()


def _subscription_of(store: Store, wanted: str) -> str:
    """The cloud's one subscription: kept from the first start on, unless given."""
    kept = wanted or store.meta("subscription") or str(uuid.uuid4())
    if kept != store.meta("subscription"):
        with store.transaction():
            store.set_meta("subscription", kept)
    return kept


def _token_of(path: Path) -> str:
    """The cloud's bearer token, made at the first start; readable by its owner only."""
    if not path.exists():
        write_atomic(path, secrets.token_urlsafe(32), mode=0o600)
    return path.read_text().strip()


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def _serve(arguments: argparse.Namespace) -> None:
    store = Store(arguments.data / "cloud.db")
    subscription = _subscription_of(store, arguments.subscription)
    engine = Engine(store, [rules(store) for rules in ALL], subscription, _now)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    token = _token_of(arguments.token_file or arguments.tls_key.with_name(TOKEN_FILE))
    application = Api(engine, metadata.version("podloom"), token).application()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    host, _, port = arguments.listen.rpartition(":")
    await web.TCPSite(runner, host, int(port), ssl_context=context).start()
    structlog.get_logger().info("cloud listening", address=arguments.listen, subscription=subscription)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()
    store.close()


def main() -> None:
    arguments = _arguments()
    log.configure(arguments.log_level)
    uvloop.run(_serve(arguments))


if __name__ == "__main__":
    main()
