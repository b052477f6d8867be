"""`lab down` and a reboot of the machine, then `lab up`: clusters, pods, leases and connections are there again."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from labkit import CLUSTER, GROUP, Lab, wait_for
from podloom.drivers.kernel.netns import list_netns
from podloom.fabric.teardown import teardown
from podloom.lab.hosts import cgroup_roots, remove_cgroup, unmount_below
from podloom.lab.processes import running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
NAMES = ("--name", CLUSTER, "--resource-group", GROUP)


def reboot(lab: Lab) -> None:
    """What a loss of power leaves: no process, no namespace, no cgroup, no mount, nothing of /run; files stay."""
    while found := running(lab.tag):
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    teardown(lab.tag)
    for root in cgroup_roots():
        remove_cgroup(root / lab.tag)
    unmount_below(lab.state)
    shutil.rmtree(lab.state / "run")
    assert not list_netns(lab.tag)


def stop(lab: Lab) -> None:
    lab.podloom("lab", "down")


def pods(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.get("pods", "-l", "app=stays")["items"]
    return found


def restarted(lab: Lab, before: dict[str, str]) -> bool:
    """Whether every pod of before is Ready with another container than it had."""
    now = {p["metadata"]["name"]: p["status"]["containerStatuses"][0] for p in pods(lab)}
    return sorted(now) == sorted(before) and all(
        status["ready"] and status["containerID"] != before[name] for name, status in now.items()
    )


def leases(state: Path, node: str) -> set[str]:
    """The addresses the node's agent has on disk."""
    with contextlib.closing(sqlite3.connect(f"file:{state}/nodes/{node}/podloom/agent.db?mode=ro", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT address FROM lease_address")}


def addresses(lab: Lab) -> dict[str, list[str]]:
    """Addresses of the pods that have a network of their own, by node."""
    found: dict[str, list[str]] = {}
    for pod in lab.get("pods", "-A")["items"]:
        if pod["status"].get("phase") == "Running" and not pod["spec"].get("hostNetwork"):
            found.setdefault(pod["spec"]["nodeName"], []).append(pod["status"]["podIP"])
    return found


def ranges(lab: Lab) -> dict[str, Any]:
    items = lab.get("nodenetworkconfigs", "-n", "kube-system")["items"]
    return {i["metadata"]["name"]: i["status"]["networkContainers"][0]["primaryIP"] for i in items}


@pytest.mark.parametrize("end", [stop, reboot])
def test_everything_is_there_again(cluster: Lab, end: Any) -> None:
    cluster.kubectl("create", "deployment", "stays", "--image=nginx", "--replicas=4")
    try:
        cluster.kubectl("rollout", "status", "deployment/stays", "--timeout=90s")
        before = {p["metadata"]["name"]: p["status"]["containerStatuses"][0]["containerID"] for p in pods(cluster)}
        had = ranges(cluster)
        end(cluster)
        assert cluster.podloom("lab", "up")["state"] == "running"
        assert len(cluster.get("nodes")["items"]) == 2, "kubectl works as soon as `lab up` returns"
        wait_for(lambda: restarted(cluster, before), "all pods to be Ready in new containers", 90)
        assert ranges(cluster) == had
        wait_for(lambda: consistent(cluster), "leases and pods to be the same addresses", 60)
        for node, found in addresses(cluster).items():
            assert all(ipaddress.ip_address(address) in ipaddress.ip_network(had[node]) for address in found)
        assert cluster.podloom("connectivity", *NAMES)["differences"] == []
    finally:
        cluster.kubectl("delete", "deployment", "stays")


def consistent(lab: Lab) -> bool:
    """No address twice, every pod's is leased, and no lease is left of the pods of before."""
    return all(
        len(set(found)) == len(found) and set(found) == leases(lab.state, node)
        for node, found in addresses(lab).items()
    )
