"""get and list: consistent reads from memory with the resourceVersion semantics of the API.

The problem: clients say how fresh or how exact an answer must be (Kubernetes "API concepts", "Resource versions")
and page through lists that must not move under them. Any revision since the last compaction can be read exactly
(State.at_revision), so a continue token is just a revision and a key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from podloom.kube.api import errors
from podloom.kube.api.core import Api, Reply, Request, encode, view
from podloom.kube.api.options import ListOptions, list_options
from podloom.kube.api.output import ListMeta, render_list
from podloom.kube.api.registry import Served
from podloom.kube.api.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from podloom.kube.api.state import Record

INCONSISTENT = -1


def get(api: Api, request: Request) -> Reply:
    """The visible object; a resourceVersion in the future is 504."""
    options = list_options({k: v for k, v in request.query.items() if k == "resourceVersion"}, watch=False)
    wanted = options.resource_version
    if wanted is not None and wanted > api.state.revision:
        raise errors.too_large_revision(wanted, api.state.revision)
    record = api.state.table(request.served.storage_key).get(request.namespace, request.name)
    if record is None:
        raise errors.not_found(request.served.type, request.name)
    raw = encode(request.served, record)
    if request.format.transform or request.format.yaml or request.format.pretty:
        return Reply(api.fresh(request.served, record))
    return Reply(raw=raw)


def selectors(served: Served, options: ListOptions) -> tuple[LabelSelector, FieldSelector]:
    """The parsed selectors of a list or watch; raises 400."""
    kind = served.kind
    unknown = kind.unknown_field_label
    if not unknown and served.type.custom:
        unknown = "field label not supported: {label}"
    return (
        parse_labels(options.label_selector),
        parse_fields(options.field_selector, kind.field_labels, kind.field_values, unknown),
    )


def encode_token(revision: int, start: str) -> str:
    """A continue token: base64url of {"v","rv","start"}."""
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(token: str) -> tuple[int, str]:
    """Revision and start key of a continue token; raises 400."""
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise errors.bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        decoded = json.loads(data)
        return int(decoded["rv"]), str(decoded["start"])
    except (ValueError, KeyError, TypeError):
        first = data[:1].decode("latin-1")
        raise errors.bad_request(
            "invalid continue token: continue key is not valid: "
            f"invalid character '{first}' looking for beginning of value"
        ) from None


def _start_key(start: str, namespace: str | None) -> tuple[str, str]:
    """(namespace, name) after which a continued list goes on."""
    path = start.rstrip("\0").lstrip("/")
    if namespace is not None:
        return namespace, path
    first, _, second = path.partition("/")
    return (first, second) if second else ("", first)


def _token_start(record: Record, namespace: str | None) -> str:
    inside = record.name if namespace is not None or not record.namespace else f"{record.namespace}/{record.name}"
    return f"/{inside}\0"


def scope(request: Request) -> str | None:
    """The namespace a collection request is limited to; None for all (or a cluster-scoped type)."""
    if not request.served.type.namespaced:
        return ""
    return request.info.namespace or None


def _revision_wanted(api: Api, options: ListOptions) -> tuple[int, bool]:
    """The revision to list at, and whether the limit counts (not for resourceVersion=0)."""
    state = api.state
    wanted = options.resource_version
    if wanted is not None and wanted > state.revision:
        raise errors.too_large_revision(wanted, state.revision)
    exact = options.match == "Exact" or (options.limit and not options.match and wanted)
    if exact and wanted is not None:
        return wanted, True
    return state.revision, wanted != 0


def list_(api: Api, request: Request) -> Reply:
    """The collection, filtered and paged."""
    options = list_options(request.query, watch=False)
    labels, fields = selectors(request.served, options)
    namespace = scope(request)
    after: tuple[str, str] | None = None
    if options.continue_:
        revision, start = decode_token(options.continue_)
        after = _start_key(start, namespace)
        if revision == INCONSISTENT:
            revision = api.state.revision
        limited = True
    else:
        revision, limited = _revision_wanted(api, options)
    found = api.state.at_revision(request.served.storage_key, namespace, revision)
    if found is None:
        if options.continue_:
            raise errors.ExpiredContinue(encode_token(INCONSISTENT, decode_token(options.continue_)[1].lstrip("/")))
        raise errors.expired("The resourceVersion for the provided list is too old.")
    if after is not None:
        found = [r for r in found if (r.namespace, r.name) > after]
    found = _filter(request.served, found, labels, fields)
    page, meta = _page(found, revision, options.limit if limited else 0, namespace, bool(labels or fields))
    body = render_list(request.served, page, meta, request.format, request.query.get("includeObject", ""))
    return Reply(raw=body)


def _filter(served: Served, records: Sequence[Record], labels: LabelSelector, fields: FieldSelector) -> list[Record]:
    if not labels and not fields:
        return list(records)
    return [r for r in records if labels.matches(r.obj) and fields.matches(view(served, r))]


def _page(
    found: list[Record], revision: int, limit: int, namespace: str | None, selected: bool
) -> tuple[list[Record], ListMeta]:
    if not limit or len(found) <= limit:
        return found, ListMeta(revision)
    page = found[:limit]
    token = encode_token(revision, _token_start(page[-1], namespace))
    return page, ListMeta(revision, token, None if selected else len(found) - limit)
