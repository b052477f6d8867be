"""What a resource provider decides about one resource type.

The problem: every type shares the same life (put, get, list, delete, report) and differs in what a wish must look
like, who realises it and what must go with it. The life is `engine`; the differences are the hooks here, each with
a harmless default. Hooks run inside the request's transaction, so a refusal leaves nothing half made.
"""

from __future__ import annotations

from typing import ClassVar

from podloom.cloud.store import Row, Store
from podloom.model.arm import ResourceId
from podloom.model.findings import Finding
from podloom.render.arm import Json


class Rules:
    """The hooks of one type; `type` is spelled as Azure spells it."""

    type: ClassVar[str]
    # Who reports that the wish has been realised; "" when storing it is all there is.
    realised_by: ClassVar[str] = ""
    # Whether a second, different PUT is refused while the first is in flight.
    exclusive: ClassVar[bool] = False
    # Whether a delete waits for `finalize` by who realises it.
    removal_waits: ClassVar[bool] = False
    # Property of the body that lists child resources kept inside it, by child type segment in lower case.
    embedded: ClassVar[dict[str, str]] = {}
    # Whether such a child is one flat object in the list (node pools) or {name, properties} (subnets).
    flat_children: ClassVar[bool] = False
    # Top-level properties only the system writes; a wish that carries them is cleaned.
    read_only: ClassVar[frozenset[str]] = frozenset({"provisioningState", "podloom"})

    # The JSON shape of what the hooks read of `properties` (plan.address.shape); a wish of another shape is refused.
    shape: ClassVar[Json] = {}

    def __init__(self, store: Store) -> None:
        self.store = store

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        """The wish with the service's defaults and allocations, and what is to be said about it.

        Any finding that refuses stops the request; allocations made here are then rolled back.
        """
        return wish, []

    def first_report(self, id_: ResourceId, body: Json, old: Row | None) -> Json:
        """Server-owned properties that a new wish starts with (merged into the old ones)."""
        return {}

    def with_state(self, row: Row, state: str) -> Json:
        """Server-owned properties that follow when the resource is reported Succeeded or Failed."""
        return {}

    def after_write(self, row: Row) -> None:
        """What else exists because this resource does."""

    def check_delete(self, row: Row, leaving: frozenset[str]) -> list[Finding]:
        """Why this resource cannot be removed now; users inside the groups `leaving` (keys) go too."""
        return []

    def goes_with(self, row: Row) -> list[Row]:
        """What is removed together with this resource."""
        return []

    def leaving(self, row: Row) -> frozenset[str]:
        """Keys of the groups that go when this resource group goes."""
        return frozenset({row.id.key})
