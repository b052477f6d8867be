"""What every command that prints a result has: output format, query, quietness; and how a result leaves.

The problem: az's global arguments behave the same on each command, so they are attached in one place. A command
returns its result (None prints nothing); this prints it on standard output, and nothing else goes there.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from podloom.render.formats import FORMATS, Transformer

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Quiet:
    """Whether warnings and progress are to be kept back (--only-show-errors)."""

    errors_only: bool = False


def tell(text: str, colour: str | None = None) -> None:
    """A line on standard error, unless --only-show-errors was given."""
    quiet = click.get_current_context().meta.get("podloom.quiet", Quiet())
    if not quiet.errors_only:
        click.echo(click.style(text, fg=colour) if colour and sys.stderr.isatty() else text, err=True)


def warn(text: str) -> None:
    """A warning, likewise."""
    tell(f"WARNING: {text}", "yellow")


EXIT_CODE = "podloom.exit-code"  # a context's meta: what to end with after printing


def prints(table: Transformer | None = None, *, default: str = "json") -> Callable[[F], F]:
    """Give a command --output, --query, --only-show-errors, --verbose and --debug, and print what it returns.

    `default` is the format when neither --output nor AZURE_CORE_OUTPUT names one.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> None:
            form, query = kwargs.pop("output_format"), kwargs.pop("jmespath_query")
            context = click.get_current_context()
            context.meta["podloom.quiet"] = Quiet(kwargs.pop("only_show_errors"))
            kwargs.pop("verbose"), kwargs.pop("debug")
            if query is not None:
                _check_query(query)
            result = command(*args, **kwargs)
            if result is not None:
                write(result, form, query, table)
            if code := context.meta.get(EXIT_CODE):
                context.exit(code)

        for option in (*reversed(_GLOBAL), _output_option(default)):
            run = option(run)
        return run  # type: ignore[return-value]

    return decorate


def write(result: Any, form: str, query: str | None, table: Transformer | None) -> None:
    """Print a result in the wanted format on standard output."""
    from podloom.render.tables import apply_query, print_result

    queried = query is not None
    if query is not None:
        result = apply_query(query, result)
        if result is None and form not in ("json", "jsonc", "yaml", "yamlc"):
            return
        if result is None:
            return
    text = print_result(result, form, queried=queried, transformer=table)
    if form in ("jsonc", "yamlc") and sys.stdout.isatty():
        text = _coloured(text, form)
    click.echo(text, nl=False)


def yes_option(command: F) -> F:
    return click.option("--yes", "-y", is_flag=True, help="Do not prompt for confirmation.")(command)


def no_wait_option(command: F) -> F:
    text = "Do not wait for the long-running operation to finish."
    return click.option("--no-wait", is_flag=True, help=text)(command)


def confirm(yes: bool) -> None:
    """Ask before a removal, as az does; without a terminal --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException("Unable to prompt for confirmation as no tty available. Use --yes.")
    if not click.confirm("Are you sure you want to perform this operation?", default=False, err=True):
        raise click.exceptions.Exit(1)


def _check_query(query: str) -> None:
    import jmespath

    try:
        jmespath.compile(query)
    except jmespath.exceptions.JMESPathError as error:
        raise click.UsageError(f"argument --query: invalid jmespath_type value: {query!r} ({error})") from None


def _coloured(text: str, form: str) -> str:
    from pygments import formatters, highlight, lexers  # type: ignore[import-untyped]

    lexer = lexers.get_lexer_by_name("json" if form == "jsonc" else "yaml")
    coloured: str = highlight(text, lexer, formatters.get_formatter_by_name("terminal"))
    return coloured


def _output_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--output",
        "-o",
        "output_format",
        type=click.Choice(FORMATS, case_sensitive=False),
        default=default,
        envvar="AZURE_CORE_OUTPUT",
        show_default=True,
        help="Output format.",
    )


_GLOBAL = (
    click.option("--query", "jmespath_query", help="JMESPath query string."),
    click.option("--only-show-errors", is_flag=True, help="Only show errors, suppressing warnings."),
    click.option("--verbose", is_flag=True, help="Increase logging verbosity.", hidden=True),
    click.option("--debug", is_flag=True, help="Show all debug logs.", hidden=True),
)
