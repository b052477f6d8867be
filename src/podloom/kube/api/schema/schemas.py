"""What the server asks of the schema machinery, in one object.

The problem: decoding, patching and field management all need the schema of the type at hand, be it built in or
defined by a CustomResourceDefinition, and the server should not care which. `Schemas` finds the schema and
delegates; everything it returns is a plain JSON object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podloom.kube.api.contract import Kind, Object, ResourceType


@dataclass
class Parsed:
    """A decoded request body and the paths of keys that occurred twice in one mapping (`data.a`)."""

    obj: Object
    duplicates: list[str] = field(default_factory=list)


@dataclass
class Patched:
    """The outcome of a patch; `applied`: by server-side apply, so managedFields are done already."""

    obj: Object
    warnings: list[str] = field(default_factory=list)
    applied: bool = False


class Schemas:
    """All schemas the server knows: the built-in ones, and those of CRDs given to `add_crd`."""

    # -- types ---------------------------------------------------------------------------------------------

    def set_types(self, types: Sequence[ResourceType]) -> None:
        """The types served now (built in and custom): what the OpenAPI documents list paths for."""
        raise NotImplementedError

    def add_crd(self, crd: Object) -> list[Kind]:
        """Take in (or renew) a CustomResourceDefinition; returns a `Kind` (with .type) per served version.

        The kinds do pruning, defaulting, validation, CEL rules, columns and scale of custom objects. Returns
        none while the condition Established is not True.
        """
        raise NotImplementedError

    def remove_crd(self, name: str) -> None:
        """Forget the schemas of the CRD called `name` (plural.group)."""
        raise NotImplementedError

    def crd_kind(self) -> Kind:
        """The Kind of CustomResourceDefinition itself: defaults, validation, status."""
        raise NotImplementedError

    def settle_crd(self, crd: Object, others: Sequence[Object], now: str) -> Object | None:
        """crd with acceptedNames and the conditions NamesAccepted and Established decided, or None if settled.

        `others` are the other stored CRDs. The server stores the result as manager kube-apiserver, subresource
        status (managedFields are already in the result).
        """
        raise NotImplementedError

    def terminate_crd(self, crd: Object, reason: str, message: str, now: str, status: str = "True") -> Object:
        """crd with condition Terminating (InstanceDeletionPending, InstanceDeletionInProgress, ...)."""
        raise NotImplementedError

    # -- bodies --------------------------------------------------------------------------------------------

    def parse(self, body: bytes, media_type: str, kind: str) -> Parsed:
        """Body -> object. media_type application/json or application/yaml; kind for the message only.

        Raises StatusError 400 with kube-apiserver's "the object provided is unrecognized ..." texts.
        Does not look at apiVersion and kind.
        """
        raise NotImplementedError

    def decode(
        self, rtype: ResourceType, obj: Object, field_validation: str = "Warn", *, duplicates: Sequence[str] = ()
    ) -> tuple[Object, list[str]]:
        """obj as the server's types would hold it, and warnings (`unknown field "spec.foo"`).

        Unknown fields dropped, empty optional values dropped, wrong types and (Strict) unknown or duplicate
        fields refused with StatusError 400. Works for any group, version and kind the schemas know, also those
        that are no resources of their own (Scale, Eviction, DeleteOptions with group ""). Custom objects are
        pruned here too. May mutate obj.
        """
        raise NotImplementedError

    def finish(self, rtype: ResourceType, obj: Object) -> Object:
        """obj as a real server writes it (always-present empty structs, nulls of required lists). In place.

        Call once per write, after validation, before storing. Idempotent.
        """
        raise NotImplementedError

    # -- writes --------------------------------------------------------------------------------------------

    def patch_media_types(self, rtype: ResourceType) -> tuple[str, ...]:
        """Content types a PATCH of the type may have, in the order messages list them."""
        raise NotImplementedError

    def apply_patch(
        self,
        content_type: str,
        rtype: ResourceType,
        current: Object | None,
        body: bytes,
        *,
        name: str = "",
        namespace: str = "",
        manager: str = "unknown",
        force: bool = False,
        subresource: str = "",
        now: str = "",
        field_validation: str = "Warn",
    ) -> Patched:
        """The object that PATCH wants stored; current None only for apply-patch+yaml (create by apply).

        The caller has checked the content type, PatchOptions (fieldManager, force) and that names match is
        checked here for apply (400). StatusErrors as kube-apiserver's: 400, 409 conflicts, 415, 422, 500.
        `current` is not mutated.
        """
        raise NotImplementedError

    def update_managed_fields(
        self,
        rtype: ResourceType,
        new: Object,
        old: Object | None,
        *,
        manager: str,
        operation: str = "Update",
        subresource: str = "",
        now: str,
    ) -> None:
        """Set new.metadata.managedFields for an update of old (None: create) to new by manager. Mutates new.

        managedFields in `new` are taken over as the client sent them (main resource; [{}] resets), those of
        old when there are none. Fields that the (sub)resource may not change are not tracked.
        """
        raise NotImplementedError

    def patch_scale_fields(
        self,
        rtype: ResourceType,
        new: Object,
        old: Object,
        *,
        manager: str,
        replicas_path: Sequence[str] = ("spec", "replicas"),
        operation: str = "Update",
        force: bool = False,
    ) -> None:
        """Set new.metadata.managedFields after a write through the scale subresource (old -> new differ in replicas).

        An Apply raises StatusError 409 when another manager owns replicas with another value, unless forced.
        """
        raise NotImplementedError

    # -- documents -----------------------------------------------------------------------------------------

    def openapi_v3_index(self) -> Object:
        """The body of /openapi/v3: paths -> serverRelativeURL with hash."""
        raise NotImplementedError

    def openapi_v3(self, path: str) -> Object | None:
        """The document of `api/v1` or `apis/apps/v1`; None if no such group version is served."""
        raise NotImplementedError

    def openapi_v2(self) -> Object:
        """The swagger 2.0 document of /openapi/v2."""
        raise NotImplementedError
