"""ConfigMaps, Secrets and service account tokens, fetched when a pod needs them.

The problem: thirty pods that start at once must not ask thirty times for the same object, yet a pod made after a
change must see the change. So equal questions asked at the same time share one answer, and nothing is kept longer
than that; tokens are kept until 80% of their life is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from podloom.drivers.kube.api import KubeApi, KubeError
from podloom.model.kube import CONFIGMAPS, SECRETS, SERVICEACCOUNTS, Object
from podloom.plan.kubelet.env import Sources
from podloom.plan.kubelet.volumes import TokenKey

_RESOURCES = {"configmap": CONFIGMAPS, "secret": SECRETS}
_SHARE_S = 0.3


@dataclass
class _Token:
    text: str
    renew_at: float


class ObjectReader:
    """Reads what pods refer to."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube
        self._pending: dict[tuple[str, str, str], asyncio.Task[Object | None]] = {}
        self._tokens: dict[tuple[str, TokenKey], _Token] = {}

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, None when the server says there is none."""
        key = (kind, namespace, name)
        task = self._pending.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(kind, namespace, name))
            self._pending[key] = task
            task.add_done_callback(lambda _: self._forget(key))
        return await asyncio.shield(task)

    def _forget(self, key: tuple[str, str, str]) -> None:
        asyncio.get_running_loop().call_later(_SHARE_S, self._pending.pop, key, None)

    async def _fetch(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return await self._kube.get(_RESOURCES[kind], name, namespace)
        except KubeError as e:
            if e.not_found:
                return None
            raise

    async def sources(self, namespace: str, needed: Iterable[tuple[str, str]]) -> Sources:
        """All objects of a pod at once."""
        wanted = sorted(needed)
        found = await asyncio.gather(*(self.get(kind, namespace, name) for kind, name in wanted))
        by_kind: dict[str, dict[str, Object | None]] = {"configmap": {}, "secret": {}}
        for (kind, name), one in zip(wanted, found, strict=True):
            by_kind[kind][name] = one
        return Sources(by_kind["configmap"], by_kind["secret"])

    async def tokens(self, pod: Mapping[str, Any], keys: Iterable[TokenKey]) -> dict[TokenKey, str]:
        """A valid token per (audience, seconds), bound to the pod (TokenRequest API)."""
        return {key: await self._token(pod, key) for key in keys}

    async def _token(self, pod: Mapping[str, Any], key: TokenKey) -> str:
        uid = pod["metadata"]["uid"]
        known = self._tokens.get((uid, key))
        if known and time.monotonic() < known.renew_at:
            return known.text
        audience, seconds = key
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": uid},
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._kube.create(
            SERVICEACCOUNTS, request, namespace=pod["metadata"]["namespace"], name=account, subresource="token"
        )
        status = answer["status"]
        life_s = _seconds_until(status.get("expirationTimestamp"), seconds)
        self._tokens[uid, key] = _Token(status["token"], time.monotonic() + 0.8 * life_s)
        return str(status["token"])

    def forget_pod(self, uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]


def _seconds_until(text: str | None, default: int) -> float:
    if not text:
        return float(default)
    return max(60.0, datetime.fromisoformat(text).timestamp() - time.time())
