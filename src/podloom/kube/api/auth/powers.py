"""The server's powers as reviews and token requests see them."""

from __future__ import annotations

from collections.abc import Sequence

from podloom.kube.api.auth.authn import Tokens
from podloom.kube.api.auth.jwt import TokenKey
from podloom.kube.api.auth.rbac import Rbac
from podloom.kube.api.contract import Attributes, Object, UserInfo


class ServerPowers:
    """contract.Powers over the token key, the token checker and RBAC."""

    def __init__(self, key: TokenKey, tokens: Tokens, rbac: Rbac) -> None:
        self.key = key
        self.tokens = tokens
        self.rbac = rbac

    def sign_token(self, claims: Object) -> str:
        return self.key.sign(claims)

    def authenticate_token(self, token: str, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]]:
        return self.tokens.authenticate(token, audiences)

    def authorize(self, user: UserInfo, attributes: Attributes) -> tuple[bool, str]:
        return self.rbac.authorize(user, attributes)

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Object], list[Object]]:
        return self.rbac.rules(user, namespace)
