"""Who asks: client certificate, service account token, or nobody; and whom they act for.

The problem: a token is only as good as what it is bound to: its account must exist with the same uid, and so must
the pod, secret or node it names (Kubernetes "Managing Service Accounts", bound tokens).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from podloom.kube.api import errors
from podloom.kube.api.auth.jwt import TokenKey
from podloom.kube.api.contract import Attributes, Object, Reader, StatusError, UserInfo

ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))
AUTHENTICATED = "system:authenticated"
_EXTRA = "authentication.kubernetes.io/"


def from_certificate(subject: Sequence[Sequence[tuple[str, str]]]) -> UserInfo | None:
    """The user of a verified certificate's subject: CN is the name, each O a group."""
    pairs = [pair for part in subject for pair in part]
    name = next((value for key, value in pairs if key == "commonName"), "")
    if not name:
        return None
    groups = tuple(value for key, value in pairs if key == "organizationName")
    return UserInfo(name, (*groups, AUTHENTICATED))


class Tokens:
    """Checks service account tokens against the key and the stored objects."""

    def __init__(self, key: TokenKey, issuer: str, reader: Reader) -> None:
        self._key = key
        self._issuer = issuer
        self._reader = reader

    def authenticate(self, token: str, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]]:
        """User and matching audiences; raises StatusError 401 with the reason."""
        try:
            claims = self._key.verify(token)
        except ValueError as exc:
            raise StatusError(401, "Unauthorized", f"invalid bearer token, {exc}") from exc
        wanted = tuple(audiences) or (self._issuer,)
        held = claims.get("aud") or []
        matching = tuple(a for a in wanted if a in ([held] if isinstance(held, str) else held))
        if claims.get("iss") != self._issuer or not matching:
            raise StatusError(
                401,
                "Unauthorized",
                f"invalid bearer token, token audiences {held} is invalid for the target audiences {list(wanted)}",
            )
        now = time.time()
        if now >= claims.get("exp", 0) or now < claims.get("nbf", 0) - 60:
            raise StatusError(401, "Unauthorized", "invalid bearer token, service account token has expired")
        return self._user(claims.get("kubernetes.io") or {}, claims), matching

    def _user(self, bound: Object, claims: Object) -> UserInfo:
        namespace = bound.get("namespace", "")
        account = bound.get("serviceaccount") or {}
        self._require("serviceaccounts", namespace, account)
        extra: dict[str, tuple[str, ...]] = {}
        if claims.get("jti"):
            extra[_EXTRA + "credential-id"] = (f"JTI={claims['jti']}",)
        for word, plural, where in (
            ("pod", "pods", namespace),
            ("secret", "secrets", namespace),
            ("node", "nodes", ""),
        ):
            ref = bound.get(word)
            if not ref:
                continue
            if word != "node" or "pod" not in bound:
                self._require(plural, where, ref)
            if word != "secret":
                extra[f"{_EXTRA}{word}-name"] = (ref["name"],)
                extra[f"{_EXTRA}{word}-uid"] = (ref["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        name = f"system:serviceaccount:{namespace}:{account.get('name', '')}"
        return UserInfo(name, groups, account.get("uid", ""), extra)

    def _require(self, plural: str, namespace: str, ref: Mapping[str, Any]) -> None:
        stored = self._reader.get("", plural, namespace, ref.get("name", ""))
        if stored is None or stored["metadata"]["uid"] != ref.get("uid"):
            raise StatusError(401, "Unauthorized", f"invalid bearer token, {plural} {ref.get('name')} has been deleted")


def bearer(header: str) -> str | None:
    """The token of an Authorization header, if it is a bearer one."""
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None


def authenticate(
    subject: Sequence[Sequence[tuple[str, str]]] | None, authorization: str, tokens: Tokens | None
) -> UserInfo:
    """The user of a request; raises 401 for credentials that are no good."""
    if subject:
        user = from_certificate(subject)
        if user is not None:
            return user
    token = bearer(authorization)
    if token is None:
        return ANONYMOUS
    if tokens is None:
        raise errors.unauthorized()
    try:
        return tokens.authenticate(token)[0]
    except StatusError as exc:
        raise errors.unauthorized() from exc


def impersonation(headers: Mapping[str, str], groups: Sequence[str]) -> tuple[UserInfo, list[Attributes]] | None:
    """Whom a request acts for and what the real user needs for that; None without Impersonate headers."""
    name = headers.get("Impersonate-User", "")
    uid = headers.get("Impersonate-Uid", "")
    extra = {
        key[len("Impersonate-Extra-") :].lower(): (value,)
        for key, value in headers.items()
        if key.lower().startswith("impersonate-extra-")
    }
    if not name:
        if groups or uid or extra:
            raise errors.internal_error("requested impersonation without impersonating a user")
        return None
    asked = []
    parts = name.split(":")
    if name.startswith("system:serviceaccount:") and len(parts) == 4:
        asked.append(Attributes("impersonate", "", "v1", "serviceaccounts", "", parts[2], parts[3]))
        if not groups:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}")
    else:
        asked.append(Attributes("impersonate", "", "v1", "users", "", "", name))
    asked += [Attributes("impersonate", "", "v1", "groups", "", "", g) for g in groups]
    everybody = "system:unauthenticated" if name == ANONYMOUS.name else AUTHENTICATED
    held = tuple(groups) if everybody in groups else (*groups, everybody)
    return UserInfo(name, held, uid, extra), asked
