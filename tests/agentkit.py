"""Parts for tests of the agent: a node in memory, and requests as a runtime sends them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import orjson

from podloom.agent.dataplane import TAG, Dataplane
from podloom.agent.leases import LeaseBook
from podloom.agent.pods import Pods
from podloom.agent.verbs import Verbs
from podloom.drivers.kernel import FakeKernel, Kernel
from podloom.drivers.store.lease import LeaseStore
from podloom.model.rows import Kind
from podloom.render.relay import Frame

RANGE = ip_network("192.168.1.0/24")


class MemoryNode:
    """An agent's inside over a kernel in memory; `wrap` may put faults around the kernel."""

    def __init__(
        self,
        store: LeaseStore | None = None,
        world: dict[Kind, dict[Any, Any]] | None = None,
        wrap: Callable[[Kernel], Kernel] = lambda kernel: kernel,
        *,
        network: str = str(RANGE),
    ) -> None:
        self.world = world if world is not None else {kind: {} for kind in Kind}
        self.store = store or LeaseStore(":memory:")
        self.book = LeaseBook(self.store)
        self.book.set_ranges((ip_network(network),))
        self.dataplane = Dataplane(lambda: wrap(FakeKernel(TAG, self.world)))
        self._ticks = itertools.count(1)
        self.pods = Pods(
            self.book,
            self.dataplane,
            mtu=lambda: 1400,
            netns_exists=lambda path: (path,) in self.world[Kind.NETNS],
            now=lambda: float(next(self._ticks)),
        )
        self.trouble = ""
        self.verbs = Verbs(self.pods, trouble=lambda: self.trouble, before_add=_nothing)

    def netns(self, container: str) -> str:
        """Make the namespace of a container; its path."""
        path = f"/run/netns/{container}"
        self.world[Kind.NETNS][path,] = None
        return path

    async def call(self, command: str, container: str, pod: str = "web", **more: Any) -> tuple[int, dict[str, Any]]:
        """One invocation; exit code and decoded output."""
        code, body = await self.verbs.answer(frame(command, container, pod, **more))
        return code, orjson.loads(body) if body else {}

    async def add(self, container: str, pod: str = "web", **more: Any) -> str:
        """ADD that must succeed; the pod's address."""
        self.netns(container)
        code, body = await self.call("ADD", container, pod, **more)
        assert code == 0, body
        return str(body["ips"][0]["address"]).partition("/")[0]

    def table(self) -> list[str]:
        """Everything in the kernel but namespaces, one sorted line per row."""
        lines = [
            f"{kind.name.lower():9} {' '.join(str(part) or '-' for part in key)} = {value}"
            for kind, rows in self.world.items()
            if kind is not Kind.NETNS
            for key, value in rows.items()
        ]
        return sorted(lines)

    def close(self) -> None:
        self.dataplane.close()
        self.store.close()


def frame(command: str, container: str, pod: str = "web", **more: Any) -> Frame:
    """A request frame; `uid`, `netns`, `ifname`, `version` and `config` (extra settings) may be given."""
    environment = {
        "PODLOOM_PLUGIN": "azure-vnet",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": more.get("netns", f"/run/netns/{container}"),
        "CNI_IFNAME": more.get("ifname", "eth0"),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={more.get('uid', '')}",
    }
    config = {
        "cniVersion": more.get("version", "1.1.0"),
        "name": "azure",
        "type": "azure-vnet",
        **more.get("config", {}),
    }
    return Frame(environment, orjson.dumps(config))


async def _nothing() -> None: ...
