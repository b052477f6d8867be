"""create: from a body to a stored object.

The order is the reference server's and matters: managed fields see what client and defaults set, not what
admission adds; validation sees everything.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from podloom.kube.api import errors, meta
from podloom.kube.api.bodies import agree, decode
from podloom.kube.api.contract import Cause, Context, Object, StatusError, Write
from podloom.kube.api.core import Api, Reply, Request
from podloom.kube.api.options import WriteOptions, write_options
from podloom.kube.api.registry import Served
from podloom.kube.api.state import Record, Step

_GENERATE_TRIES = 8
_UNOWNED = ("selfsubjectrulesreviews", "selfsubjectreviews")  # reviews whose fields no manager owns


async def create(api: Api, request: Request) -> Reply:
    """POST of a collection."""
    options = write_options("CreateOptions", request.query, request.dry_runs)
    obj = decode(api, request, request.served.type, options.field_validation)
    if not request.served.kind.stored:
        return _virtual(api, request, obj, request.manager(options.manager))
    agree(request, obj, named=False)
    if obj["metadata"].get("resourceVersion"):
        raise errors.internal("resourceVersion should not be set on objects to be created")
    manager = request.manager(options.manager)
    return await store_new(api, request, obj, options, manager=manager)


def _virtual(api: Api, request: Request, obj: Object, manager: str) -> Reply:
    """The answer of a kind that is not stored; its fields are owned like any other's."""
    served = request.served
    ctx = api.context(request, "create", dry_run=False)
    obj.setdefault("metadata", {})
    served.kind.default(obj, ctx)
    if served.type.plural not in _UNOWNED:
        api.schemas.update_managed_fields(served.type, obj, None, manager=manager, now=ctx.now)
    return Reply(served.kind.create_virtual(obj, ctx), 201)


async def store_new(
    api: Api, request: Request, obj: Object, options: WriteOptions, *, manager: str, applied: bool = False
) -> Reply:
    """Everything between a decoded object and the answer; `applied`: managedFields are in place."""
    served = request.served
    ctx = api.context(request, "create", dry_run=options.dry_run)
    ctx.name = obj["metadata"].get("name", "")
    served.kind.default(obj, ctx)
    if not applied:
        obj["metadata"].pop("managedFields", None)
        api.schemas.update_managed_fields(served.type, obj, None, manager=manager, now=ctx.now)
    _fill(obj, ctx)
    base = obj["metadata"].get("generateName", "") if not obj["metadata"].get("name") else ""
    if base:
        # Admission sees, and its refusals name, the base: a refused controller gets the same words each time.
        obj["metadata"]["name"] = base
    ctx.name = obj["metadata"].get("name", "")
    check_namespace(api, served, ctx)
    served.kind.admit(obj, None, ctx)
    api.guard(served.type, obj, ctx)
    served.kind.default(obj, ctx)
    record = _name(api, served, obj, ctx, base)
    served.kind.prepare_create(obj, ctx)
    causes = meta.validate(obj, served.kind, served.type.namespaced) + served.kind.validate_create(obj, ctx)
    if causes:
        raise invalid(served, obj, causes)
    obj = api.schemas.finish(served.type, obj)
    if record is not None:
        raise errors.already_exists(
            served.type, ctx.name, deleting=bool(record.obj["metadata"].get("deletionTimestamp"))
        )
    if options.dry_run:
        return Reply(obj, 201)
    extra = served.kind.after_store(obj, None, ctx)
    await commit(api, served, obj, namespace=ctx.namespace, name=ctx.name, extra=extra)
    return Reply(obj, 201)


def _fill(obj: Object, ctx: Context) -> None:
    """What the server sets in metadata of a new object, but for its name."""
    found = obj["metadata"]
    for unwanted in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        found.pop(unwanted, None)
    found["uid"] = str(uuid.uuid4())
    found["creationTimestamp"] = ctx.now


def _name(api: Api, served: Served, obj: Object, ctx: Context, base: str) -> Record | None:
    """Give the object its final name, generated from base if there is one; returns who has that name already."""
    for _ in range(_GENERATE_TRIES):
        if base:
            obj["metadata"]["name"] = meta.generated_name(base)
        ctx.name = obj["metadata"].get("name", "")
        record = api.state.head_get(served.storage_key, ctx.namespace, ctx.name)
        if record is None or not base:
            break
    return record


def check_namespace(api: Api, served: Served, ctx: Context) -> None:
    """New objects need a namespace that exists (404) and is not going away (403)."""
    if not served.type.namespaced:
        return
    record = api.state.head_get("/namespaces", "", ctx.namespace)
    if record is None:
        raise StatusError(
            404,
            "NotFound",
            f'namespaces "{ctx.namespace}" not found',
            details={"name": ctx.namespace, "kind": "namespaces"},
        )
    if record.obj["metadata"].get("deletionTimestamp"):
        found = errors.forbidden(
            served.type,
            ctx.name,
            f"unable to create new content in namespace {ctx.namespace} because it is being terminated",
        )
        found.details["causes"] = [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {ctx.namespace} is being terminated",
                "field": "metadata.namespace",
            }
        ]
        raise found


def invalid(served: Served, obj: Object, causes: list[Cause]) -> StatusError:
    return errors.invalid(served.type.group, served.type.kind, obj["metadata"].get("name", ""), causes)


def steps_of(api: Api, writes: Sequence[Write]) -> list[Step]:
    """The steps of extra writes, in stored form."""
    steps = []
    for write in writes:
        served = api.registry.get(write.type.group, write.type.version, write.type.plural)
        key = (write.type.storage_key, write.namespace, write.name)
        if write.obj is None:
            if api.state.head.get(key) is not None:
                steps.append(Step(key, None))
            continue
        obj = write.obj
        found = obj.setdefault("metadata", {})
        found.setdefault("uid", str(uuid.uuid4()))
        found.setdefault("creationTimestamp", meta.now_text())
        steps.append(Step(key, api.to_store(served, obj) if served else obj))
    return steps


async def commit(
    api: Api, served: Served, obj: Object | None, *, namespace: str, name: str, extra: Sequence[Write] = ()
) -> None:
    """Store obj (None: remove) and extra writes as one transaction; returns when durable and visible.

    obj gets its resourceVersion.
    """
    stored = api.to_store(served, obj) if obj is not None else None
    steps = [Step((served.storage_key, namespace, name), stored), *steps_of(api, extra)]
    _, done = api.state.decide(steps)
    if obj is not None and stored is not None:
        obj["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    await done
