"""What the parts of the API server say to each other.

The problem: one server, three concerns that change for different reasons: the generic machinery (verbs,
watch, storage), the schema machinery (decode, patch, managed fields, custom resources) and what is special
about each built-in kind (defaults, validation, columns). They meet only here: a Status error, the description
of a resource type, the `Kind` hooks and the context those hooks receive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Object = dict[str, Any]  # a decoded Kubernetes object; JSON types only


@dataclass(frozen=True)
class Cause:
    """One entry of Status.details.causes; reason is e.g. FieldValueRequired, field e.g. spec.ports[0].port."""

    reason: str
    message: str
    field: str


class StatusError(Exception):
    """An answer other than success, as a metav1.Status (k8s.io API conventions, "Response Status Kind")."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        causes: Sequence[Cause] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        if causes:
            self.details["causes"] = [
                {"reason": c.reason, "message": c.message, "field": c.field}
                if c.field
                else {"reason": c.reason, "message": c.message}
                for c in causes
            ]

    def status(self) -> Object:
        body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        if self.message:
            body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


@dataclass(frozen=True)
class Subresource:
    """A subresource of a type, e.g. status, scale, log; group_version_kind overrides the parent's for discovery."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class ResourceType:
    """One served resource: what discovery says of it and how its objects are found."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = (
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    )
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    storage_version_hash: str = ""
    storage_version: str = ""  # the version objects are stored under; empty: this one

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`deployments.apps` or `pods`: how messages name the type."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage_key(self) -> str:
        """The store's key prefix: one per resource, whatever versions are served."""
        return f"{self.group}/{self.plural}"


class Reader(Protocol):
    """Read access to stored objects, for hooks that depend on other objects. Never blocks on a socket."""

    def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None: ...
    def list(self, group: str, plural: str, namespace: str = "") -> list[Object]: ...


@dataclass(frozen=True)
class Settings:
    """What a server is told about its cluster; the lab only passes other values."""

    service_cidrs: tuple[str, ...] = ("10.0.0.0/16",)
    node_port_range: tuple[int, int] = (30000, 32767)
    ip_families: tuple[str, ...] = ("IPv4",)
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"


@dataclass
class Context:
    """Everything a hook may know about the request besides the object."""

    reader: Reader
    settings: Settings
    now: str  # RFC 3339, seconds, Z
    verb: str  # create, update, patch, delete ...
    user: str = ""
    groups: tuple[str, ...] = ()
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """A column of Table output (meta.k8s.io/v1 TableColumnDefinition)."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Kind:
    """What is special about one built-in kind; every method has a harmless default.

    The server calls, for a create: default, prepare_create, validate_create; for an update (PUT and PATCH):
    default, prepare_update, validate_update. prepare_* mutate `obj` in place (strip status on the main resource,
    keep what the client may not change, set generation, allocate); validate_* return every mistake at once and the
    server answers 422 Invalid. `admit` runs before defaults on create/update/delete and may raise StatusError
    (403 etc.) or mutate. `after_delete` and `after_store` release or take things the store must do in the same
    transaction (e.g. service addresses); they may return extra writes.
    """

    type: ResourceType

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None: ...

    def default(self, obj: Object, ctx: Context) -> None: ...

    def prepare_create(self, obj: Object, ctx: Context) -> None: ...

    def prepare_update(self, obj: Object, old: Object, ctx: Context) -> None: ...

    def validate_create(self, obj: Object, ctx: Context) -> list[Cause]:
        return []

    def validate_update(self, obj: Object, old: Object, ctx: Context) -> list[Cause]:
        return []

    def columns(self) -> Sequence[Column]:
        return (Column("Name", format="name"), Column("Created At", type="date"))

    def cells(self, obj: Object, now: str) -> list[Any]:
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]

    def field_values(self, obj: Object) -> dict[str, str]:
        """Field-selector values besides metadata.name and metadata.namespace."""
        return {}

    def graceful_delete_s(self, obj: Object, requested_s: int | None) -> int:
        """Seconds between the delete request and removal; 0 removes at once (pods override)."""
        return 0
