"""The cloud's side of a node's range: one route child of the cluster's routing domain per node.

The problem: a pod's packets arrive only when the cloud routes its range to the node, and a route that outlives its node
sends another node's traffic astray. Routes are compared with the cloud's own list, not with memory; what the
list was is remembered only until the next look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from podloom.drivers.arm import CloudError
from podloom.model.nnc import Network

log = structlog.get_logger()


class Cloud(Protocol):
    """The part of the cloud client that routes need."""

    async def list(self, path: str) -> list[dict[str, Any]]: ...
    async def put(self, id: str, body: dict[str, Any], wait: bool = False) -> dict[str, Any]: ...
    async def delete(self, id: str, wait: bool = False) -> None: ...


class Routes:
    """Routes of one routing domain."""

    def __init__(self, cloud: Cloud, domain: str) -> None:
        self._cloud = cloud
        self._domain = domain.rstrip("/")
        self._seen: dict[str, dict[str, Any]] | None = None

    def forget(self) -> None:
        """Look at the cloud again next time."""
        self._seen = None

    def owns(self, id_: str) -> bool:
        """Whether the resource is a route of this domain (identifiers compare without regard to case)."""
        return id_.lower().startswith(f"{self._domain}/routes/".lower())

    async def names(self) -> set[str]:
        """Nodes that have a route."""
        return set(await self._routes())

    async def ensure(self, node: str, ranges: Sequence[Network], node_ip: str) -> str:
        """Have the route; "" when the cloud carries it, else what it waits for. Raises Unavailable, CloudError."""
        wanted = {"addressPrefixes": [str(network) for network in ranges], "nextHopIpAddress": node_ip}
        route = (await self._routes()).get(node)
        if route is None or not wanted.items() <= route["properties"].items():
            route = await self._cloud.put(f"{self._domain}/routes/{node}", {"properties": wanted})
            log.info("route.written", node=node, **wanted)
            (await self._routes())[node] = route
        state = route["properties"].get("provisioningState", "Succeeded")
        if state == "Succeeded":
            return ""
        self.forget()
        return f"the cloud's route is {state}"

    async def remove(self, node: str) -> None:
        """Have no route; one that is gone is success."""
        if node in await self._routes():
            await self._cloud.delete(f"{self._domain}/routes/{node}")
            log.info("route.removed", node=node)
            (await self._routes()).pop(node, None)

    async def _routes(self) -> dict[str, dict[str, Any]]:
        if self._seen is None:
            try:
                items = await self._cloud.list(f"{self._domain}/routes")
            except CloudError as error:
                if not error.not_found:
                    raise
                items = []
            self._seen = {item["name"]: item for item in items}
        return self._seen
