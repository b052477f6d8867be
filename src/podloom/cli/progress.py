"""Long work as it goes on: its steps, live on a terminal, as plain lines elsewhere.

The problem: a cluster takes seconds and a user wants to see which part is being made; a log wants lines that stay.
Both go to standard error, since standard output carries the result alone. Steps are {name, state, at}, in order.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

Json = dict[str, Any]


class Progress(Protocol):
    """Shows steps; `show` is told all of them each time."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, steps: Sequence[Json]) -> None: ...


def progress(title: str, *, quiet: bool) -> Progress:
    """The progress display for this standard error."""
    if quiet:
        return _Silent()
    return _Live(title) if sys.stderr.isatty() else _Lines(title)


class StepsOf:
    """What work calls with (step, state), for a display that wants the list of all steps."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._steps: dict[str, Json] = {}

    def __call__(self, name: str, state: str) -> None:
        self._steps[name] = {"name": name, "state": state}
        self._display.show(list(self._steps.values()))


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, steps: Sequence[Json]) -> None:
        return None


class _Lines(_Silent):
    """One line per change of a step."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown: dict[str, str] = {}

    def show(self, steps: Sequence[Json]) -> None:
        for step in steps:
            name, state = str(step.get("name")), str(step.get("state"))
            if self._shown.get(name) != state:
                self._shown[name] = state
                detail = f" ({step['detail']})" if step.get("detail") else ""
                print(f"{self._title}: {name}: {state}{detail}", file=sys.stderr, flush=True)


class _Live:
    """A list that is drawn anew, with a spinner and the time each step took."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._title = title
        self._steps: Sequence[Json] = ()
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._live = Live(console=Console(stderr=True), get_renderable=self._draw, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, steps: Sequence[Json]) -> None:
        now = time.monotonic()
        for step in steps:
            name = str(step.get("name"))
            self._began.setdefault(name, now)
            if step.get("state") == "running":
                self._took.pop(name, None)
            else:
                self._took.setdefault(name, now - self._began[name])
        self._steps = list(steps)

    def _draw(self) -> Any:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(), Text(self._title, style="bold"))
        for step in self._steps:
            name, state = str(step.get("name")), step.get("state")
            spent = self._took.get(name, time.monotonic() - self._began.get(name, time.monotonic()))
            mark: Any = Spinner("dots") if state == "running" else Text("✓" if state == "done" else "✗")
            style = {"done": "green", "failed": "red"}.get(str(state), "cyan")
            detail = f"  {step['detail']}" if step.get("detail") else ""
            grid.add_row(mark, Text(f"{name}  {spent:.1f} s{detail}", style=style))
        return grid
