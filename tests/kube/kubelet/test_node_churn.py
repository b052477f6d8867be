"""kill -9 of kubelet, containerd and API server while pods come and go: nothing is lost, doubled or left over."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from kube.kubelet.nodekit import NodeKit
from podloom.drivers.runtime.cri import CriClient
from podloom.model.runtime import State

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


def unsettled(kit: NodeKit, wanted: set[str]) -> dict[str, Any]:
    """What differs from: exactly the wanted pods, all Ready, and nothing else in runtime, on disk, in the leases."""
    items = kit.get("pods")["items"]
    conditions = {
        one["metadata"]["name"]: {c["type"]: c["status"] for c in one["status"].get("conditions", [])} for one in items
    }
    uids = {one["metadata"]["uid"] for one in items}
    objects = Counter((uid, kind) for uid in uids for kind in ("sandbox", "container"))
    leased = {name for name in listed(kit, "/var/lib/cni/networks/test") if name[0] == "1"}
    pairs = {
        "pods": (set(conditions), wanted),
        "not ready": ({name for name, found in conditions.items() if found.get("Ready") != "True"}, set()),
        "folders": (listed(kit, "/var/lib/kubelet/pods"), uids),
        # The reference plugin keeps the address of an ADD that was killed: more may be leased than used.
        "unleased": ({one["status"].get("podIP") for one in items} - leased, set()),
        "runtime": (Counter(runtime_objects(kit)), objects),
        "log folders": (len(listed(kit, "/var/log/pods")), len(items)),
    }
    return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}


def runtime_objects(kit: NodeKit) -> list[tuple[str, str]]:
    """(pod uid, sandbox or container) of all that runs, as the runtime shows it.

    A container whose creation a kill of containerd cut short never ran; it stays, dead, beside its successor.
    """

    async def look() -> list[tuple[str, str]]:
        runtime = CriClient.connect(f"/proc/{kit.pids['holder']}/root/run/containerd/containerd.sock")
        try:
            sandboxes = [(found.uid, "sandbox") for found in await runtime.list_sandboxes() if found.ready]
            running = [found for found in await runtime.list_containers() if found.state is State.RUNNING]
            return sandboxes + [(found.uid, "container") for found in running]
        finally:
            await runtime.close()

    return asyncio.run(look())


def wait_settled(kit: NodeKit, wanted: set[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while found := unsettled(kit, wanted):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


@pytest.mark.parametrize("seed", [1, 2])
def test_churn_with_kills(node: NodeKit, seed: int) -> None:
    dice, live, made, cut_short = random.Random(seed), set[str](), 0, 0
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
        cut_short += victim == "containerd"
        node.kill(victim)
        time.sleep(dice.random() * 0.3)
        start[victim]()
    wait_settled(node, live, 90)
    restarts = [c["restartCount"] for p in node.get("pods")["items"] for c in p["status"]["containerStatuses"]]
    assert sum(restarts) <= cut_short  # kills of kubelet and API server restart nothing
    node.kubectl("delete", "pod", "--all", timeout=120)
    wait_settled(node, set(), 60)


def test_crash_of_the_node(node: NodeKit) -> None:
    """The node dies with all its processes and comes back: pods run again, in new sandboxes, no address is lost."""
    names = {f"crash{n}" for n in range(4)}
    node.apply(*(pod(node, name) for name in sorted(names)))
    wait_settled(node, names, 60)
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
        used = {one["status"].get("podIP") for one in items}
        return ready == ["True"] * 4 and restarted == [1] * 4 and used <= addresses

    node.wait("pods are back", back, 60)
    node.kubectl("delete", "pod", "--all", timeout=120)
    wait_settled(node, set(), 60)
