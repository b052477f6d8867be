"""Errors as people read them: `ERROR: (Code) message`, every further mistake, what to do; and the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from podloom.model.errors import PodloomError, Rejected, Unavailable

USER_ERROR, NOT_FOUND = 1, 3


def explain(error: Exception) -> int:
    """Print `error` on standard error; returns the exit code: 3 for what was not found, else 1."""
    from podloom.drivers.arm import CloudError

    if isinstance(error, CloudError):
        _echo(cloud_error_text(error.code, error.text, error.details))
        return NOT_FOUND if error.status == 404 else USER_ERROR
    if isinstance(error, PodloomError):
        _echo(f"ERROR: ({error.arm_code}) {error.message}")
        if isinstance(error, Unavailable | Rejected) and os.environ.get("PODLOOM_DEBUG"):
            traceback.print_exception(error)
        return USER_ERROR
    _echo(f"ERROR: the command failed: {type(error).__name__}: {error}")
    traceback.print_exception(error)
    return USER_ERROR


def cloud_error_text(code: str, message: str, details: list[dict[str, Any]]) -> str:
    """An ARM error with all its details; the first detail repeats the head and is shown once."""
    lines = [f"ERROR: ({code}) {message}"]
    if len(details) > 1:
        lines.append(f"Details ({len(details)} mistakes):")
        lines += [line for detail in details for line in _detail_lines(detail, "  ", head=True)]
    elif details:
        lines += _detail_lines(details[0], "", head=False)
    return "\n".join(lines)


def _detail_lines(detail: dict[str, Any], indent: str, *, head: bool) -> list[str]:
    info: dict[str, str] = {}
    for item in detail.get("additionalInfo") or []:
        info |= item.get("info") or {}
    lines = [f"{indent}({detail.get('code')}) {detail.get('message')}"] if head else []
    deeper = f"{indent}    " if head else ""
    rows = {"Target": detail.get("target"), "Fix": info.get("fix"), "Rule": info.get("requirement")}
    return lines + [f"{deeper}{name}: {text}" for name, text in rows.items() if text]


def _echo(text: str) -> None:
    click.echo(click.style(text, fg="red") if sys.stderr.isatty() else text, err=True)
