"""kill -9 of anything, at any time, while pods come and go: nothing leaks, nothing doubles, nothing hangs."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from labkit import CLUSTER, Lab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]
KILLS = int(os.environ.get("PODLOOM_KILLS", "200"))
SEED = int(os.environ.get("PODLOOM_SEED", "1"))
VICTIMS = ("agent", "operator", "api", "controllers", "kubelet", "containerd", "holder", "lab", "fabric", "cloud")
WEIGHTS = (5, 3, 3, 2, 5, 3, 1, 1, 1, 1)
REPLICAS = (4, 8, 12)


def kill_one(lab: Lab, rng: random.Random) -> str:
    """End one process of the lab without warning; returns what it was ("" when there was none just now)."""
    kind = rng.choices(VICTIMS, WEIGHTS)[0]
    found = [p for p in lab.running() if p.name == kind or p.name.endswith(f"/{kind}")]
    if not found:
        return ""
    victim = rng.choice(found)
    os.kill(victim.pid, signal.SIGKILL)
    if kind == "lab":
        lab.podloom("lab", "up")
    return kind


def churn(lab: Lab, rng: random.Random) -> None:
    """Scale the deployment, or delete one of its pods; the API server may be away just now."""
    if rng.random() < 0.5:
        lab.run("kubectl", "scale", "deployment/churn", f"--replicas={rng.choice(REPLICAS)}", check=False)
    else:
        names = lab.run("kubectl", "get", "pods", "-l", "app=churn", "-o", "name", check=False).stdout.split()
        if names:
            lab.run("kubectl", "delete", rng.choice(names), "--wait=false", check=False)


def leased(lab: Lab) -> Counter[str]:
    """Every address any node's agent holds."""
    held: Counter[str] = Counter()
    for database in (lab.state / "nodes").glob("*/podloom/agent.db"):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            held.update(row[0] for row in connection.execute("SELECT address FROM lease_address"))
    return held


def pod_addresses(lab: Lab) -> Counter[str]:
    pods = lab.get("pods", "-A")["items"]
    inside = [p for p in pods if not p["spec"].get("hostNetwork")]
    return Counter(p["status"]["podIP"] for p in inside if p["status"].get("podIP"))


def settled(lab: Lab) -> bool:
    """All pods wanted are Ready, none is left over."""
    result = lab.run("kubectl", "get", "pods", "-A", "-o", "json", check=False)
    if result.returncode != 0:
        return False

    pods = json.loads(result.stdout)["items"]
    mine = [p for p in pods if p["metadata"].get("labels", {}).get("app") == "churn"]
    ready = [
        p
        for p in pods
        if not p["metadata"].get("deletionTimestamp")
        and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
    ]
    return len(mine) == 8 and len(ready) == len(pods)


def test_kills_during_pod_churn_leak_nothing(cluster: Lab) -> None:
    """After KILLS seeded kills: every address is held once, by a pod that runs, and every pod is Ready."""
    rng = random.Random(SEED)
    cluster.kubectl("create", "deployment", "churn", "--image=podloom.local/echo:1", "--replicas=8")
    cluster.kubectl("rollout", "status", "deployment/churn", "--timeout=120s")
    done: Counter[str] = Counter()
    while done.total() < KILLS:
        churn(cluster, rng)
        if kind := kill_one(cluster, rng):
            done[kind] += 1
    print(f"{CLUSTER}: killed {dict(done)}")
    wait_for(lambda: cluster.run("kubectl", "version", check=False).returncode == 0, "the API server", 60)
    cluster.kubectl("scale", "deployment/churn", "--replicas=8")
    wait_for(lambda: settled(cluster), "every pod Ready", 240)
    wait_for(lambda: leased(cluster) == pod_addresses(cluster), "leases equal to pod addresses", 60)
    assert max(leased(cluster).values()) == 1
    cluster.kubectl("delete", "deployment", "churn")
