"""Query parameters and option bodies: list, create, update, patch and delete options.

The problem: each verb has its options object with its own rules, and a wrong one is answered with 400 or 422 in
words clients know (apimachinery meta/v1 validation). Decoded once here, so the verbs see typed values only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podloom.kube.api.contract import Cause, Object
from podloom.kube.api.errors import bad_request, invalid

_META_GROUP = "meta.k8s.io"
_PROPAGATION = ("Foreground", "Background", "Orphan")


def _integer(query: Mapping[str, str], key: str) -> int | None:
    text = query.get(key, "")
    if text == "":
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def flag(value: str | None) -> bool:
    """A boolean parameter: present and not false, 0 or empty."""
    return value is not None and value.lower() not in ("", "0", "false")


@dataclass(frozen=True)
class ListOptions:
    """Parameters of list, watch and deletecollection; resource_version is None when absent or empty."""

    watch: bool = False
    label_selector: str = ""
    field_selector: str = ""
    resource_version: int | None = None
    match: str = ""
    limit: int = 0
    continue_: str = ""
    timeout_s: int | None = None
    allow_bookmarks: bool = False
    send_initial: bool | None = None


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Decode and validate; raises 400 or 422."""
    send = query.get("sendInitialEvents")
    timeout = _integer(query, "timeoutSeconds")
    limit = _integer(query, "limit") or 0
    options = ListOptions(
        watch=watch,
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=max(limit, 0),
        continue_=query.get("continue", ""),
        timeout_s=timeout,
        allow_bookmarks=flag(query.get("allowWatchBookmarks")),
        send_initial=None if send is None else flag(send),
    )
    text = query.get("resourceVersion", "")
    causes = _watch_causes(options) if watch else _list_causes(options, text)
    if causes:
        raise invalid(_META_GROUP, "ListOptions", "", causes)
    if options.continue_ and text not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    return _with_revision(options, text)


def _with_revision(options: ListOptions, text: str) -> ListOptions:
    if text == "":
        return options
    if not text.isdigit():
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": '
            f'strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return ListOptions(**{**options.__dict__, "resource_version": int(text)})


def _forbidden(name: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", name)


def unsupported(name: str, value: str, allowed: Sequence[str]) -> Cause:
    """A NotSupported cause: `value` is already quoted."""
    shown = ", ".join(f'"{a}"' for a in allowed)
    return Cause("FieldValueNotSupported", f"Unsupported value: {value}: supported values: {shown}", name)


def _list_causes(o: ListOptions, revision: str) -> list[Cause]:
    causes = []
    if o.match:
        if not revision:
            causes.append(
                _forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                )
            )
        if o.continue_:
            causes.append(
                _forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            )
        if o.match not in ("Exact", "NotOlderThan"):
            causes.append(unsupported("resourceVersionMatch", f'"{o.match}"', ("Exact", "NotOlderThan", "")))
        if o.match == "Exact" and revision == "0":
            causes.append(
                _forbidden(
                    "resourceVersionMatch",
                    'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
                )
            )
    if o.send_initial is not None:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(o: ListOptions) -> list[Cause]:
    causes = []
    if o.send_initial is not None and o.match != "NotOlderThan":
        causes.append(
            _forbidden(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        )
    if o.match and o.send_initial is None:
        causes.append(
            _forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        )
    if o.match and o.match != "NotOlderThan":
        causes.append(unsupported("resourceVersionMatch", f'"{o.match}"', ("NotOlderThan", "")))
    return causes


@dataclass(frozen=True)
class WriteOptions:
    """Parameters of create, update and patch."""

    dry_run: bool = False
    manager: str = ""
    field_validation: str = "Warn"
    force: bool | None = None


def write_options(kind: str, query: Mapping[str, str], dry_runs: Sequence[str], *, apply: bool = False) -> WriteOptions:
    """Decode and validate CreateOptions, UpdateOptions or PatchOptions (`kind`); raises 422."""
    causes: list[Cause] = []
    force = query.get("force")
    manager = query.get("fieldManager", "")
    if kind == "PatchOptions":
        if apply and not manager:
            causes.append(Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager"))
        if not apply and force is not None:
            causes.append(_forbidden("force", "may not be specified for non-apply patch"))
    causes += _manager_causes(manager)
    causes += _dry_run_causes(dry_runs)
    validation = query.get("fieldValidation", "")
    if validation not in ("", "Ignore", "Strict", "Warn"):
        causes.append(unsupported("fieldValidation", f'"{validation}"', ("", "Ignore", "Strict", "Warn")))
    if causes:
        raise invalid(_META_GROUP, kind, "", causes)
    return WriteOptions(
        dry_run=bool(dry_runs),
        manager=manager,
        field_validation=validation or "Warn",
        force=None if force is None else flag(force),
    )


def _manager_causes(manager: str) -> list[Cause]:
    if len(manager.encode()) > 128:
        return [Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager")]
    if any(not c.isprintable() for c in manager):
        return [
            Cause(
                "FieldValueInvalid",
                f'Invalid value: "{manager}": should only contain printable characters',
                "fieldManager",
            )
        ]
    return []


def _dry_run_causes(dry_runs: Sequence[str]) -> list[Cause]:
    if not dry_runs or all(d == "All" for d in dry_runs):
        return []
    shown = "[" + ",".join(f'"{d}"' for d in dry_runs) + "]"
    return [unsupported("dryRun", shown, ("All",))]


@dataclass(frozen=True)
class DeleteOptions:
    """Options of delete and deletecollection; grace None means the kind's default."""

    dry_run: bool = False
    grace_s: int | None = None
    propagation: str = ""
    orphan: bool | None = None
    uid: str | None = None
    resource_version: str | None = None
    raw: Object = field(default_factory=dict)


def delete_options(query: Mapping[str, str], dry_runs: Sequence[str], body: Object | None) -> DeleteOptions:
    """Options from the body when there is one, else from the query; raises 400 or 422."""
    raw: Object = dict(body or {})
    if not raw:
        grace = _integer(query, "gracePeriodSeconds")
        if grace is not None:
            raw["gracePeriodSeconds"] = grace
        if query.get("propagationPolicy"):
            raw["propagationPolicy"] = query["propagationPolicy"]
        if "orphanDependents" in query:
            raw["orphanDependents"] = flag(query["orphanDependents"])
        if dry_runs:
            raw["dryRun"] = list(dry_runs)
    causes = _delete_causes(raw)
    if causes:
        raise invalid(_META_GROUP, "DeleteOptions", "", causes)
    preconditions = raw.get("preconditions") or {}
    return DeleteOptions(
        dry_run=bool(raw.get("dryRun")),
        grace_s=raw.get("gracePeriodSeconds"),
        propagation=raw.get("propagationPolicy") or "",
        orphan=raw.get("orphanDependents"),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        raw=raw,
    )


def _delete_causes(raw: Object) -> list[Cause]:
    causes = []
    policy = raw.get("propagationPolicy")
    if policy is not None and raw.get("orphanDependents") is not None:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set',
                "propagationPolicy",
            )
        )
    if policy is not None and policy not in _PROPAGATION:
        causes.append(unsupported("propagationPolicy", f'"{policy}"', (*_PROPAGATION, "nil")))
    return causes + _dry_run_causes(raw.get("dryRun") or [])
