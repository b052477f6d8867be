"""The change stream: one JSON line per change, for ever.

The problem: whoever realises the cloud must miss nothing, also over restarts of either side, and a slow reader must
not make the cloud remember. So the stream is read from the store ("what changed after number N", latest state only)
whenever a commit happened, and its position is the reader's. A reader from before the kept history starts anew.
"""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from podloom.cloud.store import Row, Store, Tombstone
from podloom.render.arm import Json

_HEARTBEAT_S = 15.0
_BATCH = 500


async def stream_changes(request: web.Request, store: Store, since: int) -> web.StreamResponse:
    """Send markers and changes after `since` until the reader goes away; an empty line is a heartbeat."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    await response.prepare(request)
    fresh = since <= 0 or since < store.pruned_seq or since > store.seq
    position = 0 if fresh else since
    await response.write(_line(_marker("snapshot" if fresh else "resume", position)))
    synced = False
    try:
        while True:
            changed = store.changed
            batch = store.changes_after(position, _BATCH)
            if batch:
                await response.write(
                    b"".join(_line(_change(item)) for item in batch if not fresh or isinstance(item, Row))
                )
                position = batch[-1].seq
                continue
            if not synced:
                synced, fresh = True, False
                await response.write(_line(_marker("synced", position)))
            await _pause(response, changed)
    except (ConnectionResetError, asyncio.CancelledError):
        return response


async def _pause(response: web.StreamResponse, changed: asyncio.Event) -> None:
    """Wait for the next commit; a heartbeat in between tells a reader that the cloud lives."""
    try:
        await asyncio.wait_for(changed.wait(), _HEARTBEAT_S)
    except TimeoutError:
        await response.write(b"\n")


def _change(item: Row | Tombstone) -> Json:
    if isinstance(item, Tombstone):
        return {"seq": item.seq, "id": item.id, "deleted": True, "type": item.type, "resource": None, "marker": ""}
    view = item.view()
    return {"seq": item.seq, "id": view["id"], "deleted": False, "type": view["type"], "resource": view, "marker": ""}


def _marker(name: str, seq: int) -> Json:
    return {"seq": seq, "id": "", "deleted": False, "type": "", "resource": None, "marker": name}


def _line(value: Json) -> bytes:
    return orjson.dumps(value) + b"\n"
