"""`python -m podloom.fabric`: the process that realises the cloud's networks on this machine."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import re
import signal
from pathlib import Path

import structlog
import uvloop

from podloom.drivers.arm.client import CloudClient
from podloom.drivers.kernel.real import RealKernel
from podloom.drivers.log import configure
from podloom.fabric.echo import EchoHost
from podloom.fabric.outbound import OutboundStore
from podloom.fabric.service import Fabric, until_signalled
from podloom.fabric.teardown import teardown
from podloom.model.errors import PodloomError, Rejected
from podloom.plan.fabric.names import internet_netns
from podloom.plan.fabric.plan import fabric_tag
from podloom.plan.fabric.settings import FabricSettings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="podloom.fabric", description=__doc__)
    parser.add_argument("--cloud-url", help="the local cloud, e.g. https://127.0.0.1:8443")
    parser.add_argument("--cloud-ca", help="CA certificate of the cloud (PEM)")
    parser.add_argument("--tag", default="podloom", help="names of everything made start with it")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/podloom/fabric"), help="folder for small state")
    parser.add_argument("--no-shell", action="store_true", help="do not make the user's shell a host of the internet")
    parser.add_argument("--down", action="store_true", help="remove everything of this tag and end")
    parser.add_argument("--log-level", default="info")
    return parser.parse_args()


def main() -> int:
    """Run until SIGTERM or SIGINT; the world stays as it is, `--down` removes it."""
    arguments = _arguments()
    configure(arguments.log_level)
    try:
        if not re.fullmatch(r"[A-Za-z0-9]{1,32}", arguments.tag):
            raise Rejected(f"use the tag {arguments.tag!r}", "it is not 1 to 32 letters and digits", "choose another")
        if arguments.down:
            teardown(arguments.tag)
        else:
            uvloop.run(_serve(arguments))
    except PodloomError as error:
        structlog.get_logger().error("the fabric ends", error=error.message)
        return 1
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    if not arguments.cloud_url:
        raise Rejected("start the fabric", "--cloud-url is missing", "give the cloud's address")
    arguments.state.mkdir(parents=True, exist_ok=True)
    lock = _only_one(arguments.state)
    settings = FabricSettings(tag=arguments.tag, with_shell=not arguments.no_shell)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with CloudClient(arguments.cloud_url, arguments.cloud_ca) as cloud:
            kernel = RealKernel(fabric_tag(settings.tag))
            fabric = Fabric(cloud, kernel, settings, OutboundStore(arguments.state))
            echo = EchoHost(internet_netns(settings.tag))
            await until_signalled(fabric, echo.run(), stop=stop.wait)
    finally:
        os.close(lock)


def _only_one(folder: Path) -> int:
    """A lock that two fabrics of one state folder cannot both hold; the kernel frees it with the process."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise Rejected(f"start a fabric on {folder}", "another one runs on it", "end that one first") from e
    return fd


if __name__ == "__main__":
    raise SystemExit(main())
