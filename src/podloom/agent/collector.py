"""Collecting leases whose DEL never came.

The problem: a runtime killed in the middle of making a sandbox forgets it and never sends a DEL, so its address would
be lost; but a lease that is in use must never be taken, and pods may run without the API server knowing them (static
pods, a runtime used by hand). A lease is collected when, for a while, its namespace is gone; or when, for longer,
no process is in its namespace and the API server does not know its pod (by UID; a pod stays known until its
node has taken it down). An address given over HTTP has no namespace, so its pod counts by name; a container that
names no pod is none of Kubernetes's. While the API server does not answer, only the first rule counts. (A sandbox
that the runtime made anew for the same pod needs no rule: its ADD ends the old lease.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from podloom.agent.pods import Pods
from podloom.drivers.kube import KubeApi
from podloom.model.cni import Attachment
from podloom.model.errors import PodloomError
from podloom.model.kube import PODS
from podloom.model.lease import Lease

_LOOKS_GONE, _LOOKS_UNKNOWN = 1, 2


class Collector:
    """Finds and ends lost leases; call `run_once` every `interval_s`."""

    def __init__(
        self,
        pods: Pods,
        client: KubeApi | None,
        node: str,
        *,
        interval_s: float,
        netns_exists: Callable[[str], bool],
        empty_netns: Callable[[Collection[str]], set[str]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pods = pods
        self._client = client
        self._node = node
        self._interval_s = interval_s
        self._netns_exists = netns_exists
        self._empty_netns = empty_netns
        self._now = now
        self._since: dict[Attachment, float] = {}

    async def run_once(self) -> int:
        """One look; returns how many leases were ended."""
        now = self._now()
        leases = list(self._pods.book.leases.values())
        homeless = {lease.attachment for lease in leases if lease.netns and not self._netns_exists(lease.netns)}
        unknown = await self._unknown([lease for lease in leases if lease.attachment not in homeless])
        self._since = {item: self._since.get(item, now) for item in homeless | unknown}
        gone = [
            item
            for item, since in self._since.items()
            if now - since >= self._interval_s * (_LOOKS_GONE if item in homeless else _LOOKS_UNKNOWN)
        ]
        return await self._pods.collect(gone, "lost") if gone else 0

    async def _unknown(self, leases: Sequence[Lease]) -> set[Attachment]:
        """Leases of pods that the API server does not know, with nobody in their namespace."""
        leases = [lease for lease in leases if lease.pod_uid or lease.pod_namespace]
        known = await self._known() if leases else None
        if known is None:
            return set()
        doubtful = [lease for lease in leases if (lease.pod_uid if lease.netns else lease.pod) not in known]
        paths = [lease.netns for lease in doubtful if lease.netns]
        empty = self._empty_netns(paths) if paths else set()
        return {lease.attachment for lease in doubtful if not lease.netns or lease.netns in empty}

    async def _known(self) -> set[str] | None:
        """UIDs and `namespace/name`s of this node's pods, None when the API server cannot be asked."""
        if self._client is None:
            return None
        try:
            items, _ = await self._client.list(PODS, field_selector=f"spec.nodeName={self._node}", limit=500)
        except PodloomError:
            return None
        found = [item["metadata"] for item in items]
        return {meta["uid"] for meta in found} | {f"{meta['namespace']}/{meta['name']}" for meta in found}
