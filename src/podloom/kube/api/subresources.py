"""Subresources with a shape of their own: scale, and what is created under an object (binding, eviction, token).

The problem: a Scale is a view of another object with its own schema; binding, eviction and token requests are
answered by the kind but stored, forbidden and retried like any write.
"""

from __future__ import annotations

from podloom.kube.api import errors, meta
from podloom.kube.api.bodies import decode, media_type
from podloom.kube.api.contract import Answer, Cause, Object, ResourceType, Subresource
from podloom.kube.api.core import Api, Reply, Request
from podloom.kube.api.create import check_namespace, invalid, steps_of
from podloom.kube.api.delete import delete_record
from podloom.kube.api.options import WriteOptions, delete_options, write_options
from podloom.kube.api.update import APPLY, check_revision, store_changed

SCALE = ResourceType("autoscaling", "v1", "scales", "scale", "Scale", True)
_TOKEN_S = 3600  # default of authentication.k8s.io/v1 TokenRequest


def body_type(request: Request, sub: Subresource) -> ResourceType:
    """The type of a subresource's body."""
    parent = request.served.type
    group = parent.group if sub.group is None else sub.group
    version = parent.version if sub.version is None else sub.version
    return ResourceType(group, version, sub.name, sub.name, sub.kind, parent.namespaced)


def scale_of(api: Api, request: Request, obj: Object) -> Object:
    """The autoscaling/v1 Scale of an object."""
    shown = request.served.kind.get_scale(obj)
    shown["spec"] = {k: v for k, v in (shown.get("spec") or {}).items() if v}  # zero replicas are left out
    found = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": found, **shown}


def get_scale(api: Api, request: Request) -> Reply:
    """GET scale."""
    record = api.state.table(request.served.storage_key).get(request.namespace, request.name)
    if record is None:
        raise errors.not_found(request.served.type, request.name)
    return Reply(scale_of(api, request, api.fresh(request.served, record)))


async def put_scale(api: Api, request: Request) -> Reply:
    """PUT scale."""
    options = write_options("UpdateOptions", request.query, request.dry_runs)
    wanted = decode(api, request, SCALE, options.field_validation)
    return await _set_scale(api, request, wanted, options, "Update")


async def patch_scale(api: Api, request: Request) -> Reply:
    """PATCH scale by merge, JSON or apply patch."""
    content_type = media_type(request.content_type)
    apply = content_type in APPLY
    if content_type not in api.schemas.patch_media_types(SCALE):
        raise errors.EmptyDetails(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    options = write_options("PatchOptions", request.query, request.dry_runs, apply=apply)
    current = scale_of(api, request, api.fresh(request.served, api.stored(request)))
    patched = api.schemas.apply_patch(
        content_type,
        SCALE,
        current,
        request.body,
        name=request.name,
        namespace=request.namespace,
        manager=request.manager(options.manager),
        force=bool(options.force),
        subresource="scale",
        now=meta.now_text(),
        field_validation=options.field_validation,
    )
    return await _set_scale(api, request, patched.obj, options, "Apply" if apply else "Update")


async def _set_scale(api: Api, request: Request, wanted: Object, options: WriteOptions, operation: str) -> Reply:
    served = request.served
    record = api.stored(request)
    check_revision(served, record, wanted, put=False)
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        cause = Cause(
            "FieldValueInvalid", f"Invalid value: {replicas}: must be greater than or equal to 0", "spec.replicas"
        )
        raise errors.invalid("autoscaling", "Scale", request.name, [cause])
    ctx = api.context(request, "update", dry_run=options.dry_run, subresource="scale")
    old, obj = api.fresh(served, record), api.fresh(served, record)
    served.kind.set_scale(obj, replicas)
    api.schemas.patch_scale_fields(
        served.type,
        obj,
        old,
        manager=request.manager(options.manager),
        operation=operation,
        force=bool(options.force),
        replicas_path=getattr(served.kind, "replicas_path", ("spec", "replicas")),
    )
    served.kind.prepare_update(obj, old, ctx)
    causes = served.kind.validate_update(obj, old, ctx)
    if causes:
        raise invalid(served, obj, causes)
    obj = api.schemas.finish(served.type, obj)
    reply = await store_changed(api, request, record, old, obj, ctx=ctx)
    return Reply(scale_of(api, request, reply.obj or obj))


async def post(api: Api, request: Request, sub: Subresource) -> Reply:
    """POST of binding, eviction, token and the like."""
    options = write_options("CreateOptions", request.query, request.dry_runs)
    served = request.served
    body = decode(api, request, body_type(request, sub), options.field_validation)
    ctx = api.context(request, "create", dry_run=options.dry_run, subresource=sub.name)
    if served.type.namespaced and sub.name != "eviction":
        check_namespace(api, served, ctx)
    record = api.stored(request)
    current = api.fresh(served, record)
    manager = request.manager(options.manager)
    if sub.kind == "TokenRequest":
        body.setdefault("spec", {}).setdefault("expirationSeconds", _TOKEN_S)
    api.schemas.update_managed_fields(
        body_type(request, sub), body, None, manager=manager, subresource=sub.name, now=ctx.now
    )
    answer = served.kind.post_subresource(body, current, ctx)
    await _store_answer(api, request, answer, dry_run=options.dry_run)
    return Reply(answer.body, answer.code, status=True)


async def _store_answer(api: Api, request: Request, answer: Answer, *, dry_run: bool) -> None:
    deletes = [w for w in answer.writes if w.obj is None]
    for write in deletes:
        served = api.registry.get(write.type.group, write.type.version, write.type.plural)
        record = api.state.head.get((write.type.storage_key, write.namespace, write.name))
        if served is None or record is None:
            continue
        ctx = api.context(request, "delete", dry_run=dry_run)
        options = delete_options({}, ["All"] if dry_run else [], ctx.options or None)
        await delete_record(api, served, record, options, ctx)
    if dry_run:
        return
    kept = [w for w in answer.writes if w.obj is not None]
    if kept:
        _, done = api.state.decide(steps_of(api, kept))
        await done
