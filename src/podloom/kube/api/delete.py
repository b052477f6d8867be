"""delete and deletecollection: preconditions, finalizers, graceful deletion, propagation.

The problem: removal may be now, later by a finalizer's owner, or later by the kubelet when a pod has stopped, and
repeated deletes may only shorten the wait (Kubernetes "Garbage Collection", "Finalizers", "Pod termination").
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from podloom.kube.api import errors
from podloom.kube.api.bodies import decode
from podloom.kube.api.contract import Context, Kind, Object, ResourceType, Write
from podloom.kube.api.core import Api, Reply, Request
from podloom.kube.api.create import commit, steps_of
from podloom.kube.api.options import DeleteOptions, ListOptions, delete_options, list_options
from podloom.kube.api.output import ListMeta, render_list
from podloom.kube.api.read import scope, selectors
from podloom.kube.api.registry import Served
from podloom.kube.api.state import Record, Step
from podloom.kube.api.update import may_go

_OPTIONS_TYPE = ResourceType("", "v1", "deleteoptions", "deleteoptions", "DeleteOptions", False)
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
_ORPHAN_BY_DEFAULT = (("batch", "jobs"), ("", "replicationcontrollers"))
_IMMORTAL = ("default", "kube-system", "kube-public")
CRD_KEY = "apiextensions.k8s.io/customresourcedefinitions"
CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_CRD_PENDING = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
_NO_GRACE = ("/namespaces", CRD_KEY)


def read_options(api: Api, request: Request) -> DeleteOptions:
    """DeleteOptions from body or query; raises 400, 415 or 422."""
    body = None
    if request.body:
        body = decode(api, request, _OPTIONS_TYPE, "Ignore")
    return delete_options(request.query, request.dry_runs, body)


async def delete(api: Api, request: Request) -> Reply:
    """DELETE of a named object."""
    options = read_options(api, request)
    record = api.stored(request)
    ctx = api.context(request, "delete", dry_run=options.dry_run)
    ctx.options = options.raw
    gone, obj = await delete_record(api, request.served, record, options, ctx)
    if gone and not request.served.kind.returns_deleted:
        return Reply(success(request.served, record), status=True)
    return Reply(obj)


def success(served: Served, record: Record) -> Object:
    """The Status of a completed delete."""
    details = {"name": record.name}
    if served.type.group:
        details["group"] = served.type.group
    details["kind"] = served.type.plural
    details["uid"] = record.obj["metadata"]["uid"]
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def delete_record(
    api: Api, served: Served, record: Record, options: DeleteOptions, ctx: Context
) -> tuple[bool, Object]:
    """Delete with all rules; returns whether it is gone, and the object as it was left."""
    obj = api.fresh(served, record)
    _check(served, record, obj, options)
    served.kind.admit(obj, obj, ctx)
    grace = served.kind.graceful_delete_s(obj, _requested(options))
    unmarked = dict(obj, metadata=dict(obj["metadata"]))
    changed = _mark(served, obj, options, grace)
    if changed and served.storage_key == CRD_KEY:
        obj = api.schemas.terminate_crd(obj, "InstanceDeletionPending", _CRD_PENDING, ctx.now)
    if may_go(served, obj):
        graceful = type(served.kind).graceful_delete_s is not Kind.graceful_delete_s
        if not ctx.dry_run:
            marked = obj if graceful and changed else None
            await commit_removal(api, served, record, marked, served.kind.after_delete(obj, ctx))
        return True, obj if graceful else unmarked
    if changed and not ctx.dry_run:
        await commit(api, served, obj, namespace=record.namespace, name=record.name)
    return False, obj


def _requested(options: DeleteOptions) -> int | None:
    """The grace asked for; a negative one means one second (Pod API, gracePeriodSeconds)."""
    return 1 if options.grace_s is not None and options.grace_s < 0 else options.grace_s


def _check(served: Served, record: Record, obj: Object, options: DeleteOptions) -> None:
    if served.storage_key == "/namespaces" and record.name in _IMMORTAL:
        raise errors.forbidden(served.type, record.name, "this namespace may not be deleted")
    found = obj["metadata"]
    if options.uid is not None and options.uid != found["uid"]:
        raise errors.precondition(
            served.type,
            record.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({found['uid']}). "
            "The object might have been deleted and then recreated",
        )
    version = options.resource_version
    if version is not None and version != found["resourceVersion"]:
        raise errors.precondition(
            served.type,
            record.name,
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({found['resourceVersion']}). The object might have been modified",
        )


async def commit_removal(
    api: Api, served: Served, record: Record, marked: Object | None, extra: Sequence[Write]
) -> None:
    """Remove a record in one transaction; watchers of graceful kinds see the marked object first."""
    steps = [Step(record.key, api.to_store(served, marked))] if marked is not None else []
    _, done = api.state.decide([*steps, Step(record.key, None), *steps_of(api, extra)])
    if marked is not None:
        marked["metadata"]["resourceVersion"] = str(steps[0].obj["metadata"]["resourceVersion"]) if steps[0].obj else ""
    await done


def _mark(served: Served, obj: Object, options: DeleteOptions, grace: int) -> bool:
    """Set deletionTimestamp, grace and finalizers; returns whether anything changed."""
    found = obj["metadata"]
    finalizers = _finalizers(served, found.get("finalizers") or [], options)
    changed = finalizers != (found.get("finalizers") or [])
    if finalizers:
        found["finalizers"] = finalizers
    else:
        found.pop("finalizers", None)
    previous = found.get("deletionGracePeriodSeconds", 0)
    if found.get("deletionTimestamp"):
        if served.storage_key in _NO_GRACE or grace >= previous:
            return changed
        asked = datetime.strptime(found["deletionTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        found["deletionTimestamp"] = _text(asked - timedelta(seconds=previous - grace))
        found["deletionGracePeriodSeconds"] = grace
        return True
    found["deletionTimestamp"] = _text(datetime.now(UTC) + timedelta(seconds=grace))
    if served.storage_key not in _NO_GRACE:
        found["deletionGracePeriodSeconds"] = grace
        if found.get("generation"):
            found["generation"] += 1
    if served.storage_key == "/namespaces":
        obj.setdefault("status", {})["phase"] = "Terminating"
    return True


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _finalizers(served: Served, current: list[str], options: DeleteOptions) -> list[str]:
    """Finalizers after the propagation policy has had its say."""
    policy = options.propagation
    if options.orphan is not None:
        policy = "Orphan" if options.orphan else "Background"
    if not policy and (served.type.group, served.type.plural) in _ORPHAN_BY_DEFAULT:
        policy = "Orphan" if _FOREGROUND not in current else ""
    kept = [f for f in current if f not in (_ORPHAN, _FOREGROUND)] if policy else list(current)
    if policy == "Orphan":
        kept.append(_ORPHAN)
    elif policy == "Foreground":
        kept.append(_FOREGROUND)
    if served.storage_key == CRD_KEY and CRD_FINALIZER not in kept:
        kept.append(CRD_FINALIZER)
    return kept


async def delete_collection(api: Api, request: Request) -> Reply:
    """DELETE of a collection: each selected object by the rules of delete; answers with the list."""
    options = read_options(api, request)
    listed: ListOptions = list_options(request.query, watch=False)
    labels, fields = selectors(request.served, listed)
    namespace = scope(request)
    records = [
        r
        for r in api.state.table(request.served.storage_key).records(namespace)
        if labels.matches(r.obj) and fields.matches(r.obj)
    ]
    ctx = api.context(request, "delete", dry_run=options.dry_run)
    ctx.options = options.raw
    if listed.limit:
        records = records[: listed.limit]
    revision = api.state.revision
    newest = [found for r in records if (found := api.state.head.get(r.key)) is not None]
    deletions = [delete_record(api, request.served, r, options, ctx) for r in newest]
    await asyncio.gather(*deletions)  # decided one after another, committed together
    body = render_list(
        request.served, records, ListMeta(revision), request.format, request.query.get("includeObject", "")
    )
    return Reply(raw=body)
