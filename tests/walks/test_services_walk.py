"""The walk of a Service as one golden: objects -> frontends -> elements -> nftables -> delete -> empty."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from podloom.agent.dataplane import TAG, Dataplane
from podloom.drivers.kernel import FakeKernel, FaultyKernel, Kernel
from podloom.model.rows import Kind
from podloom.plan.nodetable import NodeFacts, plan_node_table
from podloom.plan.services import view_services

GOLDEN = Path(__file__).with_name("services.txt")
FACTS = NodeFacts((ip_network("192.168.1.0/24"),), (ip_network("192.168.0.0/16"),), (ip_address("10.224.0.4"),))
LABEL = "kubernetes.io/service-name"


def _service(name: str, vip: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "ClusterIP", "clusterIPs": [vip], "ports": list(ports)},
    }


def _slice(name: str, addresses: list[str], *ports: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-1", "namespace": "shop", "labels": {LABEL: name}},
        "addressType": "IPv4",
        "ports": list(ports),
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


HTTP = {"name": "http", "port": 80, "protocol": "TCP"}
DNS = {"name": "dns", "port": 53, "protocol": "UDP"}
SERVICES = [_service("web", "10.0.0.20", HTTP), _service("dns", "10.0.0.10", DNS), _service("idle", "10.0.0.30", HTTP)]
SLICES = [
    _slice("web", ["192.168.1.5", "192.168.2.7"], {"name": "http", "port": 8080, "protocol": "TCP"}),
    _slice("dns", ["192.168.2.9"], {"name": "dns", "port": 5353, "protocol": "UDP"}),
]
STEPS = [
    ("three services, one of them without endpoints", SERVICES, SLICES),
    ("the local pod of web is gone", SERVICES, [_slice("web", ["192.168.2.7"], SLICES[0]["ports"][0]), SLICES[1]]),
    ("dns is deleted", [SERVICES[0], SERVICES[2]], SLICES[:1]),
    ("no services", [], []),
]


async def _walk(share: float, seed: int = 0) -> str:
    world: dict[Kind, dict[Any, Any]] = {kind: {} for kind in Kind}

    def kernel() -> Kernel:
        return FaultyKernel(FakeKernel(TAG, world), share=share, seed=seed)

    dataplane = Dataplane(kernel)
    lines: list[str] = []
    try:
        for title, services, slices in STEPS:
            rows = plan_node_table(FACTS, view_services(services, slices, "n1"))
            for _ in range(50):
                if (await dataplane.apply_table(rows)).ok:
                    break
            lines += [f"## {title}", *_elements(world), ""]
    finally:
        dataplane.close()
    return "\n".join(lines)


def _elements(world: dict[Kind, dict[Any, Any]]) -> list[str]:
    rows = world[Kind.NFT_ELEMENT].items()
    return sorted(f"{key[3]} {{ {key[4]}{f' : {value}' if value else ''} }}" for key, value in rows)


async def test_walk_is_the_golden() -> None:
    """The elements after each step are those of the golden file (delete the file to write it anew)."""
    found = await _walk(0.0)
    if not GOLDEN.exists():
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


@pytest.mark.parametrize("seed", range(3))
async def test_walk_with_failing_calls_is_the_same(seed: int) -> None:
    """A tenth of the kernel's calls failing changes nothing of the elements."""
    assert await _walk(0.1, seed) == GOLDEN.read_text()
