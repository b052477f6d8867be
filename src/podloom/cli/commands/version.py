"""`podloom version`."""

from __future__ import annotations

from typing import Any

import click

from podloom.cli.options import prints


@click.command()
@prints()
def version() -> dict[str, Any]:
    """Versions of podloom and of what it runs."""
    import platform
    from importlib import metadata

    from podloom.model.versions import KUBERNETES_VERSION

    return {
        "podloom": metadata.version("podloom"),
        "kubernetes": KUBERNETES_VERSION,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
