"""ServiceAccounts and the tokens issued for them (TokenRequest).

The problem: a token says which account it is for and, when it is bound to a pod, dies with the pod. This module
decides what a token claims; the server signs it (Kubernetes "Managing Service Accounts").
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from podloom.kube.api import errors
from podloom.kube.api.contract import Answer, Context, Object, StatusError
from podloom.kube.api.kinds.base import BuiltIn, forbidden
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.noderules import node_of
from podloom.kube.api.kinds.types import type_of

MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
DEFAULT_SECONDS = 3600
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class ServiceAccountKind(BuiltIn):
    """An account, for which tokens are issued."""

    returns_deleted = True

    def post_subresource(self, body: Object, current: Object, ctx: Context) -> Answer:
        if ctx.subresource != "token":
            return super().post_subresource(body, current, ctx)
        return Answer(issue(body, current, ctx), 201)


def issue(request: Object, account: Object, ctx: Context) -> Object:
    """Answer a TokenRequest for an account; 422, 404, 409 and 403 as the real server gives them."""
    spec = dict(request.get("spec") or {})
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = DEFAULT_SECONDS
    spec["audiences"] = spec.get("audiences") or [ctx.settings.service_account_issuer]
    ref = spec.setdefault("boundObjectRef", None)
    _check(spec)
    bound = _bound_object(ref, account, ctx) if ref else None
    _restrict_node(account, ref, bound, ctx)
    now = datetime.now(UTC).replace(microsecond=0)
    expires = now + timedelta(seconds=spec["expirationSeconds"])
    token = ""
    if ctx.powers is not None:
        token = ctx.powers.sign_token(claims(spec, account, bound, now, ctx))
    metadata = {key: account["metadata"][key] for key in ("name", "namespace", "uid") if key in account["metadata"]}
    managed = (request.get("metadata") or {}).get("managedFields")
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            **metadata,
            "creationTimestamp": ctx.now,
            **({"managedFields": managed} if managed else {}),
        },
        "spec": spec,
        "status": {"token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }


def _check(spec: Object) -> None:
    report, seconds = Report(), spec["expirationSeconds"]
    if seconds < MIN_SECONDS:
        report.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds > MAX_SECONDS:
        report.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if report.causes:
        raise errors.invalid("authentication.k8s.io", "TokenRequest", "", report.causes)


def _bound_object(ref: Object, account: Object, ctx: Context) -> Object:
    kind, name = ref.get("kind", ""), ref.get("name", "")
    if kind not in _BOUND or ref.get("apiVersion") not in (None, "", "v1"):
        raise errors.bad_request(f"cannot bind token to object of type {ref.get('apiVersion', '')}, Kind={kind}")
    namespace = "" if kind == "Node" else account["metadata"]["namespace"]
    found = ctx.reader.get("", _BOUND[kind], namespace, name)
    if found is None:
        raise errors.not_found(type_of("", _BOUND[kind]), name)
    uid = found["metadata"].get("uid", "")
    if ref.get("uid") and ref["uid"] != uid:
        why = (
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object might"
            " have been deleted and then recreated"
        )
        raise errors.conflict(type_of("", _BOUND[kind]), name, why)
    used = (found.get("spec") or {}).get("serviceAccountName", "")
    if kind == "Pod" and used != account["metadata"]["name"]:
        raise errors.bad_request(
            f'cannot bind token for serviceaccount "{account["metadata"]["name"]}" to pod running with different'
            " serviceaccount name."
        )
    return found


def _restrict_node(account: Object, ref: Object | None, bound: Object | None, ctx: Context) -> None:
    """A node asks for tokens of the pods that run on it only (admission NodeRestriction)."""
    node = node_of(ctx)
    if not node:
        return
    name = account["metadata"]["name"]
    if not ref or ref.get("kind") != "Pod" or not ref.get("uid"):
        raise _refused(ctx, name, f'node "{node}" requested token not bound to a pod')
    if ((bound or {}).get("spec") or {}).get("nodeName") != node:
        raise _refused(ctx, name, f'node "{node}" requested token bound to a pod scheduled on a different node')


def _refused(ctx: Context, name: str, why: str) -> StatusError:
    return forbidden(ctx, "serviceaccounts", name, why)


def claims(spec: Object, account: Object, bound: Object | None, now: datetime, ctx: Context) -> Object:
    """The claims of a token of a defaulted TokenRequest spec (RFC 7519, and the private claim kubernetes.io)."""
    metadata, ref, start = account["metadata"], spec.get("boundObjectRef"), int(now.timestamp())
    private: Object = {
        "namespace": metadata["namespace"],
        "serviceaccount": {"name": metadata["name"], "uid": metadata.get("uid", "")},
    }
    if ref and bound is not None:
        word = ref["kind"].lower()
        private[word] = {"name": bound["metadata"]["name"], "uid": bound["metadata"].get("uid", "")}
        node = (bound.get("spec") or {}).get("nodeName") if word == "pod" else None
        stored = ctx.reader.get("", "nodes", "", node) if node else None
        if stored is not None:
            private["node"] = {"name": node, "uid": stored["metadata"].get("uid", "")}
    return {
        "aud": spec["audiences"],
        "exp": start + spec["expirationSeconds"],
        "iat": start,
        "iss": ctx.settings.service_account_issuer,
        "jti": str(uuid.uuid4()),
        "kubernetes.io": private,
        "nbf": start,
        "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
    }
