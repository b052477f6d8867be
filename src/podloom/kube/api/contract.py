"""What the parts of the API server say to each other.

The problem: one server, three concerns that change for different reasons: the generic machinery (verbs,
watch, storage), the schema machinery (decode, patch, managed fields, custom resources) and what is special
about each built-in kind (defaults, validation, columns). They meet only here: a Status error, the description
of a resource type, the `Kind` hooks and the context those hooks receive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        self._empty_details = details == {}  # details={} is shown as an empty mapping, None not at all
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
        if self.details or self._empty_details:
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
    storage_version: str = ""  # group version ("v1", "autoscaling/v2") objects are stored as; empty: this one
    list_kind: str = ""  # empty: kind + "List"
    custom: bool = False  # defined by a CustomResourceDefinition
    deprecated_warning: str = ""  # Warning header text of every request, e.g. "v1 Endpoints is deprecated in ..."
    response_kind_gvk: tuple[str, str] | None = None  # discovery: group, version of the kind when not the type's own

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
        group = self.storage_version.rpartition("/")[0] if self.storage_version else self.group
        return f"{group}/{self.plural}"


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


@dataclass(frozen=True)
class UserInfo:
    """Who asks, after authentication and impersonation (authentication.k8s.io/v1 UserInfo)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Attributes:
    """What is asked of the authorizer; path is set for non-resource requests only."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Powers(Protocol):
    """What reviews and token requests need of the server's authentication and authorization."""

    def sign_token(self, claims: Object) -> str:
        """A JWT over claims, signed with the service account key."""
        ...

    def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]]:
        """User and the audiences that matched; raises StatusError 401 with the reason as message."""
        ...

    def authorize(self, user: UserInfo, attributes: Attributes) -> tuple[bool, str]:
        """Allowed, and the reason RBAC gives."""
        ...

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Object], list[Object]]:
        """PolicyRules in effect: those with resources, those with nonResourceURLs."""
        ...


@dataclass(frozen=True)
class Write:
    """One more write in the transaction of a request; obj None deletes the object."""

    type: ResourceType
    namespace: str
    name: str
    obj: Object | None


@dataclass(frozen=True)
class Answer:
    """What a hook answers for a subresource: the body, its status code, and writes of the transaction."""

    body: Object
    code: int = 201
    writes: Sequence[Write] = ()


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
    user_info: UserInfo = field(default_factory=lambda: UserInfo(""))
    powers: Powers | None = None  # always set in a running server
    query: Mapping[str, str] = field(default_factory=dict)
    options: Object = field(default_factory=dict)  # DeleteOptions of a delete


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

    The server calls, for a create: default, (managed fields), admit, default again, prepare_create, (ObjectMeta
    rules), validate_create; for an update (PUT and PATCH) the same with prepare_update and validate_update; for a
    delete admit(obj, obj). prepare_* mutate `obj` in place (strip status on the main resource, keep what the client
    may not change, set generation, allocate); validate_* return every mistake at once and the server answers 422
    Invalid. `admit` may raise StatusError (403 etc.) or mutate; while a generated name is still open it sees the base
    as the name. `after_delete` and `after_store` release or take things the store must do in the same transaction
    (e.g. service addresses); they may return extra writes.

    The server does for every kind, so a Kind need not: decode and field validation, name from generateName, uid,
    creationTimestamp, resourceVersion, deletionTimestamp and finalizers, validation of ObjectMeta (name by
    `name_rule`, generateName, labels, annotations, finalizers, ownerReferences; update: immutable fields),
    namespace lifecycle, dry run, preconditions, managedFields. Its causes come before validate_*'s.
    Subresource "status" (PUT, PATCH): obj has metadata and status of the client and the rest of `old`; then
    prepare_update and validate_update with ctx.subresource == "status". Other subresources with an update verb
    (e.g. pods/ephemeralcontainers, namespaces/finalize): obj as the client sent it, ctx.subresource set.
    On the main resource prepare_* must drop or keep status themselves (see `keep_status`).
    """

    type: ResourceType
    stored: bool = True  # False: reviews and the like; POST is answered by `create_virtual`
    name_rule: str = "subdomain"  # subdomain | label | dns1035 | path (rbac: any path segment) | custom
    unconditional_update: bool = True  # PUT without resourceVersion overwrites
    returns_deleted: bool = False  # DELETE answers with the object instead of a Success Status
    create_on_update: bool = False  # PUT of a missing name creates it (leases, rbac)
    field_labels: tuple[str, ...] = ()  # what field_values has besides metadata.name and metadata.namespace
    unknown_field_label: str = ""  # 400 text for other labels, with {label}; empty: the generic text

    def create_virtual(self, obj: Object, ctx: Context) -> Object:
        """The body answering a POST of a kind that is not stored (stored=False)."""
        raise NotImplementedError

    def list_virtual(self, ctx: Context) -> list[Object]:
        """The objects of a kind that is not stored but listed (componentstatuses)."""
        return []

    def post_subresource(self, body: Object, current: Object, ctx: Context) -> Answer:
        """Answer a POST to ctx.subresource (binding, eviction, token) of the stored object `current`.

        `body` is decoded. Writes are stored in one transaction (not when ctx.dry_run). A write of `current`
        itself is subject to its resourceVersion as read. To delete with grace (eviction) return a Write of the
        object's type with obj None and the server applies delete semantics.
        """
        raise NotImplementedError

    def get_scale(self, obj: Object) -> Object:
        """spec and status of the autoscaling/v1 Scale; the server adds kind, apiVersion and metadata."""
        raise NotImplementedError

    def set_scale(self, obj: Object, replicas: int) -> None:
        """Set the replicas of a Scale update in obj."""
        raise NotImplementedError

    def to_storage(self, obj: Object) -> Object:
        """obj in this type's version -> the stored form (events.k8s.io -> core events). Must not mutate."""
        return obj

    def from_storage(self, obj: Object) -> Object:
        """The stored form -> this type's version (apiVersion is rewritten by the server). Must not mutate."""
        return obj

    def after_store(self, obj: Object, old: Object | None, ctx: Context) -> Sequence[Write]:
        """Writes of the same transaction as a create (old None) or update."""
        return ()

    def after_delete(self, obj: Object, ctx: Context) -> Sequence[Write]:
        """Writes of the same transaction as the final removal of obj."""
        return ()

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
