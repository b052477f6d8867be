"""A node of the lab is a machine of its own: its processes, mounts and cgroups come and go with it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from podloom.drivers.kernel.netns import create_netns, delete_netns
from podloom.lab.hosts import Host, cgroup_roots, containerd_config, remove_cgroup
from podloom.lab.processes import Keeper, adopt, running, spawn, stop
from podloom.model.errors import Unavailable

pytestmark = pytest.mark.lab
TAG = f"t{os.getpid()}"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    netns = f"{TAG}-vm"
    create_netns(netns)
    made = Host(TAG, "node1", tmp_path / "node1", netns, "168.63.129.16", "", "")
    made.prepare()
    yield made
    for process in running(TAG):
        os.kill(process.pid, 9)
    made.remove()
    for root in cgroup_roots():
        remove_cgroup(root / TAG)
    delete_netns(netns)


async def test_containerd_runs_inside_and_dies_with_the_node(host: Host) -> None:
    """Killing PID 1 is the crash of the node: nothing of it is left running."""
    holder = spawn(TAG, host.holder())
    containerd = spawn(TAG, host.containerd(holder))
    socket = Path(f"/proc/{holder}/root/run/containerd/containerd.sock")
    async with asyncio.timeout(20):
        while subprocess.run(["ctr", "-a", socket, "version"], capture_output=True, check=False).returncode:  # noqa: ASYNC221
            await asyncio.sleep(0.05)
    assert Path(f"/proc/{containerd}/ns/net").stat().st_ino == Path(f"/proc/{holder}/ns/net").stat().st_ino
    assert (Path(f"/proc/{holder}/root/etc/resolv.conf")).read_text() == "nameserver 168.63.129.16\n"
    await stop(holder, timeout_s=5)
    async with asyncio.timeout(10):
        while running(TAG):
            await asyncio.sleep(0.02)


async def test_a_successor_finds_the_process_and_no_second_is_started(host: Host) -> None:
    first = spawn(TAG, host.holder())
    assert adopt(TAG, host.holder()) == first
    keeper = Keeper(TAG, host.holder)
    task = asyncio.create_task(keeper.run())
    await asyncio.wait_for(keeper.started.wait(), 5)
    assert keeper.pid == first
    os.kill(first, 9)
    async with asyncio.timeout(5):
        while keeper.pid in (0, first):
            await asyncio.sleep(0.02)
    assert [p.pid for p in running(TAG)] == [keeper.pid]
    task.cancel()


def test_a_program_that_cannot_start_says_why(host: Host) -> None:
    holder = spawn(TAG, host.holder())
    with pytest.raises(Unavailable, match="No such file"):
        spawn(TAG, host.process("x", ["/no/such/program"], holder))


async def test_removing_a_host_leaves_no_cgroup_or_folder(host: Host) -> None:
    holder = spawn(TAG, host.holder())
    await stop(holder)
    host.remove()
    assert not host.root.exists()
    assert not [root for root in cgroup_roots() if (root / host.cgroup).exists()]


def test_containerd_is_told_when_it_may_not_lower_the_oom_score() -> None:
    assert "restrict_oom_score_adj = true" in containerd_config(raise_oom_score=False)
