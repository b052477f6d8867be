"""What most kinds have in common: a status the main resource may not write, and a generation.

The problem: every kind separates what users want (spec) from what is observed (status), counts changes of the
former in metadata.generation, and prints a table. `BuiltIn` does this from a few class attributes; the kinds add
what is really theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, ClassVar

from podloom.kube.api.contract import Cause, Column, Context, Kind, Object, StatusError
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import age, age_column, name_column

Cell = Callable[[Object, str], Any]


class BuiltIn(Kind):
    """A kind by class attributes.

    `has_status`: status is written through its subresource only; `initial_status` is what a new object shows.
    `generation`: metadata.generation counts changes of everything but metadata and status.
    `printed`: columns between Name and Age with the function (object, now) -> cell; `shows_age` adds Age behind
    those of priority 0.
    """

    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = False
    initial_status: ClassVar[Object | None] = None
    printed: ClassVar[Sequence[tuple[Column, Cell]]] = ()
    shows_age: ClassVar[bool] = True

    def prepare_create(self, obj: Object, ctx: Context) -> None:
        if self.has_status:
            obj.pop("status", None)
            if self.initial_status is not None:
                obj["status"] = deepcopy(self.initial_status)
        if self.generation:
            obj["metadata"]["generation"] = 1
        self.create(obj, ctx)

    def prepare_update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "status":
            self.default(obj, ctx)
        elif self.has_status:
            keep(obj, old, "status")
        self.update(obj, old, ctx)
        if self.generation:
            count_generation(obj, old)

    def create(self, obj: Object, ctx: Context) -> None:
        """What a kind adds to prepare_create."""

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        """What a kind adds to prepare_update, before the generation is counted."""

    def validate_create(self, obj: Object, ctx: Context) -> list[Cause]:
        report = Report()
        self.check(report, obj, None, ctx)
        return report.causes

    def validate_update(self, obj: Object, old: Object, ctx: Context) -> list[Cause]:
        report = Report()
        if ctx.subresource == "status":
            self.check_status(report, obj, old, ctx)
        else:
            self.check(report, obj, old, ctx)
            self.check_change(report, obj, old, ctx)
        return report.causes

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        """Mistakes of an object, whether new or changed."""

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        """Changes that are not allowed."""

    def check_status(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        """Mistakes of a status update."""

    def columns(self) -> Sequence[Column]:
        plain = [column for column, _ in self.printed if not column.priority]
        wide = [column for column, _ in self.printed if column.priority]
        return [name_column(), *plain, *([age_column()] if self.shows_age else []), *wide]

    def cells(self, obj: Object, now: str) -> list[Any]:
        plain = [cell(obj, now) for column, cell in self.printed if not column.priority]
        wide = [cell(obj, now) for column, cell in self.printed if column.priority]
        shown = [age(obj["metadata"].get("creationTimestamp"), now)] if self.shows_age else []
        return [obj["metadata"]["name"], *plain, *shown, *wide]


def keep(obj: Object, old: Object, field: str) -> None:
    """Set a top-level field to what it was, or drop it when it was not there."""
    if field in old:
        obj[field] = deepcopy(old[field])
    else:
        obj.pop(field, None)


def count_generation(obj: Object, old: Object) -> None:
    """Raise metadata.generation when anything but metadata and status changed."""
    before = old["metadata"].get("generation", 0)
    skip = ("metadata", "status", "kind", "apiVersion", "managedFields")
    changed = any(obj.get(key) != old.get(key) for key in (obj.keys() | old.keys()) if key not in skip)
    obj["metadata"]["generation"] = before + 1 if changed else before
    if not obj["metadata"]["generation"]:
        del obj["metadata"]["generation"]


def forbidden(ctx: Context, group_resource: str, name: str, why: str) -> StatusError:
    """A 403 as admission gives it."""
    plural, _, group = group_resource.partition(".")
    details: Object = {"kind": plural}
    if name:
        details = {"name": name, **details}
    if group:
        details["group"] = group
    shown = f'{group_resource} "{name}"' if name else group_resource
    return StatusError(403, "Forbidden", f"{shown} is forbidden: {why}", details=details)
