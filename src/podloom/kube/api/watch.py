"""watch: the changes of a collection as a stream of JSON events.

The problem: hundreds of watchers follow a few busy collections; each sees exactly the changes that its selector
and revision imply, in order, nothing twice, and a slow one must not hold memory without bound. A watcher
subscribes to the visible table and encodes an event only when its selector lets it through; the JSON of the
object is the stored one. Semantics: Kubernetes "API concepts", "Efficient detection of changes", "Watch
bookmarks", "Streaming lists".
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from podloom.kube.api import errors
from podloom.kube.api.contract import Object, StatusError
from podloom.kube.api.core import Api, Request, encode, view
from podloom.kube.api.options import ListOptions, list_options
from podloom.kube.api.output import include_policy, partial, table
from podloom.kube.api.read import scope, selectors
from podloom.kube.api.registry import Served
from podloom.kube.api.selectors import FieldSelector, LabelSelector
from podloom.kube.api.state import Event, Record
from podloom.model.errors import Bug

QUEUE_EVENTS_MAX = 20_000
LINES_MAX = 512
BOOKMARK_S = 60.0
TIMEOUT_S_MIN = 1800
_LAST_BOOKMARKS_S = (2.0, 1.0)  # before the end


@dataclass
class _Filter:
    served: Served
    namespace: str | None
    name: str
    labels: LabelSelector
    fields: FieldSelector

    def passes(self, record: Record | None) -> bool:
        if record is None or (self.namespace is not None and record.namespace != self.namespace):
            return False
        if self.name and record.name != self.name:
            return False
        if self.labels and not self.labels.matches(record.obj):
            return False
        return not self.fields or self.fields.matches(view(self.served, record))


class Watcher:
    """One watch from the first event to its end. Iterate `chunks()`; `close()` ends it early."""

    def __init__(self, api: Api, request: Request) -> None:
        self._api = api
        self._request = request
        self._served = request.served
        self.storage_key = request.served.storage_key
        self.options: ListOptions = list_options(request.query, watch=True)
        labels, fields = selectors(self._served, self.options)
        name = "" if request.info.selected_name else request.info.name
        self._filter = _Filter(self._served, scope(request), name, labels, fields)
        self._include = include_policy(request.query.get("includeObject", ""))
        self._columns_sent = False
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._sent = 0  # revision up to which everything has been sent or did not matter
        timeout = self.options.timeout_s
        if not timeout or timeout < 0:
            timeout = random.randrange(TIMEOUT_S_MIN, 2 * TIMEOUT_S_MIN)
        self.timeout_s = float(timeout)
        self._initial: list[Record] = []
        self._error: StatusError | None = None
        self._subscribe()

    def _subscribe(self) -> None:
        """Fix the starting point and listen from there on, in one step of the event loop."""
        state, key = self._api.state, self._served.storage_key
        wanted = self.options.resource_version
        self._sent = state.revision
        if self.options.send_initial:
            if wanted is not None and wanted > state.revision:
                raise errors.too_large_revision(wanted, state.revision)
            self._initial = state.table(key).records(self._filter.namespace)
        elif not wanted:
            if self.options.send_initial is None:
                self._initial = state.table(key).records(self._filter.namespace)
        elif wanted < state.compacted:
            self._error = errors.expired(f"too old resource version: {wanted} ({state.compacted})")
        else:
            self._sent = max(wanted, state.revision)
            self._queue.extend(state.since(key, wanted))
        state.table(key).listeners.add(self._listen)

    def _listen(self, event: Event) -> None:
        if len(self._queue) >= QUEUE_EVENTS_MAX:
            self.close()
            return
        if event.rv > self._sent:
            self._queue.append(event)
            self._wake.set()

    def close(self) -> None:
        """End the stream; may be called more than once."""
        self._closed = True
        self._api.state.table(self._served.storage_key).listeners.discard(self._listen)
        self._wake.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Encoded events, several in one chunk when they wait."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.timeout_s
        try:
            first = self._first_chunk()
            if first:
                yield first
            if self._error is not None:
                return
            bookmarks = self._bookmark_times(loop.time(), end)
            while not self._closed:
                chunk = self._drain()
                if chunk:
                    yield chunk
                    continue
                now = loop.time()
                if now >= end:
                    return
                if bookmarks and now >= bookmarks[0]:
                    bookmarks.popleft()
                    yield self._bookmark(self._api.state.revision)
                    continue
                self._wake.clear()
                until = min(end, bookmarks[0]) if bookmarks else end
                await self._wait(until - now)
        finally:
            self.close()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _bookmark_times(self, now: float, end: float) -> deque[float]:
        if not self.options.allow_bookmarks:
            return deque()
        count = int((end - now) / BOOKMARK_S)
        times = [now + BOOKMARK_S * (i + 1) for i in range(min(count, 1000))]
        if self.timeout_s > _LAST_BOOKMARKS_S[0]:
            times += [end - s for s in _LAST_BOOKMARKS_S]
        return deque(sorted(times))

    def _first_chunk(self) -> bytes:
        if self._error is not None:
            return self._line("ERROR", orjson.dumps(self._error.status()))
        parts = [self._object("ADDED", r) for r in self._initial if self._filter.passes(r)]
        self._initial = []
        if self.options.send_initial and self.options.allow_bookmarks:
            parts.append(self._bookmark(self._sent, initial_end=True))
        return b"".join(parts)

    def _drain(self) -> bytes:
        parts: list[bytes] = []
        while self._queue and len(parts) < 500:
            part = self._event(self._queue.popleft())
            if part:
                parts.append(part)
        return b"".join(parts)

    def _event(self, event: Event) -> bytes:
        before, after = self._filter.passes(event.before), self._filter.passes(event.after)
        if not before and not after:
            return b""
        type_ = ("MODIFIED" if before else "ADDED") if after else "DELETED"
        if self._request.format.transform:
            return self._object(type_, self._shown(event, type_))
        lines = self._api.lines
        key = (event.rv, type_, self._served.type.group_version)
        line = lines.get(key)
        if line is None:
            line = lines[key] = self._object(type_, self._shown(event, type_))
            if len(lines) > LINES_MAX:
                del lines[next(iter(lines))]
        return line

    def _shown(self, event: Event, type_: str) -> Record:
        """The record an event shows: a deletion shows the last one, at the deletion's revision."""
        if type_ != "DELETED" and event.after is not None:
            return event.after
        if event.before is None:
            raise Bug(f"watch event {event.rv}", "a removal of nothing")
        return self._at(event.before, event.rv)

    def _at(self, record: Record, rv: int) -> Record:
        """The record with another resourceVersion: how an object looks in its DELETED event."""
        obj = dict(record.obj)
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(rv)}
        return Record(record.key, rv, orjson.dumps(obj), obj)

    def _line(self, type_: str, obj: bytes) -> bytes:
        return b'{"type":"' + type_.encode() + b'","object":' + obj + b"}\n"

    def _object(self, type_: str, record: Record) -> bytes:
        fmt = self._request.format
        if fmt.transform == "Table":
            with_columns, self._columns_sent = not self._columns_sent, True
            shown: Object = table(
                self._served,
                [view(self._served, record)],
                {"resourceVersion": str(record.rv)},
                self._include,
                fmt,
                with_columns=with_columns,
            )
            return self._line(type_, orjson.dumps(shown))
        if fmt.transform:
            return self._line(type_, orjson.dumps(partial(record.obj, fmt.version)))
        return self._line(type_, encode(self._served, record))

    def _bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        found: Object = {"resourceVersion": str(revision)}
        if initial_end:
            found["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Object = {
            "kind": self._served.type.kind,
            "apiVersion": self._served.type.group_version,
            "metadata": {**found, "creationTimestamp": None},
        }
        fmt = self._request.format
        if fmt.transform == "Table":
            obj = table(self._served, [], found, self._include, fmt, with_columns=not self._columns_sent)
            obj["rows"] = [
                {
                    "cells": [],
                    "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found},
                }
            ]
        elif fmt.transform:
            obj = partial({"metadata": found}, fmt.version)
        else:
            del obj["metadata"]["creationTimestamp"]
        return self._line("BOOKMARK", orjson.dumps(obj))
