"""`podloom lab up | down | status | env`: what the CLI calls; each is idempotent."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from podloom.fabric.teardown import teardown
from podloom.lab.hosts import cgroup_roots, remove_cgroup, unmount_below
from podloom.lab.processes import ProcessSpec, adopt, leaders, running, spawn, stop
from podloom.lab.state import LabFile, LabPaths, open_lab, paths, python, read_lab
from podloom.model.errors import PodloomError, Rejected, Unavailable

Progress = Callable[[str, str], None]  # step name, state: running | done | failed
UP_TIMEOUT_S = 120.0
CLOUD_PORT = 8443
PAUSE_S = 0.05
GRACE_S = 10.0


def up(progress: Progress) -> dict[str, Any]:
    """Bring the lab up, with the clusters it had; returns its status. Raises Unavailable with the reason."""
    if os.geteuid() != 0:
        raise Rejected("bring the lab up", "this user is not root", "run it as root: it makes network namespaces")
    where = paths()
    lab = open_lab(where, int(os.environ.get("PODLOOM_PORT", CLOUD_PORT)))
    spec = _supervisor(where)
    pid = adopt(lab.tag, spec)
    if not pid:
        where.status_file.unlink(missing_ok=True)
        pid = spawn(lab.tag, spec)
    _follow(where, pid, progress)
    return status()


def _supervisor(where: LabPaths) -> ProcessSpec:
    return ProcessSpec("lab", (python(), "-m", "podloom.lab", "--state", str(where.root)), where.logs / "lab.log")


def _follow(where: LabPaths, pid: int, progress: Progress) -> None:
    """Show the supervisor's steps until it is ready."""
    deadline = time.monotonic() + UP_TIMEOUT_S
    step = ""
    while True:
        told = _told(where)
        if told.get("pid") == pid and told["step"] != step:
            if step:
                progress(step, "done")
            step = told["step"]
            if told["ready"]:
                return
            progress(step, "running")
        if not Path(f"/proc/{pid}").exists():
            raise Unavailable("bring the lab up", f"its supervisor ended: {_last_lines(where.logs / 'lab.log')}")
        if time.monotonic() > deadline:
            raise Unavailable("bring the lab up", f"step {step!r} takes over {UP_TIMEOUT_S:.0f} s", f"see {where.logs}")
        time.sleep(PAUSE_S)


def _told(where: LabPaths) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(where.status_file.read_bytes())
        return found
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _last_lines(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else "it wrote no log"


def down(progress: Progress, *, purge: bool = False) -> dict[str, Any]:
    """Stop everything of the lab and remove what it made on the machine; returns what was removed.

    Its state stays, so `up` brings the clusters back; with `purge` that goes too.
    """
    where = paths()
    try:
        lab = read_lab(where)
    except PodloomError:
        if purge:
            shutil.rmtree(where.root, ignore_errors=True)
        return {"processes": 0, "state": "none"}
    progress("processes", "running")
    ended = asyncio.run(_end_all(lab))
    progress("processes", "done")
    progress("network", "running")
    teardown(lab.tag)
    progress("network", "done")
    progress("files", "running")
    for root in cgroup_roots():
        remove_cgroup(root / lab.tag)
    unmount_below(where.root)
    where.status_file.unlink(missing_ok=True)
    if purge:
        shutil.rmtree(where.root, ignore_errors=True)
    progress("files", "done")
    return {"processes": ended, "state": "removed" if purge else "kept"}


async def _end_all(lab: LabFile) -> int:
    """The supervisor first, so that nothing is started again; then nodes, then the rest."""
    ended = 0
    for wanted in (_is_supervisor, _is_holder, lambda _: True):
        mine = [p for p in running(lab.tag) if wanted(p.name)]
        await asyncio.gather(*(stop(p.pid, timeout_s=GRACE_S) for p in mine))
        ended += len(mine)
    return ended


def _is_supervisor(name: str) -> bool:
    return name == "lab"


def _is_holder(name: str) -> bool:
    return name.endswith("/holder")


def status() -> dict[str, Any]:
    """What runs, as one document."""
    where = paths()
    lab = read_lab(where)
    processes = leaders(lab.tag)
    told = _told(where)
    alive = any(p.pid == told.get("pid") for p in processes)
    return {
        "state": "running" if alive and told.get("ready") else "starting" if alive else "stopped",
        "cloudUrl": lab.cloud_url,
        "subscriptionId": lab.subscription_id,
        "stateFolder": str(where.root),
        "tag": lab.tag,
        "processes": [{"name": p.name, "pid": p.pid} for p in processes],
    }


def environment() -> dict[str, str]:
    """What a shell needs so that kubectl works on the lab's clusters.

    The set-up puts a kubectl beside our programs when the machine's is too old or absent, so that folder leads PATH.
    kubectl's cache of the clusters' discovery is the lab's: it goes with the lab, and a later one at the same port
    is not taken for this one.
    """
    where = paths()
    read_lab(where)
    found = {
        "PODLOOM_STATE": str(where.root),
        "KUBECONFIG": str(where.kubeconfig),
        "KUBECACHEDIR": str(where.kubectl_cache),
    }
    programs, path = str(Path(python()).parent), os.environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        found["PATH"] = f"{programs}{os.pathsep}{path}"
    return found
