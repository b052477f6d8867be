"""What every body of the cloud client offers, and the values it deals in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from podloom.model.errors import PodloomError

Json = dict[str, Any]


class CloudError(PodloomError):
    """The cloud's own answer: HTTP status and ARM error {code, message, target, details[]}."""

    def __init__(self, status: int, error: Json) -> None:
        self.status = status
        self.code = str(error.get("code", "InternalServerError"))
        self.text = str(error.get("message", ""))
        self.details: list[Json] = list(error.get("details") or [])
        super().__init__(f"({self.code}) {self.text}", "", target=str(error.get("target") or ""))

    @property
    def message(self) -> str:
        return self.attempted

    @property
    def not_found(self) -> bool:
        return self.status == 404


@dataclass(frozen=True)
class Change:
    """One line of the change stream.

    `marker` is "" for a change of the resource `id` (`resource` its body, None when `deleted`). The first line
    is always a marker: "snapshot" (forget what you know: everything that exists follows) or "resume"; and
    "synced" follows once the stream has caught up. Markers have an empty id.
    """

    seq: int
    id: str
    deleted: bool
    type: str = ""
    resource: Json | None = None
    marker: str = ""


class CloudApi(Protocol):
    """The cloud as doors use it; see CloudClient for what each call claims."""

    async def get(self, id: str) -> Json: ...
    async def find(self, id: str) -> Json | None: ...
    async def list(self, path: str) -> list[Json]: ...
    async def put(self, id: str, body: Json, wait: bool = False) -> Json: ...
    async def delete(self, id: str, wait: bool = False) -> None: ...
    async def report(self, id: str, properties_patch: Json, *, generation: int | None = None) -> Json: ...
    async def finalize(self, id: str) -> None: ...
    def changes(self, since: int = 0) -> AsyncIterator[Change]: ...
