"""Token requests, reviews, and the roles every cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from podloom.kube.api.contract import Attributes, Settings, StatusError, UserInfo
from podloom.kube.api.kinds import TYPES, bootstrap_objects


class Powers:
    """A signer that signs nothing and an authorizer that lets `boss` do everything."""

    def __init__(self) -> None:
        self.asked: list[Attributes] = []
        self.claims: dict[str, Any] = {}

    def sign_token(self, claims: dict[str, Any]) -> str:
        self.claims = claims
        return "token"

    def authenticate_token(self, token: str, audiences: Any = ()) -> tuple[UserInfo, tuple[str, ...]]:
        if token != "good":
            raise StatusError(401, "Unauthorized", "invalid bearer token, expired")
        return UserInfo("u", ("g",), "1"), ("api",)

    def authorize(self, user: UserInfo, attributes: Attributes) -> tuple[bool, str]:
        self.asked.append(attributes)
        return user.name == "boss", "because" if user.name == "boss" else ""

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Any], list[Any]]:
        return [{"verbs": ["get"]}], []


def _account(world: Any) -> dict[str, Any]:
    account = {"metadata": {"name": "a", "namespace": "ns", "uid": "U"}}
    world.put("", "serviceaccounts", account)
    return account


def _token(world: Any, powers: Powers, spec: dict[str, Any], **who: Any) -> dict[str, Any]:
    ctx = world.context("create", subresource="token", namespace="ns", name="a", powers=powers, **who)
    body: dict[str, Any] = world.kind("serviceaccounts").post_subresource({"spec": spec}, _account(world), ctx).body
    return body


def test_a_bound_token_names_account_pod_and_node(world: Any) -> None:
    """The claims hold who, for whom, how long, and what it dies with."""
    powers = Powers()
    meta = {"name": "p", "namespace": "ns", "uid": "P"}
    world.put("", "pods", {"metadata": meta, "spec": {"serviceAccountName": "a", "nodeName": "n"}})
    world.put("", "nodes", {"metadata": {"name": "n", "uid": "N"}})
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "P"}
    body = _token(world, powers, {"expirationSeconds": 600, "audiences": ["x"], "boundObjectRef": ref})
    assert body["status"]["token"] == "token"
    assert powers.claims["sub"] == "system:serviceaccount:ns:a"
    assert powers.claims["aud"] == ["x"]
    assert powers.claims["exp"] - powers.claims["iat"] == 600
    assert powers.claims["kubernetes.io"] == {
        "namespace": "ns",
        "serviceaccount": {"name": "a", "uid": "U"},
        "pod": {"name": "p", "uid": "P"},
        "node": {"name": "n", "uid": "N"},
    }


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ({"kind": "Pod", "name": "gone"}, 404),
        ({"kind": "Pod", "name": "p", "uid": "other"}, 409),
        ({"kind": "Pod", "name": "strange"}, 400),
        ({"kind": "ConfigMap", "name": "c"}, 400),
    ],
)
def test_what_a_token_cannot_be_bound_to(world: Any, ref: dict[str, Any], code: int) -> None:
    """A missing object, another of the same name, a pod of another account, another kind."""
    for name, used in (("p", "a"), ("strange", "b")):
        meta = {"name": name, "namespace": "ns", "uid": "P"}
        world.put("", "pods", {"metadata": meta, "spec": {"serviceAccountName": used}})
    with pytest.raises(StatusError) as error:
        _token(world, Powers(), {"boundObjectRef": ref})
    assert error.value.code == code


def test_a_node_gets_tokens_of_its_pods_only(world: Any) -> None:
    """Unbound tokens and those of pods elsewhere are forbidden to a node."""
    meta = {"name": "p", "namespace": "ns", "uid": "P"}
    world.put("", "pods", {"metadata": meta, "spec": {"serviceAccountName": "a", "nodeName": "n2"}})
    who = {"user": "system:node:n1", "groups": ("system:nodes",)}
    for spec in ({}, {"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "P"}}):
        with pytest.raises(StatusError) as error:
            _token(world, Powers(), spec, **who)
        assert error.value.code == 403


def _review(world: Any, plural: str, spec: dict[str, Any], group: str = "authorization.k8s.io", **more: Any) -> Any:
    powers = Powers()
    ctx = world.context("create", powers=powers, user_info=UserInfo("boss", ("g",)), **more)
    kind = world.kind(plural, group)
    return kind.create_virtual({"kind": kind.type.kind, "metadata": {}, "spec": spec}, ctx)["status"]


def test_access_reviews_ask_the_authorizer(world: Any) -> None:
    """Self reviews ask for the user, the others for whom the spec names."""
    asked = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "ns"}}
    assert _review(world, "selfsubjectaccessreviews", asked) == {"allowed": True, "reason": "because"}
    assert _review(world, "subjectaccessreviews", {**asked, "user": "nobody"}) == {"allowed": False}
    with pytest.raises(StatusError, match=r"must match metadata\.namespace"):
        _review(world, "localsubjectaccessreviews", {**asked, "user": "x"}, namespace="other")
    with pytest.raises(StatusError, match="exactly one of"):
        _review(world, "selfsubjectaccessreviews", {})


def test_identity_reviews(world: Any) -> None:
    """A token's user, or why it is none; and who asks."""
    group = "authentication.k8s.io"
    good = _review(world, "tokenreviews", {"token": "good"}, group)
    assert good == {"authenticated": True, "user": {"username": "u", "uid": "1", "groups": ["g"]}, "audiences": ["api"]}
    assert _review(world, "tokenreviews", {"token": "bad"}, group) == {"user": {}, "error": "invalid bearer token"}
    assert _review(world, "tokenreviews", {"token": "a.b.c"}, group)["error"] == "invalid bearer token, expired"
    assert _review(world, "selfsubjectreviews", {}, group) == {"userInfo": {"username": "boss", "groups": ["g"]}}


def test_bootstrap_objects_are_complete_and_unique() -> None:
    """Every object is of a known type, stands once, and bindings name roles that are there."""
    objects = bootstrap_objects(Settings(service_cidrs=("10.0.0.0/16",)))
    known = {(t.group_version, t.kind) for t in TYPES}
    keys = [(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in objects]
    assert len(keys) == len(set(keys))
    assert {(o["apiVersion"], o["kind"]) for o in objects} <= known
    roles = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ClusterRole"}
    for binding in (o for o in objects if o["kind"] == "ClusterRoleBinding"):
        assert binding["roleRef"]["name"] in roles
    for role in roles.values():
        assert role["rules"]
        for rule in role["rules"]:
            assert rule["verbs"] and (rule.get("nonResourceURLs") or (rule["apiGroups"] and rule["resources"]))
    assert [o["spec"]["clusterIP"] for o in objects if o["kind"] == "Service"] == ["10.0.0.1"]


def test_bootstrap_objects_pass_their_own_checks(world: Any) -> None:
    """What a cluster starts with would be accepted from a client too."""
    for obj in bootstrap_objects(Settings(service_cidrs=("10.96.0.0/16",))):
        group, _, version = obj["apiVersion"].rpartition("/")
        kind = next(
            k
            for k in world.kinds.values()
            if (k.type.group, k.type.version, k.type.kind) == (group, version, obj["kind"])
        )
        made = world.create(kind, obj)
        assert isinstance(made, dict), (obj["metadata"]["name"], made)
