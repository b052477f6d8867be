"""Questions about identity and permission that are answered, not stored.

The problem: `kubectl auth can-i`, webhooks and controllers ask who somebody is and what they may do. The answers
come from the server's own authenticator and authorizer (ctx.powers), so they are what a request would get.
"""

from __future__ import annotations

from typing import Any

from podloom.kube.api import errors
from podloom.kube.api.contract import Attributes, Context, Object, Powers, StatusError, UserInfo
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report

_ANSWER_FIELDS = ("kind", "apiVersion", "metadata", "spec")


def _powers(ctx: Context) -> Powers:
    assert ctx.powers is not None, "a running server has powers"
    return ctx.powers


def user_info(user: UserInfo) -> Object:
    """authentication.k8s.io/v1 UserInfo, empty fields left out."""
    found: dict[str, Any] = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {key: value for key, value in found.items() if value}


class Review(BuiltIn):
    """A kind that is only created, and answered with itself and a status."""

    stored = False

    def create_virtual(self, obj: Object, ctx: Context) -> Object:
        spec = obj.get("spec") or {}
        report = Report()
        self.check_spec(report, spec, ctx)
        if report.causes:
            raise errors.invalid(self.type.group, self.type.kind, "", report.causes)
        answer = {key: obj[key] for key in _ANSWER_FIELDS if key in obj}
        return {**answer, "status": self.answer(spec, ctx)}

    def check_spec(self, report: Report, spec: Object, ctx: Context) -> None:
        """Mistakes of the question."""

    def answer(self, spec: Object, ctx: Context) -> Object:
        """The status."""
        raise NotImplementedError


def _check_question(report: Report, spec: Object) -> None:
    given = [spec.get(field) is not None for field in ("resourceAttributes", "nonResourceAttributes")]
    if sum(given) != 1:
        where = "spec.resourceAttributes" if not any(given) else "spec.nonResourceAttributes"
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        if all(given):
            why = "cannot be specified in combination with resourceAttributes"
        report.invalid(where, None if not any(given) else spec["nonResourceAttributes"], why)


def _attributes(spec: Object) -> Attributes:
    asked = spec.get("resourceAttributes")
    if asked is None:
        other = spec.get("nonResourceAttributes") or {}
        return Attributes(verb=other.get("verb", ""), path=other.get("path", ""))
    fields = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(**{field: asked.get(field, "") for field in fields})


def _decide(user: UserInfo, spec: Object, ctx: Context) -> Object:
    allowed, reason = _powers(ctx).authorize(user, _attributes(spec))
    return {"allowed": allowed, **({"reason": reason} if reason else {})}


class SelfSubjectAccessReviewKind(Review):
    """May the asker do this?"""

    def check_spec(self, report: Report, spec: Object, ctx: Context) -> None:
        _check_question(report, spec)

    def answer(self, spec: Object, ctx: Context) -> Object:
        return _decide(ctx.user_info, spec, ctx)


class SubjectAccessReviewKind(Review):
    """May somebody do this?"""

    def check_spec(self, report: Report, spec: Object, ctx: Context) -> None:
        _check_question(report, spec)
        if not spec.get("user") and not spec.get("groups"):
            report.invalid("spec.user", "", "at least one of user or group must be specified")

    def answer(self, spec: Object, ctx: Context) -> Object:
        extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
        user = UserInfo(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
        return _decide(user, spec, ctx)


class LocalSubjectAccessReviewKind(SubjectAccessReviewKind):
    """May somebody do this in the namespace of the request?"""

    def check_spec(self, report: Report, spec: Object, ctx: Context) -> None:
        super().check_spec(report, spec, ctx)
        asked = spec.get("resourceAttributes")
        if asked is not None and asked.get("namespace", "") != ctx.namespace:
            where = "spec.resourceAttributes.namespace"
            report.invalid(where, asked.get("namespace", ""), "must match metadata.namespace")
        if spec.get("nonResourceAttributes") is not None:
            why = "disallowed on this kind of request"
            report.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], why)


class SelfSubjectRulesReviewKind(Review):
    """What may the asker do in a namespace?"""

    def create_virtual(self, obj: Object, ctx: Context) -> Object:
        """The answer does not repeat the question."""
        return {**super().create_virtual(obj, ctx), "spec": {}}

    def answer(self, spec: Object, ctx: Context) -> Object:
        if not spec.get("namespace"):
            raise errors.bad_request("no namespace on request")
        resources, paths = _powers(ctx).rules(ctx.user_info, spec["namespace"])
        return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


class SelfSubjectReviewKind(Review):
    """Who is the asker?"""

    def create_virtual(self, obj: Object, ctx: Context) -> Object:
        answer = super().create_virtual(obj, ctx)
        answer.pop("spec", None)
        answer["metadata"] = {**answer.get("metadata", {}), "creationTimestamp": ctx.now}
        return answer

    def answer(self, spec: Object, ctx: Context) -> Object:
        return {"userInfo": user_info(ctx.user_info)}


class TokenReviewKind(Review):
    """Whose token is this?"""

    def answer(self, spec: Object, ctx: Context) -> Object:
        token = spec.get("token", "")
        if not token:
            return {"user": {}, "error": "no token provided"}
        try:
            user, audiences = _powers(ctx).authenticate_token(token, spec.get("audiences") or ())
        except StatusError as error:
            known = token.count(".") == 2
            return {"user": {}, "error": error.message if known else "invalid bearer token"}
        return {"authenticated": True, "user": user_info(user), "audiences": list(audiences)}
