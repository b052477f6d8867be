"""A create that dies in the middle can be repeated, and deleted; nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from labkit import GROUP, PODLOOM, Lab, wait_for
from podloom.drivers.kernel.netns import list_netns

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
NAMES = ("--name", "halfway", "--resource-group", GROUP)
OVERLAY = ("--network-plugin", "azure", "--network-plugin-mode", "overlay", "--pod-cidr", "10.99.0.0/16")
CREATE = (*NAMES, *OVERLAY, "--node-count", "1")


def kill(lab: Lab, *names: str) -> None:
    for process in lab.running():
        if process.name in names:
            os.kill(process.pid, signal.SIGKILL)


def begin(lab: Lab) -> subprocess.Popen[bytes]:
    """Start a create and return when a part of the cluster runs."""
    command = [PODLOOM, "aks", "create", *CREATE]
    started = subprocess.Popen(command, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any("halfway" in p.name for p in lab.running()), "the control plane to start", 60)
    return started


def test_a_create_whose_processes_all_die_is_repeated(cluster: Lab) -> None:
    started = begin(cluster)
    kill(cluster, "cloud", "lab")
    started.kill()
    started.wait()
    cluster.podloom("lab", "up")
    made = cluster.podloom("aks", "create", *CREATE)
    assert made["provisioningState"] == "Succeeded"
    again = cluster.podloom("aks", "create", *CREATE)
    assert again["provisioningState"] == "Succeeded", "the same once more changes nothing"
    remove(cluster, made["nodeResourceGroup"])


def test_a_create_that_died_is_deleted(cluster: Lab) -> None:
    started = begin(cluster)
    kill(cluster, "lab", "cloud", "fabric")
    started.kill()
    started.wait()
    cluster.podloom("lab", "up")
    remove(cluster, f"MC_{GROUP}_halfway_westcentralus")


def remove(lab: Lab, node_group: str) -> None:
    lab.podloom("aks", "delete", *NAMES, "--yes")
    assert "halfway" not in [c["name"] for c in lab.podloom("aks", "list")]
    assert lab.podloom("group", "exists", "--name", node_group) is False
    assert not [p.name for p in lab.running() if "halfway" in p.name]
    wait_for(lambda: not [n for n in list_netns(lab.tag) if "halfway" in n], "its machines' namespaces to go", 20)
    assert not list((lab.state / "clusters").glob("halfway*"))
