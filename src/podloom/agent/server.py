"""The plugin's socket: one request frame per connection, one answer frame, then close.

The problem: the executable on the other side may be killed at any point and thirty may come at once. A frame that does
not arrive whole is dropped; an answer that nobody waits for any more is harmless, because a DEL follows.
The number of requests in work is bounded, and whoever comes when it is reached is told to come again.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import structlog

from podloom.agent.verbs import Verbs
from podloom.model.cni import Undecodable
from podloom.model.errors import Exhausted, PodloomError
from podloom.render.cni import render_error
from podloom.render.relay import HEADER, Frame, parse_parts, render_answer, request_sizes

log = structlog.get_logger()
IN_WORK_MAX = 512


class PluginServer:
    """Listens on `path` (mode 0600) until `close`."""

    def __init__(self, path: Path, verbs: Verbs) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket file left by a dead agent is replaced (the store's lock proves that it is dead)."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), str(fresh), backlog=1024)
        fresh.chmod(0o600)
        fresh.replace(self._path)

    async def close(self) -> None:
        """Stop listening and let requests in work end."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=10)

    def take(self, connection: _Connection, frame: Frame) -> None:
        """Start working on a whole frame."""
        if len(self.tasks) >= IN_WORK_MAX:
            error = Exhausted("serve a plugin request", f"{IN_WORK_MAX} are in work", "try again later")
            connection.reply(1, render_error(error))
            return
        task = asyncio.ensure_future(self._serve(connection, frame))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, connection: _Connection, frame: Frame) -> None:
        connection.reply(*await self._verbs.answer(frame))


class _Connection(asyncio.Protocol):
    def __init__(self, server: PluginServer) -> None:
        self._server = server
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None
        self._taken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._taken or len(self._data) < HEADER.size:
            return
        try:
            environment, stdin = request_sizes(bytes(self._data[: HEADER.size]))
            middle = HEADER.size + environment
            if len(self._data) < middle + stdin:
                return
            frame = parse_parts(bytes(self._data[HEADER.size : middle]), bytes(self._data[middle : middle + stdin]))
        except PodloomError as error:
            self._taken = True
            self.reply(1, render_error(error))
            return
        except UnicodeDecodeError as error:
            self._taken = True
            self.reply(1, render_error(Undecodable("read a plugin request", str(error))))
            return
        self._taken = True
        self._data.clear()
        self._server.take(self, frame)

    def reply(self, exit_code: int, stdout: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(render_answer(exit_code, stdout))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
