"""Parameters many commands share, with az's long and short names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from podloom.cli.guess import GuessingGroup

F = TypeVar("F", bound=Callable[..., Any])


def name_option(*flags: str, required: bool = True, help: str = "") -> Callable[[F], F]:
    """A required text option; the first flag names the parameter."""
    return click.option(*flags, flags[0].lstrip("-").replace("-", "_"), required=required, help=help)


def group_option(*, required: bool = True) -> Callable[[F], F]:
    return name_option("--resource-group", "-g", required=required, help="Name of resource group.")


def location_option(*, required: bool = False) -> Callable[[F], F]:
    text = "Location, e.g. westcentralus." + ("" if required else " Default: the resource group's.")
    return name_option("--location", "-l", required=required, help=text)


def tags_option(command: F) -> F:
    return several("--tags", help="Space-separated tags: key[=value] [key[=value] ...].")(command)


class Several(click.Option):
    """An option that takes one or more values until the next option, as argparse's nargs='+' does in az."""


def several(*flags: str, help: str = "") -> Callable[[F], F]:
    """An option with one or more values, space-separated (or given several times, or separated by commas)."""
    return click.option(*flags, cls=Several, multiple=True, help=help)


class AzCommand(click.Command):
    """A command whose `Several` options take every following word that is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = {flag for param in self.params if isinstance(param, Several) for flag in param.opts}
        return super().parse_args(ctx, list(_spread(args, flags)))


class AzGroup(GuessingGroup):
    """A group of AzCommands."""

    command_class = AzCommand
    group_class = type


def parse_tags(tags: Iterable[str]) -> dict[str, str]:
    """key=value words as an object; "" alone clears."""
    pairs = (tag.partition("=") for tag in tags if tag)
    return {key: value for key, _, value in pairs}


def split_commas(values: Iterable[str]) -> list[str]:
    """Values given apart or joined by commas, e.g. --pod-cidrs a,b."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _spread(args: list[str], flags: set[str]) -> Iterable[str]:
    """Repeat a flag of `flags` before each of its values, which is how click wants them."""
    current = ""
    fresh = False
    for arg in args:
        name, equals, _ = arg.partition("=")
        if arg in flags:
            current, fresh = arg, True
            yield arg
        elif arg.startswith("-") and len(arg) > 1:
            current = name if equals and name in flags else ""
            fresh = False
            yield arg
        elif current and not fresh:
            yield current
            yield arg
        else:
            fresh = False
            yield arg
