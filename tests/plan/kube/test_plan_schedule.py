"""Scheduling decisions: each filter refuses in its own words, scores spread, nothing is over-committed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.errors import Rejected
from podloom.model.kube import Object
from podloom.plan.kube.nodematch import eviction_in, tolerates
from podloom.plan.kube.quantity import milli
from podloom.plan.kube.schedule import NodeRoom, choose_node, node_room, requests

HOST = "kubernetes.io/hostname"


def node(name: str, labels: dict[str, str] | None = None, ready: str = "True", **spec: Any) -> Object:
    room = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    status = {"allocatable": room, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name, "labels": {HOST: name, **(labels or {})}}, "spec": spec, "status": status}


def pod(name: str = "p", labels: dict[str, str] | None = None, cpu: str = "", port: int = 0, **spec: Any) -> Object:
    container: Object = {"name": "c"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    if port:
        container["ports"] = [{"containerPort": port, "hostPort": port}]
    meta = {"name": name, "namespace": "default", "labels": labels or {}}
    return {"metadata": meta, "spec": {"containers": [container], **spec}}


def rooms(*nodes: Object, on: dict[str, list[Object]] | None = None) -> list[NodeRoom]:
    return [node_room(n, (on or {}).get(n["metadata"]["name"], [])) for n in nodes]


def anti(key: str = HOST, **labels: str) -> Object:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": key}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


REFUSALS = [
    (pod(), node("n", unschedulable=True), [], "node(s) were unschedulable"),
    (pod(), node("n", ready="Unknown"), [], "node(s) had untolerated taint {node.kubernetes.io/unreachable: }"),
    (
        pod(),
        node("n", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
        [],
        "node(s) had untolerated taint {k: v}",
    ),
    (pod(nodeSelector={"disk": "ssd"}), node("n"), [], "node(s) didn't match Pod's node affinity/selector"),
    (pod(cpu="4001m"), node("n"), [], "Insufficient cpu"),
    (pod(cpu="2"), node("n"), [pod("a", cpu="2500m")], "Insufficient cpu"),
    (pod(), node("n"), [pod(str(i)) for i in range(10)], "Too many pods"),
    (pod(port=80), node("n"), [pod("a", port=80)], "node(s) didn't have free ports for the requested pod ports"),
    (pod(affinity=anti(app="x")), node("n"), [pod("a", {"app": "x"})], "node(s) didn't match pod anti-affinity rules"),
    (
        pod(labels={"app": "x"}),
        node("n"),
        [pod("a", affinity=anti(app="x"))],
        "node(s) didn't satisfy existing pods anti-affinity rules",
    ),
]


@pytest.mark.parametrize(("wanted", "where", "there", "words"), REFUSALS)
def test_refusals_say_why(wanted: Object, where: Object, there: list[Object], words: str) -> None:
    """A pod that fits nowhere is told what is in the way, as the reference scheduler says it."""
    choice = choose_node(wanted, rooms(where, on={"n": there}), {})
    assert choice.node == ""
    assert choice.message == f"0/1 nodes are available: 1 {words}."


def test_reasons_are_counted() -> None:
    """Reasons of several nodes are added up; no nodes at all is said so."""
    found = choose_node(pod(cpu="5"), rooms(node("a"), node("b", unschedulable=True), node("c")), {})
    assert found.message == "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."
    assert choose_node(pod(), [], {}).message == "no nodes available to schedule pods"


def test_replicas_spread_evenly() -> None:
    """Pods of one owner go one after the other to the nodes with the fewest of them."""
    places = rooms(node("a"), node("b"), node("c"))
    owner = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}]
    for number in range(9):
        new = pod(str(number))
        new["metadata"]["ownerReferences"] = owner
        chosen = choose_node(new, places, {}, number)
        next(r for r in places if r.name == chosen.node).add(new)
    assert [len(r.pods) for r in places] == [3, 3, 3]


def test_affinity_draws_together_and_its_first_may_go_anywhere() -> None:
    """Required pod affinity to its own kind: the first goes anywhere, the second joins it."""
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": HOST}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    first = pod("1", {"app": "x"}, affinity=affinity)
    places = rooms(node("a"), node("b"))
    chosen = choose_node(first, places, {}, 1).node
    next(r for r in places if r.name == chosen).add(first)
    assert choose_node(pod("2", {"app": "x"}, affinity=affinity), places, {}).node == chosen
    stranger = pod("3", {"app": "y"}, affinity=affinity)
    assert choose_node(stranger, rooms(node("a")), {}).message.endswith("1 node(s) didn't match pod affinity rules.")


def test_affinity_reaches_other_namespaces_by_selector() -> None:
    """A namespaceSelector makes pods of matching namespaces count."""
    term = {
        "labelSelector": {"matchLabels": {"app": "x"}},
        "topologyKey": HOST,
        "namespaceSelector": {"matchLabels": {"t": "1"}},
    }
    wanted = pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    other = pod("o", {"app": "x"})
    other["metadata"]["namespace"] = "far"
    places = rooms(node("a"), node("b"), on={"b": [other]})
    assert choose_node(wanted, places, {"far": {"t": "1"}}).node == "b"
    assert choose_node(wanted, places, {"far": {}}).node == ""


def test_topology_spread_holds_max_skew() -> None:
    """DoNotSchedule keeps the difference between zones within maxSkew and needs the label."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    wanted = pod(labels={"app": "x"}, topologySpreadConstraints=[constraint])
    there = {"a": [pod("1", {"app": "x"})]}
    places = rooms(node("a", {"zone": "z1"}), node("b", {"zone": "z2"}), on=there)
    assert choose_node(wanted, places, {}).node == "b"
    lone = choose_node(wanted, rooms(node("c")), {}).message
    assert "(missing required label)" in lone


@given(st.lists(st.integers(100, 3000), max_size=40))
def test_nodes_are_never_over_committed(sizes: list[int]) -> None:
    """Whatever pods come, no node's requests exceed what it has, and a refused pod fits nowhere."""
    places = rooms(node("a"), node("b"), node("c"))
    for number, size in enumerate(sizes):
        new = pod(str(number), cpu=f"{size}m")
        chosen = choose_node(new, places, {}, number).node
        if chosen:
            next(r for r in places if r.name == chosen).add(new)
        else:
            assert all(r.requested.get("cpu", 0) + size > 4000 or len(r.pods) >= 10 for r in places)
    assert all(r.requested.get("cpu", 0) <= 4000 and len(r.pods) <= 10 for r in places)


def test_requests_count_init_containers_and_sidecars() -> None:
    """The sum of containers and sidecars, or the peak while an init container runs, whichever is more."""
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "500m"}}}],
        "initContainers": [
            {"restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
            {"resources": {"requests": {"cpu": "3"}}},
        ],
        "overhead": {"cpu": "10m"},
    }
    assert requests({"spec": spec}) == {"cpu": 3110}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", 100),
        ("1", 1000),
        ("1.5", 1500),
        ("64Mi", 64 * 2**20 * 1000),
        ("1e3", 10**6),
        ("2k", 2 * 10**6),
        ("1n", 1),
    ],
)
def test_quantities(text: str, value: int) -> None:
    """Decimal, binary and exponent suffixes; fractions of a thousandth round up."""
    assert milli(text) == value


@pytest.mark.parametrize("text", ["", "abc", "1Mib", "--1", "1 0"])
def test_bad_quantities_are_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        milli(text)


@pytest.mark.parametrize(
    ("toleration", "answer"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], answer: bool) -> None:
    """Key, operator, value and effect of a toleration against k=v:NoSchedule."""
    assert tolerates([toleration], {"key": "k", "value": "v", "effect": "NoSchedule"}) is answer


def test_eviction_waits_for_the_shortest_toleration() -> None:
    """No toleration: at once; tolerationSeconds: that long after the taint; without seconds: never."""
    taint = {"key": "k", "effect": "NoExecute"}
    since = {("k", ""): 100.0}
    assert eviction_in(pod(), [taint], since, 110.0) == 0.0
    tolerated = {"key": "k", "operator": "Exists"}
    assert eviction_in(pod(tolerations=[tolerated]), [taint], since, 110.0) is None
    limited = [{**tolerated, "tolerationSeconds": 30}, {**tolerated, "tolerationSeconds": 50}]
    assert eviction_in(pod(tolerations=limited), [taint], since, 110.0) == 20.0
