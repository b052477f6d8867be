"""Lifecycle hooks: exec, httpGet, sleep (Kubernetes docs, "Container Lifecycle Hooks")."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from podloom.drivers.runtime.api import RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.request import http_get, tcp_connect
from podloom.plan.kubelet.probe import named_port

_LONGEST_S = 600.0


async def run_hook(
    node: Node,
    container: Mapping[str, Any],
    hook: Mapping[str, Any],
    container_id: str,
    *,
    pod_ips: Sequence[str],
    timeout_s: float | None = None,
) -> str:
    """Run a hook to its end; what went wrong, or nothing."""
    limit = timeout_s or _LONGEST_S
    try:
        if action := hook.get("exec"):
            _, stderr, code = await node.runtime.exec_sync(container_id, list(action["command"]), int(limit))
            return "" if code == 0 else f"command exited with {code}: {stderr.decode(errors='replace')[:500]}"
        if action := hook.get("httpGet"):
            port = named_port(action["port"], container)
            host = action.get("host") or (pod_ips[0] if pod_ips else "127.0.0.1")
            ok, text = await http_get(action, host, port or 80, limit)
            return "" if ok else text
        if action := hook.get("tcpSocket"):
            port = named_port(action["port"], container)
            ok, text = await tcp_connect(
                action.get("host") or (pod_ips[0] if pod_ips else "127.0.0.1"), port or 80, limit
            )
            return "" if ok else text
        if action := hook.get("sleep"):
            await asyncio.sleep(min(float(action.get("seconds") or 0), limit))
    except RuntimeFailed as e:
        return e.found
    return ""
