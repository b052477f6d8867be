"""What the server asks of the schema machinery, in one object.

The problem: decoding, patching and field management all need the schema of the type at hand, be it built in or
defined by a CustomResourceDefinition, and the server should not care which. `Schemas` finds the schema and
delegates; everything it returns is a plain JSON object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podloom.kube.api.contract import Cause, Kind, Object, ResourceType, StatusError
from podloom.kube.api.schema import managed, openapi, patch
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.crd import TYPE as CRD_TYPE
from podloom.kube.api.schema.crd import CrdKind, settled, terminating
from podloom.kube.api.schema.custom import CustomKind, kinds_of
from podloom.kube.api.schema.decode import DecodeError, Decoder, finish
from podloom.kube.api.schema.fieldset import Trie
from podloom.kube.api.schema.managed import Writer
from podloom.kube.api.schema.nodes import ANY, Node
from podloom.kube.api.schema.parse import SyntaxError_, load_json, load_yaml, summary
from podloom.kube.api.schema.registry import builtin
from podloom.kube.api.schema.typed import merge


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


_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_STATUS: Trie = {"f:status": {}}
_NOT_STATUS: Trie = {"f:spec": {}}
# What the status strategies of some kinds put back besides spec.
_RESET_BY_STATUS: dict[str, Trie] = {
    "deployments.apps": {"f:spec": {}, "f:metadata": {"f:labels": {}}},
    "pods": {"f:spec": {}, "f:metadata": {"f:ownerReferences": {}, "f:deletionTimestamp": {}}},
}
_NOT_CUSTOM_STATUS: Trie = {"f:spec": {}, "f:metadata": {}}


class Schemas:
    """All schemas the server knows: the built-in ones, and those of CRDs given to `add_crd`."""

    def __init__(self) -> None:
        self._types: tuple[ResourceType, ...] = ()
        self._crds: dict[str, list[CustomKind]] = {}
        self._custom: dict[tuple[str, str, str], CustomKind] = {}

    # -- types ---------------------------------------------------------------------------------------------

    def set_types(self, types: Sequence[ResourceType]) -> None:
        """The types served now (built in and custom): what the OpenAPI documents list paths for."""
        self._types = tuple(types)

    def add_crd(self, crd: Object) -> list[Kind]:
        """Take in (or renew) a CustomResourceDefinition; returns a `Kind` (with .type) per served version.

        The kinds do pruning, defaulting, validation, CEL rules, columns and scale of custom objects. Returns
        none while the condition Established is not True.
        """
        name = crd["metadata"]["name"]
        self.remove_crd(name)
        kinds = kinds_of(crd)
        self._crds[name] = kinds
        for kind in kinds:
            self._custom[kind.type.group, kind.type.version, kind.type.kind] = kind
        return list(kinds)

    def remove_crd(self, name: str) -> None:
        """Forget the schemas of the CRD called `name` (plural.group)."""
        for kind in self._crds.pop(name, ()):
            self._custom.pop((kind.type.group, kind.type.version, kind.type.kind), None)

    def crd_kind(self) -> Kind:
        """The Kind of CustomResourceDefinition itself: defaults, validation, status."""
        return CrdKind()

    def settle_crd(self, crd: Object, others: Sequence[Object], now: str) -> Object | None:
        """crd with acceptedNames and the conditions NamesAccepted and Established decided, or None if settled.

        `others` are the other stored CRDs. The server stores the result as manager kube-apiserver, subresource
        status (managedFields are already in the result).
        """
        out = settled(crd, others, now)
        return None if out is None else self._controlled(out, crd, now)

    def terminate_crd(self, crd: Object, reason: str, message: str, now: str, status: str = "True") -> Object:
        """crd with condition Terminating (InstanceDeletionPending, InstanceDeletionInProgress, ...).

        The first time it is part of the deletion and owned by nobody, later the controller's own update.
        """
        before = (crd.get("status") or {}).get("conditions") or ()
        out = terminating(crd, status, reason, message, now)
        marked = any(c["type"] == "Terminating" for c in before)
        return self._controlled(out, crd, now) if marked else out

    def _controlled(self, crd: Object, old: Object, now: str) -> Object:
        out: Object = clone(crd)
        self.update_managed_fields(CRD_TYPE, out, old, manager="kube-apiserver", subresource="status", now=now)
        return out

    def node(self, rtype: ResourceType) -> Node:
        """The schema of the type's objects; a free one for a type nobody described."""
        custom = self._custom.get((rtype.group, rtype.version, rtype.kind))
        if custom is not None:
            return custom.node
        return builtin().kind(rtype.group, rtype.version, rtype.kind) or ANY

    # -- bodies --------------------------------------------------------------------------------------------

    def parse(self, body: bytes, media_type: str, kind: str, *, custom: bool = False) -> Parsed:
        """Body -> object. media_type application/json or application/yaml; kind for the message only.

        Raises StatusError 400 with kube-apiserver's "the object provided is unrecognized ..." texts. Looks at
        apiVersion and kind only to refuse a body of a custom type that has none.
        """
        value, duplicates = _load(body, media_type, kind)
        if not isinstance(value, dict):
            names = {list: "array", str: "string", bool: "bool", type(None): "null"}
            what = names.get(type(value), "number")
            text = f"couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go value of type "
            raise _unrecognized(kind, text + _TYPE_META, body)
        if custom:
            for key, name in (("kind", "Kind"), ("apiVersion", "apiVersion")):
                if not value.get(key):
                    raise _unrecognized(kind, f"Object '{name}' is missing in '{body.decode(errors='replace')}'", body)
        return Parsed(value, duplicates)

    def decode(
        self, rtype: ResourceType, obj: Object, field_validation: str = "Warn", *, duplicates: Sequence[str] = ()
    ) -> tuple[Object, list[str]]:
        """obj as the server's types would hold it, and warnings (`unknown field "spec.foo"`).

        Unknown fields dropped, empty optional values dropped, wrong types and (Strict) unknown or duplicate
        fields refused with StatusError 400. Works for any group, version and kind the schemas know, also those
        that are no resources of their own (Scale, Eviction, DeleteOptions with group ""). Custom objects are
        pruned here too. May mutate obj.
        """
        self._check_type(rtype, obj)
        try:
            obj, unknown = self._hold(rtype, obj)
        except DecodeError as error:
            raise _cannot_handle(rtype, str(error)) from error
        complaints = [f'duplicate field "{path}"' for path in duplicates]
        complaints += [f'unknown field "{path}"' for path in unknown]
        if complaints and field_validation == "Strict":
            raise _cannot_handle(rtype, "strict decoding error: " + ", ".join(complaints))
        return obj, complaints if field_validation == "Warn" else []

    def _check_type(self, rtype: ResourceType, obj: Object) -> None:
        """Fill in apiVersion and kind, or refuse those of another type."""
        version, kind = obj.get("apiVersion") or rtype.group_version, obj.get("kind") or rtype.kind
        for key, value in (("apiVersion", version), ("kind", kind)):
            if not isinstance(value, str):
                text = f"cannot unmarshal into Go struct field .{key} of type string"
                raise _cannot_handle(rtype, f"couldn't get version/kind; json parse error: json: {text}")
        if obj.get("apiVersion") != version or obj.get("kind") != kind:
            rest = {key: part for key, part in obj.items() if key not in {"apiVersion", "kind"}}
            obj.clear()
            obj.update({"apiVersion": version, "kind": kind}, **rest)
        if version == rtype.group_version and kind == rtype.kind:
            return
        group, _, bare = str(version).rpartition("/")
        if rtype.custom:
            raise _wrong_custom_type(rtype, obj)
        name = builtin().name_of(group, bare, kind)
        if name is None:
            why = (
                f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
            )
        elif kind != rtype.kind:
            own = rtype.group.partition(".")[0] or "core"
            why = f"converting ({bare}.{kind}) to ({own}.{rtype.kind}): unknown conversion"
        else:
            text = f"the API version in the data ({version}) does not match the expected API version "
            raise StatusError(400, "BadRequest", f"{text}({rtype.group_version})")
        message = f'{kind} in version "{bare}" cannot be handled as a {rtype.kind}: {why}'
        raise StatusError(400, "BadRequest", message)

    def _hold(self, rtype: ResourceType, obj: Object) -> tuple[Object, list[str]]:
        """obj as its type holds it, and the paths of fields the type does not have. Raises DecodeError."""
        custom = self._custom.get((rtype.group, rtype.version, rtype.kind))
        if custom is not None:
            return custom.hold(obj)
        decoder = Decoder()
        return decoder.run(self.node(rtype), obj), decoder.unknown

    def finish(self, rtype: ResourceType, obj: Object) -> Object:
        """obj as a real server writes it (always-present empty structs, nulls of required lists). In place.

        Call once per write, after validation, before storing. Idempotent.
        """
        node = self.node(rtype)
        return obj if rtype.custom or node.kind != "struct" else finish(node, obj)

    # -- writes --------------------------------------------------------------------------------------------

    def patch_media_types(self, rtype: ResourceType) -> tuple[str, ...]:
        """Content types a PATCH of the type may have, in the order messages list them."""
        if rtype.custom:
            return patch.JSON_PATCH, patch.MERGE_PATCH, patch.APPLY_PATCH
        return patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_PATCH, patch.APPLY_PATCH

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

        The caller has checked the content type and PatchOptions (fieldManager, force). A changed name or
        namespace is refused here when `name` is given. StatusErrors as kube-apiserver's: 400, 409, 422, 500.
        `current` is not mutated.
        """
        if content_type == patch.APPLY_PATCH:
            writer = Writer(manager, "Apply", rtype.group_version, subresource, now)
            out = self._server_side_apply(rtype, current, body, writer, force=force, validation=field_validation)
        elif current is None:
            raise StatusError(404, "NotFound", f'{rtype.group_resource} "{name}" not found')
        else:
            obj, warnings = patch.changed_object(
                content_type,
                self.node(rtype),
                current,
                body,
                field_validation=field_validation,
                decode=lambda o: self._hold(rtype, o),
            )
            out = Patched(obj, warnings)
        _check_names(out.obj, name, namespace)
        return out

    def _server_side_apply(
        self, rtype: ResourceType, current: Object | None, body: bytes, writer: Writer, *, force: bool, validation: str
    ) -> Patched:
        config, warnings = patch.load_configuration(body, validation)
        gvk = patch.check_identity(config, rtype.group_version, rtype.kind)
        node = self.node(rtype)
        live = self.finish(rtype, clone(current) if current is not None else _blank(rtype))
        meta = config.get("metadata") if isinstance(config.get("metadata"), dict) else {}
        shown = [str(v) if isinstance(v := (meta or {}).get(key), str) else "" for key in ("name", "namespace")]
        mistake = managed.typed_error(node, config, gvk, *shown)
        if mistake:
            raise mistake
        if rtype.kind == "Scale":
            return Patched(self._held(rtype, merge(node, live, config)), warnings, True)
        ignored = self._ignored(rtype, writer.subresource)
        apply = managed.migrating_apply if writer.name == "kubectl" else managed.apply
        try:
            result, managers = apply(node, live, config, writer, force=force, ignored=ignored)
        except managed.Conflicts as conflicts:
            raise conflicts.status() from conflicts
        obj = self._held(rtype, clone(result)) if result is not None else live
        managed.put(obj, managers)
        return Patched(obj, warnings, True)

    def _held(self, rtype: ResourceType, obj: Object) -> Object:
        try:
            return self._hold(rtype, obj)[0]
        except DecodeError as error:
            raise StatusError(500, "", f"failed to convert merged object: {error}") from error

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
        self.finish(rtype, new)
        writer = Writer(manager, operation, rtype.group_version, subresource, now)
        managed.update(self.node(rtype), new, old, writer, self._ignored(rtype, subresource))

    def _ignored(self, rtype: ResourceType, subresource: str) -> Trie:
        """The fields a write of the (sub)resource resets, so that nobody comes to own them by it."""
        if subresource == "status":
            if rtype.custom:
                return _NOT_CUSTOM_STATUS
            return _RESET_BY_STATUS.get(rtype.group_resource, _NOT_STATUS)
        if not subresource and any(s.name == "status" for s in rtype.subresources):
            return _STATUS
        return {}

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
        """Set new.metadata.managedFields after a write through the scale subresource (old, new differ in replicas).

        An Apply raises StatusError 409 when another manager owns replicas with another value, unless forced.
        """
        writer = Writer(manager, operation, rtype.group_version, "scale")
        try:
            managed.update_scale(new, old, writer, replicas_path, force)
        except managed.Conflicts as conflicts:
            raise conflicts.status() from conflicts

    # -- documents -----------------------------------------------------------------------------------------

    def openapi_v3_index(self) -> Object:
        """The body of /openapi/v3: paths -> serverRelativeURL with hash."""
        return openapi.index(self._types, self._custom.values())

    def openapi_v3(self, path: str) -> Object | None:
        """The document of `api/v1` or `apis/apps/v1`; None if no such group version is served."""
        return self._documents().v3(path)

    def openapi_v2(self) -> Object:
        """The swagger 2.0 document of /openapi/v2."""
        return self._documents().v2()

    def _documents(self) -> openapi.Documents:
        return openapi.Documents(builtin(), self._types, tuple(self._custom.values()))


def _load(body: bytes, media_type: str, kind: str) -> tuple[object, list[str]]:
    if "yaml" in media_type:
        try:
            value, doubled = load_yaml(body)
        except SyntaxError_ as error:
            raise _unrecognized(kind, str(error), body) from error
        return value, _yaml_duplicates(doubled)
    try:
        return load_json(body)
    except SyntaxError_ as error:
        raise _unrecognized(kind, f"couldn't get version/kind; json parse error: {error}", body) from error


def _yaml_duplicates(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.splitlines()[1:]]


def _unrecognized(kind: str, text: str, body: bytes) -> StatusError:
    message = f"the object provided is unrecognized (must be of type {kind}): {text} ({summary(body)})"
    return StatusError(400, "BadRequest", message)


def _cannot_handle(rtype: ResourceType, text: str) -> StatusError:
    message = f'{rtype.kind} in version "{rtype.version}" cannot be handled as a {rtype.kind}: {text}'
    return StatusError(400, "BadRequest", message)


def _wrong_custom_type(rtype: ResourceType, obj: Object) -> StatusError:
    version, kind = obj["apiVersion"], obj["kind"]
    if version != rtype.group_version:
        text = f"the API version in the data ({version}) does not match the expected API version "
        return StatusError(400, "BadRequest", f"{text}({rtype.group_version})")
    name = _meta(obj).get("name", "")
    text = f'Invalid value: "{kind}": must be {rtype.kind}'
    details = {"name": name, "group": rtype.group, "kind": kind}
    cause = Cause("FieldValueInvalid", text, "kind")
    message = f'{kind}.{rtype.group} "{name}" is invalid: kind: {text}'
    return StatusError(422, "Invalid", message, details=details, causes=[cause])


def _meta(obj: Object) -> Object:
    meta = obj.get("metadata")
    return meta if isinstance(meta, dict) else {}


def _blank(rtype: ResourceType) -> Object:
    return {"apiVersion": rtype.group_version, "kind": rtype.kind, "metadata": {}}


def _check_names(obj: Object, name: str, namespace: str) -> None:
    meta = _meta(obj)
    found = meta.get("name")
    if name and found and found != name:
        text = f"the name of the object ({found}) does not match the name on the URL ({name})"
        raise StatusError(400, "BadRequest", text)
    if namespace and meta.get("namespace") and meta["namespace"] != namespace:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise StatusError(400, "BadRequest", text)
