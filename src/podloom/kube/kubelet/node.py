"""This node's own object: registration, status, and the lease that says it lives.

The problem: the scheduler places pods only on a node that is Ready, and Ready must follow the truth (the runtime,
its network) within moments, while an idle node must cost the API server one small write in ten seconds. So the
runtime is asked often while it is not ready, seldom when it is; the status is written when it changed, and every
five minutes; the lease every ten seconds (Kubernetes docs, "Node heartbeats").
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from podloom.drivers.kube.api import KubeError
from podloom.drivers.runtime.api import RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.model.errors import PodloomError
from podloom.model.kube import LEASES, NODES, Object
from podloom.model.runtime import Condition, Image
from podloom.plan.kubelet.node import NodeReport, plan_node, plan_node_status

log = structlog.get_logger()
_LEASE_S = 10.0
_LEASE_LIFE_S = 40
_CHECK_READY_S = 5.0
_CHECK_WAITING_S = 0.25
_STATUS_S = 300.0
_IMAGES_MAX = 50
_DOWN_S = 30.0  # a runtime that restarts within this time does not make the node unready


class NodeReporter:
    """Keeps the Node object and its lease; `on_network` is called when the network becomes ready."""

    def __init__(self, node: Node, on_network: Callable[[], None]) -> None:
        self._node, self._on_network = node, on_network
        self._version = ""
        self._sent: Object | None = None
        self._sent_at = 0.0
        self._runtime_trouble = ""
        self._answered_at = time.monotonic()
        self._conditions_seen: list[Condition] = []
        self._images_seen: list[Image] = []
        self._system = _system_info()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._status_loop())
            group.create_task(self._lease_loop())

    async def _status_loop(self) -> None:
        while True:
            try:
                await self._check()
            except PodloomError as e:
                log.warning("node status", error=e.message)
                self._sent = None
            await asyncio.sleep(_CHECK_READY_S if self._node.network_ready else _CHECK_WAITING_S)

    async def _check(self) -> None:
        conditions = await self._conditions()
        network = next((one for one in conditions if one.type == "NetworkReady"), None)
        was, self._node.network_ready = self._node.network_ready, bool(network and network.status)
        if network is not None:
            detail = f"NetworkReady=false reason:{network.reason} message:{network.message}"
            self._node.network_message = f"container runtime network not ready: {detail}"
        if self._node.network_ready and not was:
            self._on_network()
        report = NodeReport(
            facts=self._node.facts,
            labels=self._node.settings.labels,
            taints=self._node.settings.taints,
            provider_id=self._node.settings.provider_id,
            port=self._node.settings.port,
            runtime_version=self._version,
            conditions=tuple(conditions),
            runtime_trouble=self._runtime_trouble,
            images=tuple(await self._images()),
            system=self._system,
            now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        await self._write(report)

    async def _conditions(self) -> list[Condition]:
        try:
            if not self._version:
                self._version = await self._node.runtime.version()
            conditions = await self._node.runtime.conditions()
        except RuntimeFailed as e:
            if time.monotonic() - self._answered_at > _DOWN_S:
                self._runtime_trouble = e.found
            return self._conditions_seen
        self._runtime_trouble, self._answered_at, self._conditions_seen = "", time.monotonic(), conditions
        return conditions

    async def _images(self) -> list[Image]:
        with contextlib.suppress(RuntimeFailed):
            images = await self._node.runtime.list_images()
            self._images_seen = sorted(images, key=lambda one: (-one.size_bytes, one.id))[:_IMAGES_MAX]
        return self._images_seen

    async def _write(self, report: NodeReport) -> None:
        """Register when needed; write the status when it says something new or five minutes have passed."""
        if self._sent is None:
            current = await self._registered(report)
        else:
            current = self._sent
        status = plan_node_status(report, current.get("status") or {})
        fresh = time.monotonic() - self._sent_at < _STATUS_S
        if self._sent is not None and fresh and _without_heartbeats(status) == _without_heartbeats(current["status"]):
            return
        name = self._node.settings.node_name
        try:
            answer = await self._node.kube.patch(NODES, name, {"status": status}, subresource="status")
        except KubeError as e:
            if e.not_found:
                self._sent = None
            raise
        ready = next(one for one in status["conditions"] if one["type"] == "Ready")
        shown = (current.get("status") or {}).get("conditions") or ()
        if not any(one["type"] == "Ready" and one["status"] == ready["status"] for one in shown):
            reason = "NodeReady" if ready["status"] == "True" else "NodeNotReady"
            self._node.recorder.node("Normal", reason, f"Node {name} status is now: {reason}")
        self._sent, self._sent_at = {**answer, "status": status}, time.monotonic()

    async def _registered(self, report: NodeReport) -> Object:
        """The Node object with our labels: created, or brought in line with the settings."""
        wanted, name = plan_node(report), self._node.settings.node_name
        try:
            current = await self._node.kube.get(NODES, name)
        except KubeError as e:
            if not e.not_found:
                raise
            log.info("registering node", node=name)
            return await self._node.kube.create(NODES, wanted)
        labels = current["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in wanted["metadata"]["labels"].items()):
            current = await self._node.kube.patch(NODES, name, {"metadata": {"labels": wanted["metadata"]["labels"]}})
        return current

    async def _lease_loop(self) -> None:
        while True:
            try:
                await self._renew()
                await asyncio.sleep(_LEASE_S)
            except PodloomError as e:
                log.debug("lease", error=e.message)
                await asyncio.sleep(1.0)

    async def _renew(self) -> None:
        name = self._node.settings.node_name
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": _LEASE_LIFE_S, "renewTime": now}
        try:
            await self._node.kube.patch(LEASES, name, {"spec": spec}, "kube-node-lease")
        except KubeError as e:
            if not e.not_found:
                raise
            meta = {"name": name, "namespace": "kube-node-lease"}
            obj = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            await self._node.kube.create(LEASES, obj)


def _without_heartbeats(status: Object) -> Object:
    conditions = [{k: v for k, v in one.items() if k != "lastHeartbeatTime"} for one in status.get("conditions") or ()]
    return {**status, "conditions": conditions}


def _system_info() -> dict[str, str]:
    """nodeInfo's facts of machine and system."""

    def text(path: str) -> str:
        file = Path(path)
        return file.read_text().strip() if file.is_file() else ""

    release = dict(line.split("=", 1) for line in text("/etc/os-release").splitlines() if "=" in line)
    uname = os.uname()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "machineID": text("/etc/machine-id"),
        "systemUUID": text("/sys/class/dmi/id/product_uuid").lower(),
        "bootID": text("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": uname.release,
        "osImage": release.get("PRETTY_NAME", "Linux").strip('"'),
        "operatingSystem": "linux",
        "architecture": architecture,
    }
