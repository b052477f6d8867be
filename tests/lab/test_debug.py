"""`kubectl debug`: a container that joins a running pod, sees the target's processes, and is never started again."""

from __future__ import annotations

from typing import Any

import pytest

from labkit import Lab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]


def debugger(lab: Lab) -> dict[str, Any]:
    found: list[dict[str, Any]] = lab.get("pod", "patient")["status"].get("ephemeralContainerStatuses") or [{}]
    return found[0]


def test_debug_joins_a_running_pod(cluster: Lab) -> None:
    cluster.kubectl("run", "patient", "--image=busybox", "--image-pull-policy=IfNotPresent", "--", "sleep", "54321")
    try:
        cluster.kubectl("wait", "pod/patient", "--for=condition=Ready", "--timeout=60s")
        debug = ("debug", "patient", "--image=busybox", "--profile=general", "--target=patient", "-c", "doctor")
        cluster.kubectl(*debug, "--", "sh", "-c", "cat /proc/1/cmdline /proc/sys/kernel/hostname")
        wait_for(lambda: "terminated" in debugger(cluster).get("state", {}), "the debugger to end")
        status = cluster.get("pod", "patient")["status"]
        assert debugger(cluster)["state"]["terminated"]["exitCode"] == 0
        assert status["containerStatuses"][0]["ready"] and status["containerStatuses"][0]["restartCount"] == 0
        said = cluster.kubectl("logs", "patient", "-c", "doctor")
        assert "54321" in said and "patient" in said
    finally:
        cluster.kubectl("delete", "pod", "patient", "--grace-period=0", "--force")
