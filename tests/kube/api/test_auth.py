"""Tokens and RBAC."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from kube_api_client import Client, context

from podloom.kube.api.auth.jwt import TokenKey
from podloom.kube.api.auth.rbac import rule_allows
from podloom.kube.api.contract import Attributes

NS = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.mark.parametrize("key", [TokenKey.generate(), TokenKey(rsa.generate_private_key(65537, 2048))])
def test_token_signature(key: TokenKey) -> None:
    """A token is what was signed; a changed one, or another key's, is refused."""
    token = key.sign({"sub": "x"})
    assert key.verify(token) == {"sub": "x"}
    head, body, signature = token.split(".")
    for bad in (f"{head}.{body}.AAAA", f"{head}.{body[:-2]}.{signature}", "a.b.c", "", TokenKey.generate().sign({})):
        with pytest.raises(ValueError):
            key.verify(bad)


_PODS = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
_POD, _LOG = Attributes("get", resource="pods"), Attributes("get", resource="pods", subresource="log")
_URLS = {"verbs": ["get"], "nonResourceURLs": ["/api/*"]}


@pytest.mark.parametrize(
    ("rule", "asked", "allowed"),
    [
        (_PODS, _POD, True),
        (_PODS, _LOG, False),
        (_PODS | {"resources": ["*/log"]}, _LOG, True),
        (_PODS | {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, _LOG, True),
        (_PODS | {"resourceNames": ["a"]}, Attributes("get", resource="pods", name="b"), False),
        (_PODS | {"apiGroups": ["apps"]}, _POD, False),
        (_URLS, Attributes("get", path="/api/v1"), True),
        (_URLS, Attributes("get", path="/version"), False),
        (_PODS, Attributes("get", path="/api/v1"), False),
    ],
)
def test_rule(rule: dict[str, Any], asked: Attributes, allowed: bool) -> None:
    """One PolicyRule allows what the documentation says."""
    assert rule_allows(rule, asked) is allowed


async def _token(api: Client, **spec: Any) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    status, answer = await api.post(f"{NS}/serviceaccounts/bot/token", body)
    assert status == 201, answer
    return str(answer["status"]["token"])


async def _as(api: Client, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connector = aiohttp.TCPConnector(ssl=context(api.authority, "", "", []))
    headers = {"Authorization": f"Bearer {token}"}
    url = api.url + path
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, url, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_service_account_token(api: Client) -> None:
    """A token is its account; it ends with the account, with its pod, with its time, and outside its audience."""
    await api.post(f"{NS}/serviceaccounts", {"metadata": {"name": "bot"}})
    token = await _token(api)
    status, refused = await _as(api, token, "GET", f"{NS}/pods")
    assert status == 403
    assert 'User "system:serviceaccount:default:bot"' in refused["message"]
    other = await _token(api, audiences=["vault"])
    assert (await _as(api, other, "GET", f"{NS}/pods"))[0] == 401
    assert (await _as(api, token + "x", "GET", f"{NS}/pods"))[0] == 401
    claims = api.server.powers.key.verify(token)
    late = api.server.powers.key.sign(claims | {"exp": int(time.time()) - 1})
    assert (await _as(api, late, "GET", f"{NS}/pods"))[0] == 401
    await api.call("DELETE", f"{NS}/serviceaccounts/bot")
    assert (await _as(api, token, "GET", f"{NS}/pods"))[0] == 401


async def test_rbac_follows_its_objects(api: Client) -> None:
    """A binding gives its role's rights in its namespace, at once, and takes them along when it goes."""
    await api.post(f"{NS}/serviceaccounts", {"metadata": {"name": "bot"}})
    token = await _token(api)
    role = {"metadata": {"name": "r"}, "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]}
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "default"}],
    }
    await api.post(f"{RBAC}/namespaces/default/roles", role)
    await api.post(f"{RBAC}/namespaces/default/rolebindings", binding)
    assert (await _as(api, token, "GET", f"{NS}/pods"))[0] == 200
    assert (await _as(api, token, "GET", "/api/v1/namespaces/kube-system/pods"))[0] == 403
    assert (await _as(api, token, "GET", "/api/v1/pods"))[0] == 403
    await api.call("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    assert (await _as(api, token, "GET", f"{NS}/pods"))[0] == 403


async def test_nobody_grants_more_than_they_have(api: Client) -> None:
    """Writing a role or binding with rights the writer lacks is refused, unless escalate or bind is held."""
    await api.post(f"{NS}/serviceaccounts", {"metadata": {"name": "bot"}})
    token = await _token(api)
    admin = {
        "metadata": {"name": "a"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "default"}],
    }
    await api.post(f"{RBAC}/namespaces/default/rolebindings", admin)
    roles = f"{RBAC}/namespaces/default/roles"
    held = {"metadata": {"name": "held"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]}
    more = {"metadata": {"name": "more"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]}
    assert (await _as(api, token, "POST", roles, held))[0] == 201
    status, refused = await _as(api, token, "POST", roles, more)
    assert status == 403
    assert "attempting to grant RBAC permissions not currently held" in refused["message"]
    top = {"metadata": {"name": "t"}, "roleRef": {**admin["roleRef"], "name": "cluster-admin"}}
    assert (await _as(api, token, "POST", f"{RBAC}/namespaces/default/rolebindings", top))[0] == 403


async def test_impersonation(api: Client) -> None:
    """An administrator may act as others and then has their rights only; others may not."""
    status, body = await api.get(f"{NS}/pods", Impersonate_User="nobody")
    assert (status, body["reason"]) == (403, "Forbidden")
    await api.post(f"{NS}/serviceaccounts", {"metadata": {"name": "bot"}})
    token = await _token(api)
    connector = aiohttp.TCPConnector(ssl=context(api.authority, "", "", []))
    headers = {"Authorization": f"Bearer {token}", "Impersonate-User": "admin", "Impersonate-Group": "system:masters"}
    url = f"{api.url}{NS}/pods"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, headers=headers) as answer:
        assert answer.status == 403


async def test_aggregated_roles_follow_their_parts(api: Client) -> None:
    """A labelled ClusterRole's rules appear in the role that aggregates it."""
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    rule = {"verbs": ["get"], "apiGroups": ["x.example.com"], "resources": ["ys"]}
    await api.post(f"{RBAC}/clusterroles", {"metadata": {"name": "part", "labels": label}, "rules": [rule]})
    for _ in range(100):
        if rule in (await api.get(f"{RBAC}/clusterroles/view"))[1]["rules"]:
            return
    raise AssertionError("view did not follow")
