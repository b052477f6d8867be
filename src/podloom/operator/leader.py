"""Only one operator at a time writes: a Lease (coordination.k8s.io) that has to be renewed.

The problem: two operators that allocate at once could give one range to two nodes, and one that was killed must not
keep its successor waiting. The Lease is taken by optimistic concurrency; a restarted operator of the same identity
takes its own lease back at once, any other waits until it has expired.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from podloom.drivers.kube import KubeApi, KubeError
from podloom.model.kube import LEASES

NAME, NAMESPACE = "podloom-operator", "kube-system"
DURATION_S = 15


class Leader:
    """Holds the Lease; `held` asks the API server when the last renewal is older than a third of its duration."""

    def __init__(self, client: KubeApi, identity: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._client = client
        self._identity = identity
        self._now = now
        self._renewed: datetime | None = None

    async def held(self) -> bool:
        """Whether this operator may write now; raises Unavailable when the API server does not answer."""
        now = self._now()
        if self._renewed is not None and now - self._renewed < timedelta(seconds=DURATION_S / 3):
            return True
        self._renewed = now if await self._take(now) else None
        return self._renewed is not None

    async def _take(self, now: datetime) -> bool:
        try:
            lease = await self._client.get(LEASES, NAME, NAMESPACE)
        except KubeError as error:
            if not error.not_found:
                raise
            return await self._write(self._body(now, {}), create=True)
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") not in (None, "", self._identity) and not _expired(spec, now):
            return False
        return await self._write({**lease, "spec": self._body(now, spec)["spec"]}, create=False)

    async def _write(self, lease: dict[str, Any], *, create: bool) -> bool:
        try:
            if create:
                await self._client.create(LEASES, lease, namespace=NAMESPACE)
            else:
                await self._client.replace(LEASES, lease)
        except KubeError as error:
            if error.conflict or error.already_exists or error.not_found:
                return False
            raise
        return True

    def _body(self, now: datetime, before: dict[str, Any]) -> dict[str, Any]:
        text = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = before.get("holderIdentity") == self._identity
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_S,
                "acquireTime": before.get("acquireTime", text) if mine else text,
                "renewTime": text,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not mine),
            },
        }


def _expired(spec: dict[str, Any], now: datetime) -> bool:
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]).replace("Z", "+00:00"))
        return now - renewed > timedelta(seconds=int(spec.get("leaseDurationSeconds") or DURATION_S))
    except (KeyError, ValueError):
        return True
