"""kill -9 of kubelet, containerd and API server while pods come and go: nothing is lost, doubled or left over."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kube.kubelet.nodekit import NodeKit

pytestmark = pytest.mark.lab
KILLS = int(os.environ.get("PODLOOM_CHURN_KILLS", "10"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeKit]:
    kit = NodeKit(tmp_path_factory.mktemp("churn"), f"tc{os.getpid() % 100000}")
    try:
        kit.up()
        kit.kubectl("create", "configmap", "kube-root-ca.crt", "--from-literal=ca.crt=x")
        kit.start_kubelet()
        yield kit
    finally:
        kit.close()


def pod(kit: NodeKit, name: str) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox:1", "command": ["sleep", "1000"]}
    spec = {"nodeName": kit.name, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def listed(kit: NodeKit, path: str) -> set[str]:
    return set(kit.inside(["ls", path]).stdout.decode().split())


def settled(kit: NodeKit, wanted: set[str]) -> bool:
    """Exactly the wanted pods, all Ready, none restarted; runtime, disk and addresses hold nothing else."""
    items = kit.get("pods")["items"]
    if {one["metadata"]["name"] for one in items} != wanted:
        return False
    conditions = [c for one in items for c in one["status"].get("conditions", []) if c["type"] == "Ready"]
    if len(conditions) != len(items) or any(c["status"] != "True" for c in conditions):
        return False
    addresses = {name for name in listed(kit, "/var/lib/cni/networks/test") if name[0] == "1"}
    containers = kit.inside(["ctr", "-n", "k8s.io", "containers", "ls", "-q"]).stdout.split()
    return (
        {one["metadata"]["uid"] for one in items} == listed(kit, "/var/lib/kubelet/pods")
        and {one["status"]["podIP"] for one in items} == addresses
        and len(containers) == 2 * len(items)
        and len(listed(kit, "/var/log/pods")) == len(items)
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_churn_with_kills(node: NodeKit, seed: int) -> None:
    dice, live, made = random.Random(seed), set[str](), 0
    start = {"kubelet": node.start_kubelet, "containerd": node.start_containerd, "api": node.start_api}
    for _ in range(KILLS):
        new = [f"churn{seed}-{made + n}" for n in range(dice.randint(1, 4))]
        made += len(new)
        node.apply(*(pod(node, name) for name in new))
        live.update(new)
        if len(live) > 6:
            gone = dice.sample(sorted(live), dice.randint(1, 4))
            live.difference_update(gone)
            node.kubectl("delete", "pod", *gone, "--wait=false")
        time.sleep(dice.random() * 0.8)
        victim = dice.choice(["kubelet", "kubelet", "containerd", "api"])
        node.kill(victim)
        time.sleep(dice.random() * 0.3)
        start[victim]()
    node.wait("settled", lambda: settled(node, live), 90)
    restarts = [c["restartCount"] for p in node.get("pods")["items"] for c in p["status"]["containerStatuses"]]
    assert sum(restarts) == 0
    node.kubectl("delete", "pod", "--all", timeout=120)
    node.wait("empty", lambda: settled(node, set()), 60)


def test_crash_of_the_node(node: NodeKit) -> None:
    """The node dies with all its processes and comes back: pods run again, in new sandboxes, no address is lost."""
    names = {f"crash{n}" for n in range(4)}
    node.apply(*(pod(node, name) for name in sorted(names)))
    node.wait("settled", lambda: settled(node, names), 60)
    for name in ("kubelet", "containerd", "holder"):
        node.kill(name)
    node.start_holder()
    node.start_containerd()
    node.start_kubelet()

    def back() -> bool:
        items = node.get("pods")["items"]
        ready = [c["status"] for one in items for c in one["status"]["conditions"] if c["type"] == "Ready"]
        restarted = [s["restartCount"] for one in items for s in one["status"]["containerStatuses"]]
        addresses = {name for name in listed(node, "/var/lib/cni/networks/test") if name[0] == "1"}
        wanted = {one["status"].get("podIP") for one in items}
        return ready == ["True"] * 4 and restarted == [1] * 4 and addresses == wanted

    node.wait("pods are back", back, 60)
    node.kubectl("delete", "pod", "--all", timeout=120)
    node.wait("empty", lambda: settled(node, set()), 60)
