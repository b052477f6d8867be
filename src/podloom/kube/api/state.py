"""The cluster's objects in memory: what was committed (for readers) and what was decided (for writers).

The problem: lists, gets and hundreds of watches must not touch the disk, must never see a write that a crash
could undo, and writers must still check against the newest decision although its commit is on the way. So
there are two views. `head` is what writers read and change, at once and on the event loop only, which makes
read-check-write atomic without locks. `visible` follows when the store has committed, in revision order, and
only then do readers and watchers see the change. A failed commit leaves nothing to go on with: the server ends.

History since the last compaction is kept as events with the value before, so a list at an exact older
revision is the present minus the events since.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import orjson

from podloom.kube.api.contract import Object
from podloom.kube.api.store import Change, Key, Snapshot, Store
from podloom.model.errors import Bug

KEEP_S = 300.0
KEEP_EVENTS_MIN = 1000
KEEP_EVENTS_MAX = 50_000
KEEP_BYTES_MAX = 64 << 20  # of values before the changes; then events younger than KEEP_S go, too
FIRST_REVISION = 100  # so that small numbers are "too old", as in a cluster that has been running


class Record:
    """A stored object at one revision: encoded, and decoded when first asked for. Treat `obj` as frozen."""

    __slots__ = ("_obj", "key", "raw", "rv")

    def __init__(self, key: Key, rv: int, raw: bytes, obj: Object | None = None) -> None:
        self.key = key
        self.rv = rv
        self.raw = raw
        self._obj = obj

    @property
    def obj(self) -> Object:
        if self._obj is None:
            self._obj = orjson.loads(self.raw)
        return self._obj

    def forget_decoded(self) -> None:
        """Keep the JSON only; `obj` decodes it again when asked."""
        self._obj = None

    @property
    def namespace(self) -> str:
        return self.key[1]

    @property
    def name(self) -> str:
        return self.key[2]


@dataclass(frozen=True)
class Event:
    """What happened at revision rv: after None is a removal, before None a creation."""

    rv: int
    key: Key
    before: Record | None
    after: Record | None
    at: float


_REVISION = re.compile(rb'"resourceVersion":"(\d+)"')


def _revision_of(raw: bytes) -> int:
    """metadata.resourceVersion of a stored object, without decoding it: metadata comes first (core.to_store)."""
    found = _REVISION.search(raw)
    if found is None:
        raise Bug("read the event log", "a stored object has no resourceVersion")
    return int(found.group(1))


class Table:
    """The visible objects of one resource: sorted by namespace and name when listed."""

    __slots__ = ("by_namespace", "history", "listeners")

    def __init__(self) -> None:
        self.by_namespace: dict[str, dict[str, Record]] = {}
        self.history: deque[Event] = deque()
        self.listeners: set[Callable[[Event], None]] = set()

    def get(self, namespace: str, name: str) -> Record | None:
        return self.by_namespace.get(namespace, {}).get(name)

    def put(self, record: Record) -> None:
        self.by_namespace.setdefault(record.namespace, {})[record.name] = record

    def drop(self, namespace: str, name: str) -> None:
        names = self.by_namespace.get(namespace)
        if names is not None:
            names.pop(name, None)
            if not names:
                del self.by_namespace[namespace]

    def records(self, namespace: str | None) -> list[Record]:
        """All records of a namespace, or of all namespaces for None, in key order."""
        if namespace is not None:
            names = self.by_namespace.get(namespace, {})
            return [names[n] for n in sorted(names)]
        return [r for ns in sorted(self.by_namespace) for _, r in sorted(self.by_namespace[ns].items())]


@dataclass(frozen=True)
class Step:
    """A decided write of one object: obj None removes it."""

    key: Key
    obj: Object | None


class State:
    """Both views over one store. All methods belong to the event loop's thread."""

    def __init__(self, store: Store, *, on_fatal: Callable[[BaseException], None]) -> None:
        self._store = store
        self._on_fatal = on_fatal
        self._loop: asyncio.AbstractEventLoop | None = None
        self.head: dict[Key, Record] = {}
        self._head_by_kind: dict[str, dict[tuple[str, str], Record]] = {}
        self.tables: dict[str, Table] = {}
        self.head_revision = FIRST_REVISION
        self.revision = FIRST_REVISION  # visible
        self.compacted = FIRST_REVISION
        self._events: deque[Event] = deque()
        self._event_bytes = 0

    def open(self) -> None:
        """Load the store; what it held is both head and visible."""
        self._loop = asyncio.get_running_loop()
        self._load(self._store.open())

    def _load(self, snapshot: Snapshot) -> None:
        for key, (rv, raw) in snapshot.objects.items():
            record = Record(key, rv, raw)
            self._set_head(key, record)
            self.table(key[0]).put(record)
        self.revision = self.head_revision = max(snapshot.revision, FIRST_REVISION)
        self.compacted = max(snapshot.compacted, FIRST_REVISION)
        current: dict[Key, Record | None] = {}
        undone: list[Event] = []
        for rv, key, at, before in reversed(snapshot.events):
            after = current.get(key, self.head.get(key))
            earlier = None
            if before is not None:
                earlier = Record(key, _revision_of(before), before)
            current[key] = earlier
            undone.append(Event(rv, key, earlier, after, at))
        for event in reversed(undone):
            self._remember(event)

    def _remember(self, event: Event) -> None:
        self._events.append(event)
        self._event_bytes += len(event.before.raw) if event.before else 0
        self.table(event.key[0]).history.append(event)

    def table(self, kind: str) -> Table:
        """The visible objects of storage key `kind` (group/plural)."""
        found = self.tables.get(kind)
        if found is None:
            found = self.tables[kind] = Table()
        return found

    def head_get(self, kind: str, namespace: str, name: str) -> Record | None:
        return self.head.get((kind, namespace, name))

    def head_list(self, kind: str, namespace: str = "") -> list[Record]:
        """The newest decided records of a kind, of all namespaces when namespace is empty."""
        records = self._head_by_kind.get(kind, {})
        if not namespace:
            return list(records.values())
        return [r for (ns, _), r in records.items() if ns == namespace]

    def _set_head(self, key: Key, record: Record | None) -> None:
        names = self._head_by_kind.setdefault(key[0], {})
        if record is None:
            self.head.pop(key, None)
            names.pop(key[1:], None)
        else:
            self.head[key] = record
            names[key[1:]] = record

    def decide(self, steps: Sequence[Step]) -> tuple[list[Event], asyncio.Future[None]]:
        """Take the steps in head and send them to the store as one transaction.

        Sets metadata.resourceVersion of each obj (in place; the caller gives the objects away). Await the future
        before answering anybody: it is done when the steps are durable and visible.
        """
        if self._loop is None:
            raise Bug("write", "the state is not open")
        now = time.time()
        events, changes = [], []
        for step in steps:
            self.head_revision += 1
            rv = self.head_revision
            before = self.head.get(step.key)
            after = None
            if step.obj is not None:
                step.obj["metadata"]["resourceVersion"] = str(rv)
                after = Record(step.key, rv, orjson.dumps(step.obj), step.obj)
            self._set_head(step.key, after)
            events.append(Event(rv, step.key, before, after, now))
            value = after.raw if after else None
            changes.append(Change(rv, step.key, value, before.raw if before else None, now))
        future: asyncio.Future[None] = self._loop.create_future()
        loop = self._loop

        def done(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(self._committed, events, future, error)

        self._store.submit(changes, done)
        return events, future

    def _committed(self, events: Sequence[Event], future: asyncio.Future[None], error: BaseException | None) -> None:
        if error is not None:
            self._on_fatal(error)
            return
        for event in events:
            self._publish(event)
        if not future.done():
            future.set_result(None)

    def _publish(self, event: Event) -> None:
        table = self.table(event.key[0])
        if event.after is None:
            table.drop(event.key[1], event.key[2])
        else:
            table.put(event.after)
        self.revision = event.rv
        self._remember(event)
        for listener in tuple(table.listeners):
            listener(event)

    def at_revision(self, kind: str, namespace: str | None, rv: int) -> list[Record] | None:
        """Records as of revision rv (<= revision), or None when that revision is compacted."""
        if rv < self.compacted:
            return None
        table = self.table(kind)
        undone: dict[tuple[str, str], Record | None] = {}
        for event in reversed(table.history):
            if event.rv <= rv:
                break
            if namespace is None or event.key[1] == namespace:
                undone[event.key[1:]] = event.before
        if not undone:
            return table.records(namespace)
        present: dict[tuple[str, str], Record | None] = {(r.namespace, r.name): r for r in table.records(namespace)}
        present.update(undone)
        return [r for _, r in sorted(present.items()) if r is not None]

    def since(self, kind: str, rv: int) -> Iterable[Event]:
        """Visible events of a kind after revision rv, oldest first."""
        found: list[Event] = []
        for event in reversed(self.table(kind).history):
            if event.rv <= rv:
                break
            found.append(event)
        return reversed(found)

    def compact(self, *, now: float | None = None, upto: int | None = None) -> int:
        """Forget events beyond KEEP_EVENTS_MIN that are old or too many or too large, or all up to `upto`.

        Returns how many.
        """
        limit = (time.time() if now is None else now) - KEEP_S
        dropped = 0
        last = 0
        while self._events:
            event = self._events[0]
            many = len(self._events) > KEEP_EVENTS_MAX or self._event_bytes > KEEP_BYTES_MAX
            old = event.at < limit
            spare = len(self._events) > KEEP_EVENTS_MIN
            if not (event.rv <= upto if upto is not None else spare and (many or old)):
                break
            self._events.popleft()
            self._event_bytes -= len(event.before.raw) if event.before else 0
            history = self.table(event.key[0]).history
            if history and history[0].rv == event.rv:
                history.popleft()
            last = event.rv
            dropped += 1
        if last > self.compacted:
            self.compacted = last
            self._store.compact(last, lambda _error: None)
        return dropped

    def slim(self) -> None:
        """Give up the decoded form of records that only history holds; called now and then."""
        for event in self._events:
            current = self.head.get(event.key)
            for record in (event.before, event.after):
                if record is not None and record is not current:
                    record.forget_decoded()

    def close(self) -> None:
        self._store.close()
