"""DELs that came while no agent was listening.

The problem: the plugin executable must answer DEL with success even without an agent, so it leaves the request in a
folder (relay/azure-vnet.c). The agent works them off at start, whenever the folder changes, and before every ADD: an
older DEL of a container must never hit a newer ADD of the same one.

What can never succeed (not a request, or one with a mistake in it) is set aside under the name `.bad-...`: not lost
and not tried again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import structlog

from podloom.agent.verbs import Verbs
from podloom.model.errors import PodloomError
from podloom.render.relay import parse_request

log = structlog.get_logger()
_MISTAKES = (1, 4, 6, 7)


class Spool:
    """The spool folder; `drain` may be called by several at once."""

    def __init__(self, folder: Path, verbs: Verbs) -> None:
        self._folder = folder
        self._verbs = verbs
        self._lock = asyncio.Lock()

    def prepare(self) -> None:
        """Make the folder, so that the plugin need not."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def waiting(self) -> list[Path]:
        """Requests not yet worked off, oldest first."""
        try:
            return sorted(path for path in self._folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    async def drain(self) -> int:
        """Work off what is there; a request that fails stays for the next time. Returns how many were done."""
        if not self.waiting():
            return 0
        done = 0
        async with self._lock:
            for path in self.waiting():
                done += await self._one(path)
        return done

    async def _one(self, path: Path) -> bool:
        try:
            frame = parse_request(path.read_bytes())
        except FileNotFoundError:
            return False
        except PodloomError as error:
            _set_aside(path, error.message)
            return False
        if frame.environment.get("CNI_COMMAND") != "DEL":
            _set_aside(path, "only DEL is kept for later")
            return False
        exit_code, stdout = await self._verbs.answer(frame, in_order=False)
        if exit_code and orjson.loads(stdout)["code"] in _MISTAKES:
            _set_aside(path, stdout.decode(errors="replace"))
        if exit_code:
            log.warning("spool.kept", file=path.name, answer=stdout.decode(errors="replace"))
            return False
        path.unlink(missing_ok=True)
        log.info("spool.done", container=frame.environment.get("CNI_CONTAINERID", ""))
        return True


def _set_aside(path: Path, reason: str) -> None:
    log.error("spool.bad", file=path.name, reason=reason)
    path.rename(path.with_name(f".bad-{path.name}"))
