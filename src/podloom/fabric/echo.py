"""The host on the internet that answers: the native `echo` server as a child in the internet's namespace.

It is started again when it dies, with a growing pause, and dies with the fabric (also with a killed one: the
kernel sends it SIGKILL when its parent's main thread ends), so that the next fabric's finds its ports free.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Sequence

import structlog

from podloom.drivers.kernel import in_netns
from podloom.drivers.kernel.netns import netns_inode
from podloom.model.errors import Stale, Unsupported
from podloom.native import native_path

log = structlog.get_logger()
_POLL_S = 0.2
_PAUSE_S_MAX = 5.0
_STOP_TIMEOUT_S = 2.0


class EchoHost:
    """Keeps one child running in `netns`; `run` must be awaited on the main thread's loop."""

    def __init__(self, netns: str, arguments: Sequence[str] = ("--http", "80", "--echo", "7", "--name", "internet")):
        self._netns = netns
        self._command = [*_with_parent(), str(native_path("echo")), *arguments]
        self._child: subprocess.Popen[bytes] | None = None
        self._inode = 0

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    async def run(self) -> None:
        """Forever; ends the child when cancelled."""
        pause_s = _POLL_S
        try:
            while True:
                if self._child is not None and self._child.poll() is not None:
                    log.warning("the answering host ended", code=self._child.returncode, again_in_s=pause_s)
                    self._child = None
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, _PAUSE_S_MAX)
                inode = netns_inode(self._netns)
                if inode != self._inode:
                    self.stop()
                if inode and self._child is None:
                    self._start(inode)
                await asyncio.sleep(_POLL_S)
        finally:
            self.stop()

    def _start(self, inode: int) -> None:
        # Gone since it was looked at: the next look sees that.
        with contextlib.suppress(Stale), in_netns(self._netns):
            self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._inode = inode

    def stop(self) -> None:
        """End the child, by its pid."""
        child, self._child, self._inode = self._child, None, 0
        if child is None or child.poll() is not None:
            return
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_TIMEOUT_S)
            return
        child.kill()
        child.wait()


def _with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Unsupported("start the answering host", "setpriv was not found", "install the package util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--"]
