"""`podloom image`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from podloom.cli.options import prints
from podloom.cli.parameters import AzGroup


@click.group(cls=AzGroup)
def image() -> None:
    """Images for the lab's nodes."""


@image.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@prints()
def load(archive: Path) -> dict[str, Any]:
    """Give the lab's nodes the images of ARCHIVE (a docker or OCI archive)."""
    from podloom.lab.images import load as load_archive

    return {"loaded": load_archive(archive)}
