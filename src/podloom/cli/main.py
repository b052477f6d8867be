"""The `podloom` command.

The problem: a command line is used a hundred times a day and must answer at once, while its commands need HTTP,
TLS and terminals. So this module knows only names and one line of help for each; a group's module is imported when
one of its commands is named, and heavy imports wait until a command runs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from podloom.cli.guess import GuessingGroup

_ROOT = "podloom.cli.commands"


class LazyGroup(GuessingGroup):
    """A group whose members are named here and imported when used; `lazy`: name -> (module:attribute, help)."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"{_ROOT}.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self._lazy[name][1]) for name in self.list_commands(ctx) if name in self._lazy]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    lazy={
        "account": ("account:account", "The lab's subscription."),
        "aks": ("aks:aks", "Kubernetes clusters."),
        "connectivity": ("connectivity:connectivity", "Try every path of a cluster with real connections."),
        "group": ("group:group", "Resource groups."),
        "image": ("image:image", "Images for the lab's nodes."),
        "lab": ("lab:lab", "The local cloud: up, down, status, env."),
        "network": ("network:network", "Virtual networks, subnets and interfaces."),
        "version": ("version:version", "Versions of podloom and of what it runs."),
    },
)
def podloom() -> None:
    """Container networking in the Azure style, on one machine: a local Azure with AKS clusters in it.

    Start with `podloom lab up`; then as with az: `podloom group create`, `podloom aks create` ...
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 well, 1 the user's mistake or a failure, 2 a malformed line, 3 not found."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        ended = podloom.main(arguments, prog_name="podloom", standalone_mode=False)
        code = ended if isinstance(ended, int) else 0  # click returns what Context.exit was given
    except click.Abort:
        click.echo("ERROR: stopped by the user.", err=True)
        code = 1
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        from podloom.cli.failures import explain

        code = explain(error)
    sys.exit(code)


if __name__ == "__main__":
    main()
