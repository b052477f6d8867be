"""Nodes that go and come at once: addresses are used again, ranges are not lost, nobody gets another's pods."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from labkit import CLUSTER, GROUP, Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
NAMES = ("--name", CLUSTER, "--resource-group", GROUP)


def scale(lab: Lab, count: int) -> None:
    """Returns when the cloud says Succeeded; as many nodes are there then."""
    assert lab.podloom("aks", "scale", *NAMES, "--node-count", str(count))["provisioningState"] == "Succeeded"
    assert len(lab.get("nodes")["items"]) == count


def differences(lab: Lab) -> Any:
    return lab.podloom("connectivity", *NAMES, check=False)["differences"]


def test_a_freed_address_gives_no_way_to_pods(cluster: Lab) -> None:
    """OVL-06. The prober in the VNet gets the lowest free address, which was the removed node's a moment ago."""
    scale(cluster, 1)
    assert differences(cluster) == []
    scale(cluster, 3)
    assert differences(cluster) == []
    scale(cluster, 2)


def test_scaling_goes_on_after_the_supervisor_died(cluster: Lab) -> None:
    (supervisor,) = [p for p in cluster.running() if p.name == "lab"]
    cluster.podloom("aks", "scale", *NAMES, "--node-count", "3", "--no-wait")
    os.kill(supervisor.pid, signal.SIGKILL)
    cluster.podloom("lab", "up")
    scale(cluster, 3)
    scale(cluster, 2)
