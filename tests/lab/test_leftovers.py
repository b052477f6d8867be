"""`lab down` leaves nothing of the lab on the machine: no namespace, link, route, rule, mount, cgroup, process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labkit import Lab
from podloom.drivers.kernel.netns import list_netns
from podloom.lab.hosts import cgroup_roots
from podloom.lab.processes import running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
OVERLAY = ("--network-plugin", "azure", "--network-plugin-mode", "overlay")


def output(*command: str) -> set[str]:
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def machine() -> dict[str, set[str]]:
    """Everything a lab could leave behind, each as lines."""
    mounts = {line.split(" ", 4)[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    mounts -= {
        line for line in mounts if line.startswith("/run/netns ")
    }  # the folder itself, as `ip netns add` makes it
    folders = {str(path) for root in cgroup_roots() for path in root.iterdir() if path.is_dir()}
    bpf = Path("/sys/fs/bpf")
    return {
        "network namespaces": list_netns(),
        "links": {line.split(": ")[1].split("@")[0] for line in output("ip", "-o", "link")},
        "routes": output("ip", "route", "show", "table", "all"),
        "rules": output("ip", "rule"),
        "nft": output("nft", "list", "ruleset"),
        "bpffs": {str(path) for path in bpf.iterdir()} if bpf.is_dir() else set(),
        "cgroups": folders,
        "mounts": mounts,
    }


def ours(lab: Lab, lines: set[str]) -> set[str]:
    """Lines that name the lab; others may come and go with what else the machine does."""
    return {line for line in lines if lab.tag in line or str(lab.state) in line}


def test_down_leaves_nothing_and_purge_no_file(tmp_path: Path) -> None:
    before = machine()
    lab = Lab(tmp_path / "state", suffix="x")
    try:
        lab.podloom("lab", "up")
        lab.podloom("group", "create", "--name", "g", "--location", "westcentralus")
        lab.podloom("aks", "create", "--name", "c", "--resource-group", "g", *OVERLAY, "--node-count", "1")
        during = machine()
        assert all(ours(lab, during[kind]) for kind in ("network namespaces", "links", "cgroups", "mounts"))
        assert len(running(lab.tag)) > 8
    finally:
        lab.podloom("lab", "down")
    after = machine()
    assert {kind: ours(lab, lines) for kind, lines in after.items() if ours(lab, lines)} == {}
    assert running(lab.tag) == []
    if os.environ.get("PODLOOM_CI") == "1":  # nothing else runs beside the tests there
        assert after == before
    assert (lab.state / "cloud").exists()
    lab.podloom("lab", "down", "--purge", "--yes")
    assert not lab.state.exists()
