"""Whole clusters on this machine: from the command to Ready pods. No peer runs here, so these are plain values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PODLOOM = str(Path(sys.executable).with_name("podloom"))
OVERLAY = ("--network-plugin", "azure", "--network-plugin-mode", "overlay", "--pod-cidr", "192.168.0.0/16")
NAMES = ("--name", "bench", "--resource-group", "bench")


@contextmanager
def lab() -> Iterator[dict[str, str]]:
    """A lab of its own; yields the environment its commands need."""
    with tempfile.TemporaryDirectory(prefix="podloom-bench-") as folder:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PODLOOM_STATE": f"{folder}/state",
            "PODLOOM_TAG": "bench",
            "PODLOOM_PORT": "8453",
            "KUBECONFIG": f"{folder}/kubeconfig",
        }
        try:
            run(environment, PODLOOM, "lab", "up", "-o", "none")
            run(environment, PODLOOM, "group", "create", "--name", "bench", "--location", "westcentralus")
            yield environment
        finally:
            run(environment, PODLOOM, "lab", "down", "--purge", "--yes")


def run(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def create(environment: dict[str, str], nodes: int, pods: int) -> tuple[float, float]:
    """Seconds of `aks create`, and in all until the pods of a deployment are Ready."""
    began = time.monotonic()
    run(environment, PODLOOM, "aks", "create", *NAMES, *OVERLAY, "--node-count", str(nodes), "--generate-ssh-keys")
    created = time.monotonic()
    run(environment, PODLOOM, "aks", "get-credentials", *NAMES, "--overwrite-existing")
    image = "--image=podloom.local/echo:1"
    run(environment, "kubectl", "create", "deployment", "web", image, f"--replicas={pods}")
    run(environment, "kubectl", "rollout", "status", "deployment/web", "--timeout=300s")
    return created - began, time.monotonic() - began


def cluster_create() -> dict[str, Any]:
    """Seconds from `aks create` of two nodes until six pods are Ready; median of three."""
    times = []
    with lab() as environment:
        for _ in range(3):
            times.append(create(environment, 2, 6))
            run(environment, PODLOOM, "aks", "delete", *NAMES, "--yes")
    created, ready = sorted(times)[1]
    sides = {"aks create": f"{created:.2f} s", "six pods Ready": f"{ready:.2f} s"}
    return {"value": round(ready, 2), "unit": "s", "target": "<= 10", "sides": sides}


def cluster_large() -> dict[str, Any]:
    """Seconds until a cluster of 10 nodes and 200 pods is up."""
    with lab() as environment:
        created, ready = create(environment, 10, 200)
        pods = json.loads(run(environment, "kubectl", "get", "pods", "-o", "json"))["items"]
    addresses = {pod["status"]["podIP"] for pod in pods}
    sides = {
        "10 nodes Ready": f"{created:.1f} s",
        "200 pods Ready": f"{ready:.1f} s",
        "distinct addresses": len(addresses),
    }
    return {"value": round(ready, 1), "unit": "s", "target": "comes up", "sides": sides}


BENCHES = {"cluster-create": cluster_create, "cluster-large": cluster_large}
