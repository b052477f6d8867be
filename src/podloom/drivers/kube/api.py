"""What every Kubernetes client body offers, and its errors.

The problem: controllers, agent and operator must not care whether they speak to a real API server, to the one
in memory of their tests, or to one that fails every tenth call. So the verbs are one protocol, and a refusal is
a `KubeError` that is at the same time of the error family that says what to do (Stale, Rejected, Unavailable).
Connection trouble without an answer is plain `Unavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from podloom.model.errors import PodloomError, Rejected, Stale, Unavailable
from podloom.model.kube import Object, Resource

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class KubeError(PodloomError):
    """An answer other than success: metav1.Status (API conventions, "Response Status Kind").

    `KubeError(status, reason, message, details)` builds the family that fits the status: 404, 409, 410 are also
    Stale, 429 and 5xx also Unavailable, every other also Rejected.
    """

    status: int
    reason: str
    details: Object

    def __new__(cls, status: int, *_: Any, **__: Any) -> KubeError:
        family = _family(status) if cls is KubeError else cls
        return super().__new__(family)

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: Object | None = None,
        *,
        attempted: str = "kubernetes request",
    ) -> None:
        super().__init__(attempted, message or reason or f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.details = details or {}

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def already_exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """The object changed since it was read, or a uid or resourceVersion precondition failed."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def expired(self) -> bool:
        """410: the resourceVersion or continue token is too old; list again."""
        return self.status == 410

    @property
    def retry_after_s(self) -> int:
        """Seconds the server asks to wait, 0 when it does not say."""
        return int(self.details.get("retryAfterSeconds") or 0)


class KubeRejected(KubeError, Rejected):
    """400, 401, 403, 405, 422 and other client mistakes."""


class KubeStale(KubeError, Stale):
    """404, 409, 410: read again."""


class KubeUnavailable(KubeError, Unavailable):
    """429 and 5xx: back off."""


def _family(status: int) -> type[KubeError]:
    if status in (404, 409, 410):
        return KubeStale
    if status == 429 or status >= 500:
        return KubeUnavailable
    return KubeRejected


def error_of(status: Object, attempted: str = "kubernetes request") -> KubeError:
    """The KubeError of a metav1.Status object."""
    return KubeError(
        int(status.get("code") or 500),
        status.get("reason") or "",
        status.get("message") or "",
        status.get("details"),
        attempted=attempted,
    )


class KubeApi(Protocol):
    """The verbs. Objects go in and come out as plain dicts; every method raises KubeError or Unavailable."""

    async def discover(self) -> list[tuple[Resource, frozenset[str]]]:
        """Every resource of each group's preferred version with its verbs, without subresources."""
        ...

    async def get(self, res: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """One object."""
        ...

    async def list(
        self,
        res: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
    ) -> tuple[list[Object], str]:
        """All objects and the list's resourceVersion; `limit` > 0 fetches them in pages of that size."""
        ...

    async def create(
        self, res: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        """POST; the namespace defaults to the object's own. `name` only with a subresource (binding, eviction)."""
        ...

    async def replace(self, res: Resource, obj: Object, *, subresource: str = "") -> Object:
        """PUT; with metadata.resourceVersion it fails with a conflict when the object changed."""
        ...

    async def delete(
        self,
        res: Resource,
        name: str,
        namespace: str = "",
        *,
        grace_period_s: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
    ) -> Object:
        """DELETE; `uid` is a precondition, `propagation` Foreground, Background or Orphan."""
        ...

    async def delete_collection(self, res: Resource, namespace: str = "") -> None:
        """DELETE of the collection: every object of the resource in the namespace."""
        ...

    async def patch(
        self,
        res: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        kind: str = "merge",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> Object:
        """PATCH; `kind` is merge, strategic, json or apply (which needs `manager`)."""
        ...

    def watch(
        self,
        res: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 0,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object) until the server ends the stream.

        An ERROR event raises its KubeError (410 when `resource_version` is too old); a broken connection
        raises Unavailable.
        """
        ...
