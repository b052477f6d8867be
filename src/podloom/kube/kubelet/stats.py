"""What the node's pods use: /stats/summary (kubelet stats v1alpha1, the parts clients read) and /metrics."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.manager import PodManager
from podloom.model.runtime import State, Usage

_START = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def stats_summary(node: Node, manager: PodManager) -> dict[str, Any]:
    """Node and pods with CPU time and working set per container."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    usage = await node.runtime.usage()
    pods = []
    for worker in manager.workers.values():
        mine = [one for one in usage if one.uid == worker.uid]
        meta = worker.pod["metadata"]
        pods.append(
            {
                "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": worker.uid},
                "startTime": (worker.reporter.known or {}).get("startTime"),
                "containers": [_container(one, now) for one in mine],
                "cpu": _cpu(sum(one.cpu_ns for one in mine), now),
                "memory": _memory(sum(one.working_set_bytes for one in mine), now),
            }
        )
    cpu, memory = sum(one.cpu_ns for one in usage), sum(one.working_set_bytes for one in usage)
    of_node = {"nodeName": node.facts.name, "startTime": _START, "cpu": _cpu(cpu, now), "memory": _memory(memory, now)}
    return {"node": of_node, "pods": pods}


def _cpu(total_ns: int, now: str) -> dict[str, Any]:
    return {"time": now, "usageCoreNanoSeconds": total_ns}


def _memory(working_set: int, now: str) -> dict[str, Any]:
    return {"time": now, "workingSetBytes": working_set}


def _container(one: Usage, now: str) -> dict[str, Any]:
    return {
        "name": one.name,
        "startTime": _START,
        "cpu": _cpu(one.cpu_ns, now),
        "memory": _memory(one.working_set_bytes, now),
        "rootfs": {"time": now, "usedBytes": one.writable_bytes},
    }


def metrics_text(node: Node, manager: PodManager) -> str:
    """Prometheus text of what one looks for first."""
    running = sum(
        one.state is State.RUNNING for worker in manager.workers.values() for one in worker.runtime.containers
    )
    values = {
        "kubelet_node_name": None,
        "kubelet_running_pods": len(manager.workers),
        "kubelet_running_containers": running,
        "podloom_kubelet_network_ready": int(node.network_ready),
        "process_cpu_seconds_total": time.process_time(),
    }
    lines = []
    for name, value in values.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines.append(f"# TYPE {name} {kind}")
        lines.append(f'{name}{{node="{node.facts.name}"}} 1' if value is None else f"{name} {value}")
    return "\n".join(lines) + "\n"
