"""Nodes, garbage, DaemonSets and small duties: decisions as tables."""

from __future__ import annotations

from typing import Any

import pytest

from podloom.model.kube import DAEMONSETS, Object
from podloom.model.kubeselector import fields_match, from_label_selector, parse_fields, parse_labels
from podloom.plan.kube.claims import claim, disowning
from podloom.plan.kube.daemonset import daemon_spec, node_of, plan_daemonset
from podloom.plan.kube.garbage import OwnerState, judge
from podloom.plan.kube.housekeeping import aggregated_rules, event_age_s
from podloom.plan.kube.nodelife import lost_conditions, plan_taints
from podloom.plan.kube.revisions import plan_revision


def node(name: str = "n", ready: str = "True", **spec: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    return {"metadata": {"name": name, "creationTimestamp": "t"}, "spec": spec, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("ready", "unschedulable", "keys"),
    [
        ("True", False, set()),
        ("True", True, {("node.kubernetes.io/unschedulable", "NoSchedule")}),
        ("False", False, {("node.kubernetes.io/not-ready", e) for e in ("NoSchedule", "NoExecute")}),
        ("", False, {("node.kubernetes.io/not-ready", e) for e in ("NoSchedule", "NoExecute")}),
        ("Unknown", False, {("node.kubernetes.io/unreachable", e) for e in ("NoSchedule", "NoExecute")}),
    ],
)
def test_taints_follow_conditions(ready: str, unschedulable: bool, keys: set[tuple[str, str]]) -> None:
    """From any taints: exactly those of the conditions, others' taints kept; right ones are left alone."""
    mine = {"key": "mine", "effect": "NoSchedule"}
    wrong = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
    one = node(ready=ready, taints=[mine, wrong], unschedulable=unschedulable)
    taints = plan_taints(one, 0.0)
    assert taints is not None
    assert {(t["key"], t["effect"]) for t in taints} == keys | {("mine", "NoSchedule")}
    assert all("timeAdded" in t for t in taints if t["effect"] == "NoExecute")
    one["spec"]["taints"] = taints
    assert plan_taints(one, 9.0) is None


def test_a_silent_node_becomes_unknown_once() -> None:
    """All conditions turn Unknown with the time of the turn; a second look changes nothing."""
    one = node()
    conditions = lost_conditions(one, 5.0)
    assert conditions and {c["status"] for c in conditions} == {"Unknown"}
    assert {c["type"]: c["reason"] for c in conditions}["Ready"] == "NodeStatusUnknown"
    one["status"]["conditions"] = conditions
    assert lost_conditions(one, 9.0) is None


def owned(*uids: str, **meta: Any) -> Object:
    return {"metadata": {"name": "x", "uid": "me", "ownerReferences": [{"uid": u} for u in uids], **meta}}


ALIVE, GONE, WAITING = OwnerState(True), OwnerState(False), OwnerState(True, waiting=True)


@pytest.mark.parametrize(
    ("obj", "owners", "dependents", "delete", "kept"),
    [
        (owned(), {}, False, "", None),
        (owned("a"), {"a": ALIVE}, False, "", None),
        (owned("a"), {"a": GONE}, False, "Background", None),
        (owned("a", "b"), {"a": GONE, "b": ALIVE}, False, "", ["b"]),
        (owned("a", "b"), {"a": GONE, "b": GONE}, True, "Background", None),
        (owned("a"), {"a": WAITING}, False, "Background", None),
        (owned("a"), {"a": WAITING}, True, "Foreground", None),
        (owned("a", finalizers=["orphan"]), {"a": GONE}, True, "Orphan", None),
        (owned("a", deletionTimestamp="t"), {"a": GONE}, False, "", None),
    ],
)
def test_garbage_verdicts(
    obj: Object, owners: dict[str, OwnerState], dependents: bool, delete: str, kept: list[str] | None
) -> None:
    """One living owner keeps an object; without any it goes, by the policy its finalizers ask for."""
    verdict = judge(obj, owners, dependents)
    assert verdict.delete == delete
    assert (None if verdict.keep_refs is None else [r["uid"] for r in verdict.keep_refs]) == kept


def test_claims() -> None:
    """Owned and selected stay, selected orphans come, owned but unselected go, others' are left alone."""

    def pod(name: str, app: str, owner: str = "", **meta: Any) -> Object:
        refs = [{"uid": owner, "controller": True}] if owner else []
        return {"metadata": {"name": name, "uid": name, "labels": {"app": app}, "ownerReferences": refs, **meta}}

    rs = {"metadata": {"uid": "me"}, "spec": {"selector": {"matchLabels": {"app": "x"}}}}
    pods = [
        pod("own", "x", "me"),
        pod("lost", "y", "me"),
        pod("orphan", "x"),
        pod("other", "x", "you"),
        pod("none", "y"),
    ]
    found = claim(rs, [*pods, pod("going", "x", deletionTimestamp="t")])
    assert [[o["metadata"]["name"] for o in group] for group in (found.own, found.adopt, found.release)] == [
        ["own"],
        ["orphan"],
        ["lost"],
    ]
    assert disowning("me", pods[1])["metadata"]["ownerReferences"] is None


def daemonset(image: str = "a:1", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    meta = {"name": "d", "namespace": "default", "uid": "du"}
    return {"metadata": meta, "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec}}


def daemon_pod(ds: Object, name: str, on: str, revision: str, ready: bool = True) -> Object:
    meta = {"name": name, "labels": {"app": "d", "controller-revision-hash": revision}}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": meta, "spec": {**daemon_spec(ds["spec"]["template"], on)}, "status": status}


def test_daemon_pods_are_pinned_and_tolerant() -> None:
    """The pod's node is readable from its affinity, user terms are kept, node troubles tolerated."""
    template = daemonset()["spec"]["template"]
    zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z"]}]}
    required = {"nodeSelectorTerms": [zone]}
    template["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    spec = daemon_spec(template, "n1")
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"] == zone["matchExpressions"]
    assert node_of({"spec": spec}) == "n1"
    assert {"node.kubernetes.io/unschedulable", "node.kubernetes.io/unreachable"} <= {
        t["key"] for t in spec["tolerations"]
    }


def test_daemonset_steps() -> None:
    """Missing, surplus, misplaced and finished pods; one old pod at a time is replaced, broken ones at once."""
    ds = daemonset()
    nodes = [node("n1"), node("n2"), node("n3"), node("bad", taints=[{"key": "k", "effect": "NoExecute"}])]
    pods = [daemon_pod(ds, "p1", "n1", "new"), daemon_pod(ds, "p1b", "n1", "new"), daemon_pod(ds, "px", "bad", "new")]
    plan = plan_daemonset(ds, nodes, pods, "new", 0.0)
    assert plan.create == ["n2", "n3"]
    assert sorted(p["metadata"]["name"] for p in plan.delete) == ["p1b", "px"]
    old = [daemon_pod(ds, f"o{n}", f"n{n}", "old") for n in (1, 2, 3)]
    plan = plan_daemonset(ds, nodes[:3], old, "new", 0.0)
    assert [p["metadata"]["name"] for p in plan.delete] == ["o1"]
    broken = [*old[:2], daemon_pod(ds, "o3", "n3", "old", ready=False)]
    plan = plan_daemonset(ds, nodes[:3], broken, "new", 0.0)
    assert [p["metadata"]["name"] for p in plan.delete] == ["o3"]
    surge = daemonset(updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    assert plan_daemonset(surge, nodes[:3], old, "new", 0.0).create == ["n1"]
    on_delete = daemonset(updateStrategy={"type": "OnDelete"})
    assert not plan_daemonset(on_delete, nodes[:3], old, "new", 0.0).delete


def test_revisions_number_up_and_undo_reuses() -> None:
    """A new template makes the next revision; an earlier one comes back under the highest number."""
    first = plan_revision(DAEMONSETS, daemonset("a:1"), [], "h")
    assert first.create and first.create["revision"] == 1
    second = plan_revision(DAEMONSETS, daemonset("a:2"), [first.create], "h")
    assert second.create and second.create["revision"] == 2
    back = plan_revision(DAEMONSETS, daemonset("a:1"), [first.create, second.create], "h")
    assert back.create is None and back.renumber == (first.create, 3) and back.hash == first.hash


def test_aggregated_rules_and_event_age() -> None:
    """Rules of selected roles, each once, by role name; an event's age counts from when it last happened."""
    rule = {"verbs": ["get"]}
    roles = [
        {"metadata": {"name": n, "labels": {"add": "yes"} if n != "c" else {}}, "rules": [{**rule, "resources": [r]}]}
        for n, r in (("b", "pods"), ("a", "nodes"), ("c", "secrets"), ("d", "pods"))
    ]
    top = {"metadata": {"name": "top"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"add": "yes"}}]}}
    assert [r["resources"][0] for r in aggregated_rules(top, [*roles, top])] == ["nodes", "pods"]
    event = {"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}, "lastTimestamp": "1970-01-01T00:01:00Z"}
    assert event_age_s(event, 100.0) == 40.0


@pytest.mark.parametrize(
    ("text", "labels", "answer"),
    [
        ("a=1", {"a": "1"}, True),
        ("a==1,b!=2", {"a": "1"}, True),
        ("a in (1, 2)", {"a": "2"}, True),
        ("a notin (1)", {}, True),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("x.io/y=z", {"x.io/y": "z"}, True),
        ("", {"a": "1"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], answer: bool) -> None:
    """The query text's operators."""
    assert parse_labels(text).matches(labels) is answer


def test_selector_objects_and_fields() -> None:
    """An absent selector selects nothing, an empty one everything; fields are compared at dotted paths."""
    assert from_label_selector(None) is None
    everything = from_label_selector({})
    assert everything is not None and everything.matches({"a": "b"})
    terms = parse_fields("spec.nodeName=n,status.phase!=Failed")
    assert fields_match(terms, {"spec": {"nodeName": "n"}})
    assert not fields_match(terms, {"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}})
