"""`podloom lab`: the local cloud."""

from __future__ import annotations

import shlex
from typing import Any

import click

from podloom.cli.operations import quiet
from podloom.cli.options import confirm, prints, yes_option
from podloom.cli.parameters import AzGroup
from podloom.cli.progress import StepsOf, progress

Json = dict[str, Any]


@click.group(cls=AzGroup)
def lab() -> None:
    """The local cloud: up, down, status, env."""


@lab.command()
@prints()
def up() -> Json:
    """Bring the lab up, with the clusters it had. Running it again is harmless."""
    from podloom.lab import manager

    with progress("lab up", quiet=quiet()) as display:
        return manager.up(StepsOf(display))


@lab.command()
@click.option("--purge", is_flag=True, help="Remove the lab's state too: its clusters are gone for good.")
@yes_option
@prints()
def down(purge: bool, yes: bool) -> Json:
    """Stop the lab and remove what it made on the machine. Its state stays, so `up` restores the clusters."""
    from podloom.lab import manager

    if purge:
        confirm(yes)
    with progress("lab down", quiet=quiet()) as display:
        return manager.down(StepsOf(display), purge=purge)


@lab.command()
@prints("{State: state, CloudUrl: cloudUrl, SubscriptionId: subscriptionId, Tag: tag, StateFolder: stateFolder}")
def status() -> Json:
    """What of the lab runs."""
    from podloom.lab import manager

    return manager.status()


@lab.command()
def env() -> None:
    """Print the shell lines that point kubectl at the lab: eval "$(podloom lab env)"."""
    from podloom.lab import manager

    for name, value in manager.environment().items():
        click.echo(f"export {name}={shlex.quote(value)}")
