"""`python -m podloom.lab --state DIR`: the lab's supervisor, started by `podloom lab up`."""

from __future__ import annotations

from pathlib import Path

import click
import uvloop

from podloom.drivers.log import configure
from podloom.lab.daemon import Daemon
from podloom.lab.state import LabPaths, read_lab


@click.command()
@click.option("--state", required=True, type=click.Path(path_type=Path), help="The lab's state folder.")
@click.option("--log-level", default="info")
def main(state: Path, log_level: str) -> None:
    """Keep the lab running until SIGTERM."""
    configure(log_level)
    paths = LabPaths(state)
    uvloop.run(Daemon(paths, read_lab(paths)).run())


if __name__ == "__main__":
    main()
