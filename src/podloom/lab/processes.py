"""Processes that outlive whoever started them and are found again.

The problem: the lab's supervisor may be killed at any moment, and its successor must neither start a second API
server nor lose the first. Files with process ids lie after a crash; the process itself does not. So every process
we start carries PODLOOM_PROCESS=<tag>:<name> in its environment, and what runs is read from /proc: the marker says
whose it is, the command line says whether it is the one wanted now.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from podloom.model.errors import Unavailable
from podloom.native import native_path

log = structlog.get_logger()

MARKER = "PODLOOM_PROCESS"
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ProcessSpec:
    """A wanted process: argv as it will stand in /proc/PID/cmdline, and where it runs (see tools/spawn.c)."""

    name: str
    argv: tuple[str, ...]
    log: Path
    placement: tuple[str, ...] = ()  # flags of `spawn`: --netns, --unshare, --bind ...
    environment: Mapping[str, str] = field(default_factory=dict)
    join: int = 0  # pid whose namespaces it enters; 0: none


@dataclass(frozen=True)
class Running:
    """A process of ours as read from /proc."""

    pid: int
    name: str
    argv: tuple[str, ...]
    started: int  # clock ticks since boot: tells two processes with one pid apart


def running(tag: str) -> list[Running]:
    """Every process on this machine that carries our tag, children that inherited it included."""
    prefix = f"{MARKER}={tag}:".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (process := _read(folder, prefix)):
            found.append(process)
    return found


def leaders(tag: str) -> list[Running]:
    """One process a name, the oldest: what was started, without the children that inherited its marker."""
    oldest: dict[str, Running] = {}
    for process in sorted(running(tag), key=lambda p: (p.started, p.pid)):
        oldest.setdefault(process.name, process)
    return sorted(oldest.values(), key=lambda p: p.name)


def _read(folder: Path, prefix: bytes) -> Running | None:
    try:
        environment = (folder / "environ").read_bytes()
        if prefix not in environment:
            return None
        marker = next(e for e in environment.split(b"\0") if e.startswith(prefix))
        argv = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
    except (OSError, StopIteration):
        return None  # it ended while we looked
    if stat[0] in "ZX":
        return None
    name = marker[len(prefix) :].decode()
    return Running(int(folder.name), name, tuple(a.decode(errors="replace") for a in argv), int(stat[19]))


def spawn(tag: str, spec: ProcessSpec) -> int:
    """Start `spec` detached; returns its pid. Raises Unavailable with the program's own words."""
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    join = ("--join", str(spec.join)) if spec.join else ()
    command = [str(native_path("spawn")), "--log", str(spec.log), *join, *spec.placement, "--", *spec.argv]
    environment = {**_inherited(), **spec.environment, MARKER: f"{tag}:{spec.name}"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Unavailable(f"start process {spec.name}", result.stderr.strip() or f"exit code {result.returncode}")
    return int(result.stdout)


def _inherited() -> dict[str, str]:
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
    return {key: os.environ[key] for key in keep if key in os.environ}


async def wait_for_exit(pid: int) -> None:
    """Return when the process is gone (or already was); no polling: a pidfd becomes readable."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    done = loop.create_future()
    loop.add_reader(descriptor, _resolve, done)
    try:
        await done
        _reap(descriptor)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _reap(descriptor: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


async def stop(pid: int, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End one process: SIGTERM, then SIGKILL after the timeout; returns when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wait_for_exit(pid), timeout_s)
            return


async def stop_below(tag: str, prefix: str, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End every process of the lab whose name begins with `prefix`, as `node/NAME/`."""
    mine = [p.pid for p in running(tag) if p.name.startswith(prefix)]
    await asyncio.gather(*(stop(pid, timeout_s=timeout_s) for pid in mine))


def adopt(tag: str, spec: ProcessSpec) -> int:
    """The pid of the process that already runs exactly as `spec` says; 0 when there is none."""
    matches = [p for p in running(tag) if p.name == spec.name and p.argv == spec.argv]
    return min(matches, key=lambda p: p.started).pid if matches else 0


class Keeper:
    """Keeps one process alive: adopts or starts it, starts it again when it ends, at a bounded pace."""

    BACKOFF_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)

    def __init__(self, tag: str, spec: Callable[[], ProcessSpec], *, once: bool = False) -> None:
        self.tag = tag
        self._spec = spec
        self._once = once
        self.pid = 0
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. With once=True returns when the process ends, so that the owner rebuilds its world."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            if await self._begin():
                await wait_for_exit(self.pid)
                self.pid = 0
                self.started.clear()
            if self._once:
                return
            failures = 0 if loop.time() - began > 10 else failures + 1
            await asyncio.sleep(self.BACKOFF_S[min(failures, len(self.BACKOFF_S) - 1)] if failures else 0)

    async def _begin(self) -> bool:
        """Adopt or start the process; a failure is logged and tried again, unless the node it belongs in is gone."""
        spec = self._spec()
        try:
            self.pid = adopt(self.tag, spec)
            if not self.pid:
                await self._remove_stale(spec)
                self.pid = spawn(self.tag, spec)
        except Unavailable as error:
            if self._once or (spec.join and not Path(f"/proc/{spec.join}").exists()):
                raise
            log.warning("process does not start", process=spec.name, error=str(error))
            return False
        self.started.set()
        return True

    async def _remove_stale(self, spec: ProcessSpec) -> None:
        program = spec.argv[:3]
        stale = [p.pid for p in running(self.tag) if p.name == spec.name and p.argv[:3] == program]
        await asyncio.gather(*(stop(pid) for pid in stale))
