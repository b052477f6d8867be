"""What every part of a kubelet shares: its settings, its clients, and facts of its node."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from podloom.drivers.kube.api import KubeApi
from podloom.drivers.kube.informer import Informer
from podloom.drivers.runtime.api import Runtime
from podloom.kube.kubelet.objects import ObjectReader
from podloom.kube.kubelet.recorder import Recorder
from podloom.kube.kubelet.settings import Settings
from podloom.kube.kubelet.volumes import VolumeStore
from podloom.model.kube import Object
from podloom.plan.kubelet.fields import NodeFacts


def memory_bytes() -> int:
    """MemTotal of /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def node_facts(settings: Settings) -> NodeFacts:
    """What pods may see of this node."""
    memory = memory_bytes()
    disk = os.statvfs(settings.root)
    allocatable = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory // 1024}Ki",
        "ephemeral-storage": str(disk.f_blocks * disk.f_frsize),
        "pods": str(settings.max_pods),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    }
    return NodeFacts(
        settings.node_name,
        settings.node_ips,
        allocatable,
        memory,
        settings.cluster_dns,
        settings.cluster_domain,
    )


@dataclass
class Node:
    """One kubelet's parts."""

    settings: Settings
    kube: KubeApi
    runtime: Runtime
    facts: NodeFacts
    recorder: Recorder
    objects: ObjectReader
    volumes: VolumeStore
    services: Informer
    starts: asyncio.Semaphore
    network_ready: bool = False
    network_message: str = "container runtime network not ready: no answer yet"

    @classmethod
    def build(cls, settings: Settings, kube: KubeApi, runtime: Runtime, services: Informer) -> Node:
        return cls(
            settings,
            kube,
            runtime,
            node_facts(settings),
            Recorder(kube, settings.node_name),
            ObjectReader(kube),
            VolumeStore(settings.root),
            services,
            asyncio.Semaphore(settings.starts_at_once),
        )

    @property
    def log_root(self) -> Path:
        return Path(self.settings.log_root)

    def service_objects(self) -> list[Object]:
        return list(self.services.objects.values())

    def host_text(self, path: str) -> str:
        """A small text file of the node, empty when it is not there."""
        file = Path(path)
        return file.read_text() if file.is_file() else ""
