"""The matrix expects what the requirements say, and tells when it is not so."""

from __future__ import annotations

from podloom.plan.connectivity import Endpoint, Probe, World, judge, matrix, plan_probes, table

WORLD = World(
    endpoints=(
        Endpoint("pod-a", "pod", "192.168.0.4", "n1"),
        Endpoint("pod-b", "pod", "192.168.0.5", "n1"),
        Endpoint("pod-c", "pod", "192.168.1.4", "n2"),
        Endpoint("host-1", "node", "10.224.0.4", "n1"),
        Endpoint("host-2", "node", "10.224.0.5", "n2"),
        Endpoint("vm", "vnet", "10.224.0.9"),
        Endpoint("out", "internet", "198.19.0.80"),
    ),
    service_address="10.0.3.4",
    service_name="server.x.svc.cluster.local",
    public_prefixes=("198.19.1.0/24",),
)
PROBES = {(p.source, p.to, p.column): p for p in plan_probes(WORLD)}


def test_pods_see_each_other_without_translation() -> None:
    """PLAN-13: on one node and across nodes."""
    assert PROBES["pod-a", "pod-b", "pod, same node"].seen == ("192.168.0.4",)
    assert PROBES["pod-c", "pod-a", "pod, other node"].seen == ("192.168.1.4",)


def test_a_pod_is_its_node_outside_and_itself_at_its_own_node() -> None:
    """OVL-05."""
    assert PROBES["pod-a", "host-1", "own node"].seen == ("192.168.0.4",)
    assert PROBES["pod-a", "host-2", "other node"].seen == ("10.224.0.4",)
    assert PROBES["pod-c", "vm", "VNet"].seen == ("10.224.0.5",)
    assert PROBES["pod-a", "out", "internet"].seen == ("198.19.1.0/24",)


def test_nobody_outside_reaches_a_pod() -> None:
    """OVL-06."""
    assert not PROBES["vm", "pod-a", "pod, other node"].reachable
    assert not PROBES["out", "pod-a", "pod, other node"].reachable
    assert PROBES["vm", "host-1", "other node"].reachable


def test_a_wrong_source_address_is_a_problem() -> None:
    probe = Probe("pod-a", "VNet", "http,10.224.0.9,8080", "vm", seen=("10.224.0.4",))
    answer = {"ok": True, "client": "192.168.0.4", "error": "", "us": 10}
    assert judge(probe, answer).problem == "saw 192.168.0.4 instead of 10.224.0.4"
    assert not judge(probe, {**answer, "client": "10.224.0.4"}).problem


def test_a_connection_that_must_not_be_is_a_problem() -> None:
    probe = Probe("out", "pod, other node", "http,192.168.0.4,8080", "pod-a", reachable=False)
    refused = judge(probe, {"ok": False, "client": "", "error": "unreachable", "us": 5})
    reached = judge(probe, {"ok": True, "client": "198.19.0.80", "error": "", "us": 5})
    assert not refused.problem and "must not be" in reached.problem
    assert table(matrix([refused]))[0]["pod, other node"] == "ok (refused)"
    assert table(matrix([refused, reached]))[0]["pod, other node"] == "FAIL"
