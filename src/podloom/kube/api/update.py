"""update and patch: from what is stored and what the client wants to the next version.

The problem: PUT, the four kinds of PATCH, and subresources all end in the same step: compare with what is stored,
keep what the client may not change, validate, and store only when something changed. An object whose deletion was
asked for disappears when an update removes its last finalizer.
"""

from __future__ import annotations

from podloom.kube.api import errors, meta
from podloom.kube.api.bodies import agree, decode, media_type
from podloom.kube.api.contract import Cause, Context, Object
from podloom.kube.api.core import Api, Reply, Request
from podloom.kube.api.create import commit, invalid, store_new
from podloom.kube.api.options import WriteOptions, write_options
from podloom.kube.api.registry import Served
from podloom.kube.api.state import Record

APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation")


async def update(api: Api, request: Request) -> Reply:
    """PUT of a named object or one of its updatable subresources."""
    options = write_options("UpdateOptions", request.query, request.dry_runs)
    served = request.served
    obj = decode(api, request, served.type, options.field_validation)
    agree(request, obj, named=True)
    record = api.state.head_get(served.storage_key, request.namespace, request.name)
    manager = request.manager(options.manager)
    if record is None:
        if not served.kind.create_on_update or request.info.subresource:
            raise errors.not_found(served.type, request.name)
        return await store_new(api, request, obj, options, manager=manager)
    check_revision(served, record, obj, put=True)
    old = api.fresh(served, record)
    return await store_next(api, request, record, old, obj, options=options, manager=manager)


async def patch(api: Api, request: Request) -> Reply:
    """PATCH of a named object or one of its updatable subresources."""
    served = request.served
    content_type = media_type(request.content_type)
    accepted = api.schemas.patch_media_types(served.type)
    apply = content_type in APPLY
    if content_type not in accepted:
        known = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
        if content_type.removeprefix("application/") in known:
            raise errors.unsupported_media_type(accepted)
        raise errors.EmptyDetails(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    options = write_options("PatchOptions", request.query, request.dry_runs, apply=apply)
    record = api.state.head_get(served.storage_key, request.namespace, request.name)
    if record is None and (not apply or request.info.subresource):
        raise errors.not_found(served.type, request.name)
    manager = request.manager(options.manager)
    old = api.fresh(served, record) if record else None
    done = api.schemas.apply_patch(
        content_type,
        served.type,
        old,
        request.body,
        name=request.name,
        namespace=request.namespace,
        manager=manager,
        force=bool(options.force),
        subresource=request.info.subresource,
        now=meta.now_text(),
        field_validation=options.field_validation,
    )
    request.warnings += done.warnings
    obj = done.obj
    agree(request, obj, named=True)
    if record is None or old is None:
        return await store_new(api, request, obj, options, manager=manager, applied=done.applied)
    check_revision(served, record, obj, put=False)
    return await store_next(api, request, record, old, obj, options=options, manager=manager, applied=done.applied)


def check_revision(served: Served, record: Record, obj: Object, *, put: bool) -> None:
    """Optimistic concurrency: uid and resourceVersion of the request against what is stored."""
    found = obj["metadata"]
    name = record.name
    uid = found.get("uid")
    stored_uid = record.obj["metadata"].get("uid")
    version = found.get("resourceVersion") or ""
    if version and not version.isdigit():
        raise errors.internal(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    if uid and uid != stored_uid:
        key = "/".join(p for p in ("/registry", record.key[0].lstrip("/"), record.namespace, name) if p)
        raise errors.conflict(
            served.type,
            name,
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored_uid}",
        )
    if put and version in ("", "0") and not served.kind.unconditional_update:
        cause = Cause(
            "FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion"
        )
        failure = errors.invalid(served.type.group, served.type.plural, name, [cause])
        raise failure
    if version not in ("", "0") and int(version) != record.rv:
        raise errors.conflict(served.type, name)


def _keep_meta(obj: Object, old: Object) -> None:
    """Metadata the client cannot change through an update."""
    new, before = obj["metadata"], old["metadata"]
    for key in _KEPT:
        if key in before:
            new[key] = before[key]
        else:
            new.pop(key, None)
    new["resourceVersion"] = before["resourceVersion"]
    if "generateName" in before:
        new.setdefault("generateName", before["generateName"])


def _status_of(served: Served, obj: Object, old: Object) -> Object:
    """old with metadata and status of obj: what an update of the status subresource may change."""
    merged = {k: v for k, v in old.items() if k != "status"}
    found = dict(obj["metadata"])
    if served.type.custom:
        kept = {k: v for k, v in old["metadata"].items() if k != "managedFields"}
        found = kept | ({"managedFields": found["managedFields"]} if "managedFields" in found else {})
    merged["metadata"] = found
    if "status" in obj:
        merged["status"] = obj["status"]
    return merged


async def store_next(
    api: Api,
    request: Request,
    record: Record,
    old: Object,
    obj: Object,
    *,
    options: WriteOptions,
    manager: str,
    applied: bool = False,
) -> Reply:
    """Everything between the wanted object and the answer."""
    served, subresource = request.served, request.info.subresource
    ctx = api.context(request, "update", dry_run=options.dry_run, subresource=subresource)
    _keep_meta(obj, old)
    if subresource == "status":
        obj = _status_of(served, obj, old)
    else:
        served.kind.default(obj, ctx)
    if not applied:
        api.schemas.update_managed_fields(served.type, obj, old, manager=manager, subresource=subresource, now=ctx.now)
    served.kind.admit(obj, old, ctx)
    api.guard(served.type, obj, ctx)
    if not subresource:
        served.kind.default(obj, ctx)
    served.kind.prepare_update(obj, old, ctx)
    causes = meta.validate(obj, served.kind, served.type.namespaced) + meta.validate_finalizer_change(obj, old)
    causes += served.kind.validate_update(obj, old, ctx)
    if causes:
        raise invalid(served, obj, causes)
    obj = api.schemas.finish(served.type, obj)
    return await store_changed(api, request, record, old, obj, ctx=ctx)


def same(obj: Object, old: Object) -> bool:
    """Whether nothing changed but times in managedFields."""
    if {k: v for k, v in obj.items() if k != "metadata"} != {k: v for k, v in old.items() if k != "metadata"}:
        return False
    return _comparable(obj["metadata"]) == _comparable(old["metadata"])


def _comparable(found: Object) -> Object:
    fields = [{k: v for k, v in entry.items() if k != "time"} for entry in found.get("managedFields") or []]
    return {k: v for k, v in found.items() if k != "managedFields"} | ({"managedFields": fields} if fields else {})


def may_go(served: Served, obj: Object) -> bool:
    """Whether an object being deleted has nothing left that holds it."""
    found = obj["metadata"]
    if not found.get("deletionTimestamp") or found.get("finalizers"):
        return False
    if served.storage_key == "/namespaces":
        return not (obj.get("spec") or {}).get("finalizers")
    return not found.get("deletionGracePeriodSeconds")


async def store_changed(api: Api, request: Request, record: Record, old: Object, obj: Object, *, ctx: Context) -> Reply:
    """Store obj if it differs, remove it if its deletion is complete."""
    served = request.served
    if may_go(served, obj):
        if not ctx.dry_run:
            extra = served.kind.after_delete(obj, ctx)
            await commit(api, served, None, namespace=record.namespace, name=record.name, extra=extra)
        return Reply(obj)
    if same(obj, old):
        return Reply(old)
    if ctx.dry_run:
        return Reply(obj)
    extra = served.kind.after_store(obj, old, ctx)
    await commit(api, served, obj, namespace=record.namespace, name=record.name, extra=extra)
    return Reply(obj)
