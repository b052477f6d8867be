"""The Node object: registration, readiness with its reasons, heartbeats."""

from __future__ import annotations

from dataclasses import replace

from podloom.model.runtime import Condition, Image
from podloom.plan.kubelet.fields import NodeFacts
from podloom.plan.kubelet.node import NodeReport, plan_node, plan_node_status

GOOD = (Condition("RuntimeReady", True), Condition("NetworkReady", True), Condition("Advice", False, "x"))
REPORT = NodeReport(
    facts=NodeFacts("n1", ("10.224.0.4",), {"cpu": "2", "pods": "250"}),
    labels={"agentpool": "np"},
    taints=("dedicated=gpu:NoSchedule", "flag:NoExecute"),
    provider_id="azure:///x",
    port=10250,
    runtime_version="containerd://1.6.20",
    conditions=GOOD,
    runtime_trouble="",
    images=(Image("sha256:1", ("a:1",), ("a@sha256:2",), 5), Image("sha256:3", (), (), 9)),
    system={"architecture": "amd64"},
    now="2026-01-01T00:00:00Z",
)


def ready(report: NodeReport) -> dict[str, str]:
    return next(c for c in plan_node_status(report, {})["conditions"] if c["type"] == "Ready")


def test_registration() -> None:
    node = plan_node(REPORT)
    assert (
        node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1" and node["metadata"]["labels"]["agentpool"] == "np"
    )
    assert node["spec"]["taints"] == [
        {"key": "dedicated", "effect": "NoSchedule", "value": "gpu"},
        {"key": "flag", "effect": "NoExecute"},
    ]
    assert node["spec"]["providerID"] == "azure:///x"


def test_readiness() -> None:
    """Only RuntimeReady and NetworkReady count; the network's words are shown; silence is not readiness."""
    assert ready(REPORT)["status"] == "True"
    network = Condition("NetworkReady", False, "NetworkPluginNotReady", "cni plugin not initialized")
    bad = ready(replace(REPORT, conditions=(GOOD[0], network)))
    assert (bad["status"], bad["reason"]) == ("False", "KubeletNotReady")
    assert bad["message"] == (
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
        "message:cni plugin not initialized"
    )
    assert ready(replace(REPORT, conditions=()))["status"] == "False"
    assert "is down" in ready(replace(REPORT, runtime_trouble="gone"))["message"]


def test_heartbeats_and_transitions() -> None:
    first = plan_node_status(REPORT, {"conditions": [{"type": "NetworkUnavailable", "status": "False"}]})
    assert first["conditions"][0]["type"] == "NetworkUnavailable"
    later = plan_node_status(replace(REPORT, now="2026-01-01T00:05:00Z"), first)
    shown = next(c for c in later["conditions"] if c["type"] == "Ready")
    assert (shown["lastHeartbeatTime"], shown["lastTransitionTime"]) == ("2026-01-01T00:05:00Z", "2026-01-01T00:00:00Z")


def test_status() -> None:
    status = plan_node_status(REPORT, {})
    assert status["addresses"] == [
        {"type": "InternalIP", "address": "10.224.0.4"},
        {"type": "Hostname", "address": "n1"},
    ]
    assert status["images"] == [{"names": ["a@sha256:2", "a:1"], "sizeBytes": 5}]
    assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
