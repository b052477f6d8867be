"""What every verb of the API server needs: the request, the parts of the server, the reply.

The problem: verbs are many and share state, schemas, hooks and rules about time, users and managers. `Api` holds
the parts; `Request` is one authenticated, authorised, parsed request; a verb is a function of both and gives a
`Reply`. No HTTP library here, so verbs are tested without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from podloom.kube.api import errors
from podloom.kube.api.contract import Context, Object, Powers, Reader, ResourceType, Settings, UserInfo
from podloom.kube.api.meta import now_text
from podloom.kube.api.negotiate import Format
from podloom.kube.api.registry import Registry, Served
from podloom.kube.api.requestinfo import RequestInfo
from podloom.kube.api.schema import Schemas
from podloom.kube.api.state import Record, State

BODY_BYTES_MAX = 3 * 1024 * 1024


class HeadReader(Reader):
    """Reads the newest decided objects, in stored form. The objects are shared: do not mutate."""

    def __init__(self, state: State) -> None:
        self._state = state

    def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        record = self._state.head_get(f"{group}/{plural}", namespace, name)
        return record.obj if record else None

    def list(self, group: str, plural: str, namespace: str = "") -> list[Object]:
        return [r.obj for r in self._state.head_list(f"{group}/{plural}", namespace)]


@dataclass
class Request:
    """One request on a resource after authentication and authorization."""

    info: RequestInfo
    served: Served
    query: Mapping[str, str]
    dry_runs: list[str]
    user: UserInfo
    format: Format
    body: bytes = b""
    content_type: str = "application/json"
    user_agent: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.info.namespace if self.served.type.namespaced else ""

    @property
    def name(self) -> str:
        return self.info.name

    def manager(self, asked: str) -> str:
        """The field manager: as asked, else the user agent's first word (k8s.io managedFields)."""
        return asked or self.user_agent.split("/", 1)[0][:128] or "unknown"


@dataclass(frozen=True)
class Reply:
    """What a verb answers: an object to be shown in the asked format, or bytes as they are."""

    obj: Object | None = None
    code: int = 200
    raw: bytes | None = None  # the JSON of obj, when at hand
    status: bool = False  # obj is a Status or the like: never turned into a Table


@dataclass
class Api:
    """The parts of a running API server."""

    state: State
    registry: Registry
    schemas: Schemas
    settings: Settings
    powers: Powers | None = None
    guard: Callable[[ResourceType, Object, Context], None] = lambda _type, _obj, _ctx: None  # may raise 403

    # Encoded watch events that many watchers of one collection are about to send, oldest first.
    lines: dict[tuple[int, str, str], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reader = HeadReader(self.state)

    def context(self, request: Request, verb: str, *, dry_run: bool, subresource: str = "") -> Context:
        return Context(
            reader=self.reader,
            settings=self.settings,
            now=now_text(),
            verb=verb,
            user=request.user.name,
            groups=request.user.groups,
            subresource=subresource,
            namespace=request.namespace,
            name=request.name,
            dry_run=dry_run,
            warnings=request.warnings,
            user_info=request.user,
            powers=self.powers,
            query=request.query,
        )

    def stored(self, request: Request) -> Record:
        """The newest decided record the request names; raises 404."""
        record = self.state.head_get(request.served.storage_key, request.namespace, request.name)
        if record is None:
            raise errors.not_found(request.served.type, request.name)
        return record

    def fresh(self, served: Served, record: Record) -> Object:
        """A private copy of a stored object in the version of `served`."""
        obj: Object = orjson.loads(record.raw)
        if served.converts:
            obj = served.kind.from_storage(obj)
        obj["kind"] = served.type.kind
        obj["apiVersion"] = served.type.group_version
        return obj

    def to_store(self, served: Served, obj: Object) -> Object:
        """obj as it is stored: the storage version's form, kind, apiVersion and metadata first."""
        stored = served.kind.to_storage(obj)
        base = served.type
        version = base.storage_version or base.group_version
        first = {"kind": base.kind, "apiVersion": version, "metadata": stored["metadata"]}
        return first | {k: v for k, v in stored.items() if k not in first}


def body_after_head(raw: bytes) -> bytes:
    """The part of a stored object's JSON from `"metadata"` on (kind and apiVersion come first, see to_store)."""
    return raw[raw.index(b'"metadata"') :]


def encode(served: Served, record: Record) -> bytes:
    """The JSON of a stored record in the version of `served`, with kind and apiVersion."""
    if served.converts:
        obj = dict(served.kind.from_storage(record.obj))
        obj["kind"] = served.type.kind
        obj["apiVersion"] = served.type.group_version
        return orjson.dumps(obj)
    head = f'{{"kind":"{served.type.kind}","apiVersion":"{served.type.group_version}",'.encode()
    return head + body_after_head(record.raw)


def encode_item(served: Served, record: Record) -> bytes:
    """The JSON of a record inside a list: built-in types leave out kind and apiVersion there."""
    if served.type.custom:
        return encode(served, record)
    if served.converts:
        obj = dict(served.kind.from_storage(record.obj))
        obj.pop("kind", None)
        obj.pop("apiVersion", None)
        return orjson.dumps(obj)
    return b"{" + body_after_head(record.raw)


def view(served: Served, record: Record) -> Object:
    """The object of a record in the version of `served`, for reading only."""
    return served.kind.from_storage(record.obj) if served.converts else record.obj
