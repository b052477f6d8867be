"""Admission that chooses defaults, and rules of single kinds."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from podloom.kube.api.contract import StatusError
from podloom.kube.api.kinds.autoscaling import AutoscalerV1Kind
from podloom.kube.api.kinds.events import NewEventKind


def _body(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns"}, **fields}


def test_the_default_classes_are_chosen(world: Any) -> None:
    """A claim and an ingress without a class get the default one; an empty class stays."""
    for group, plural, note in (
        ("storage.k8s.io", "storageclasses", "storageclass.kubernetes.io/is-default-class"),
        ("networking.k8s.io", "ingressclasses", "ingressclass.kubernetes.io/is-default-class"),
    ):
        world.put(group, plural, {"metadata": {"name": "usual", "annotations": {note: "true"}}})
        world.put(group, plural, {"metadata": {"name": "other"}})
    claims = world.kind("persistentvolumeclaims")
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
    made = world.create(claims, _body("c", spec=copy.deepcopy(spec)))
    assert made["spec"]["storageClassName"] == "usual"
    assert made["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert world.create(claims, _body("c", spec={**spec, "storageClassName": ""}))["spec"]["storageClassName"] == ""
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    ingress = world.create(world.kind("ingresses", "networking.k8s.io"), _body("i", spec={"defaultBackend": backend}))
    assert ingress["spec"]["ingressClassName"] == "usual"


def test_a_namespace_brings_its_account(world: Any) -> None:
    """The default ServiceAccount is there with the namespace, so a pod can follow at once."""
    world.create(world.kind("namespaces"), {"metadata": {"name": "new"}})
    assert world.get("", "serviceaccounts", "new", "default")
    pod = {"metadata": {"name": "p", "namespace": "new"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert isinstance(world.create(world.kind("pods"), pod), dict)


def test_a_warning_level_warns(world: Any) -> None:
    """A namespace that warns of a level lets the pod pass and says what is wrong with it."""
    labels = {"pod-security.kubernetes.io/warn": "baseline"}
    world.put("", "namespaces", {"metadata": {"name": "ns", "labels": labels}})
    ctx = world.context("create", namespace="ns")
    pod = _body("p", spec={"hostNetwork": True, "containers": [{"name": "c", "image": "i"}]})
    world.kind("pods").admit(pod, None, ctx)
    assert ctx.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)']


def test_an_event_is_one_object_in_two_spellings() -> None:
    """To the stored form and back is the same event."""
    kind = NewEventKind()
    event = {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod"},
        "note": "n",
        "reportingController": "c",
        "eventTime": None,
        "deprecatedCount": 2,
        "type": "Normal",
    }
    stored = kind.to_storage(event)
    assert (stored["involvedObject"], stored["message"], stored["count"]) == ({"kind": "Pod"}, "n", 2)
    assert kind.from_storage(stored) == event


def test_an_autoscaler_is_one_object_in_two_versions() -> None:
    """The cpu target of v1 is a metric of v2."""
    kind = AutoscalerV1Kind()
    spec = {"maxReplicas": 3, "minReplicas": 1, "targetCPUUtilizationPercentage": 70}
    stored = kind.to_storage({"metadata": {}, "spec": spec})
    assert stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert kind.from_storage(stored)["spec"] == spec


@pytest.mark.parametrize(
    ("group", "plural", "body", "field"),
    [
        ("", "configmaps", {"data": {"a/b": "x"}}, "data[a/b]"),
        ("", "secrets", {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, "data[tls.key]"),
        ("", "nodes", {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}, "spec.taints[0].effect"),
        ("batch", "cronjobs", {"spec": {"schedule": "* * *", "jobTemplate": {}}}, "spec.schedule"),
        ("networking.k8s.io", "ingresses", {"spec": {}}, "spec"),
        ("networking.k8s.io", "servicecidrs", {"spec": {}}, "spec.cidrs"),
        ("networking.k8s.io", "ipaddresses", {}, "metadata.name"),
        ("policy", "poddisruptionbudgets", {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, "spec"),
        ("rbac.authorization.k8s.io", "roles", {"rules": [{"verbs": []}]}, "rules[0].verbs"),
        (
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            {"roleRef": {"kind": "Role", "name": "x"}},
            "roleRef.kind",
        ),
        ("scheduling.k8s.io", "priorityclasses", {"value": 2_000_000_000}, "value"),
        ("storage.k8s.io", "storageclasses", {}, "provisioner"),
        ("apps", "statefulsets", {"spec": {"podManagementPolicy": "X"}}, "spec.podManagementPolicy"),
    ],
)
def test_mistakes_are_named(world: Any, group: str, plural: str, body: dict[str, Any], field: str) -> None:
    """The first cause names the field that is wrong."""
    got = world.create(world.kind(plural, group), _body("x", **body))
    assert isinstance(got, list) and got[0].field == field


def test_immutable_things_stay(world: Any) -> None:
    """An immutable config, a secret's type, a role's reference, a claim of a stateful set."""
    maps = world.kind("configmaps")
    old = world.create(maps, _body("c", immutable=True, data={"a": "1"}))
    assert [c.field for c in world.update(maps, _body("c", immutable=True, data={"a": "2"}), old)] == ["data"]
    assert [c.field for c in world.update(maps, _body("c", data={"a": "1"}), old)] == ["immutable"]
    secrets = world.kind("secrets")
    old = world.create(secrets, _body("s", stringData={"a": "b"}))
    assert old["data"] == {"a": "Yg=="}
    assert [c.field for c in world.update(secrets, _body("s", type="other"), old)] == ["type"]
    bindings = world.kind("rolebindings", "rbac.authorization.k8s.io")
    old = world.create(bindings, _body("b", roleRef={"kind": "Role", "name": "x"}))
    assert [c.field for c in world.update(bindings, _body("b", roleRef={"kind": "Role", "name": "y"}), old)] == [
        "roleRef"
    ]


def test_a_lease_of_another_node_is_not_to_be_taken(world: Any) -> None:
    """A node renews its own lease only."""
    who = {"user": "system:node:n1", "groups": ("system:nodes",), "namespace": "kube-node-lease"}
    leases = world.kind("leases", "coordination.k8s.io")
    leases.admit({"metadata": {"name": "n1"}}, None, world.context("update", **who))
    with pytest.raises(StatusError, match="same name as the requesting node"):
        leases.admit({"metadata": {"name": "n2"}}, None, world.context("update", **who))
