"""Puts the controllers together: one client, one set of views, one task each.

The problem: a controller that ends by a bug must not take the others with it, nor stay away silently. Each runs
under a guard that logs and starts it again after a growing wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from podloom.drivers.kube import Backoff, KubeApi
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.cronjobs import CronJobs
from podloom.kube.controllers.daemonset import DaemonSets
from podloom.kube.controllers.deployment import Deployments
from podloom.kube.controllers.disruption import Disruptions
from podloom.kube.controllers.endpoints import ApiEndpoints, ServiceEndpoints
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.garbage import GarbageCollector
from podloom.kube.controllers.housekeeping import ClusterRoleAggregation, EventExpiry
from podloom.kube.controllers.jobs import Jobs
from podloom.kube.controllers.namespaces import NamespaceContent, NamespaceDefaults
from podloom.kube.controllers.nodes import GRACE_S, Nodes
from podloom.kube.controllers.podgc import PodGarbage
from podloom.kube.controllers.replicaset import ReplicaSets
from podloom.kube.controllers.scheduler import Scheduler
from podloom.kube.controllers.statefulset import StatefulSets

log = structlog.get_logger()


class Runnable(Protocol):
    """Anything that works until cancelled."""

    async def run(self) -> None: ...


@dataclass(frozen=True)
class Options:
    """What the controllers are told; `advertise` is (address, port) of the API server as pods reach it."""

    ca_pem: str = ""
    advertise: tuple[str, int] | None = None
    node_grace_s: float = GRACE_S


def build(cluster: Cluster, options: Options) -> dict[str, Runnable]:
    """All controllers of a cluster by name; they subscribe before the cluster starts."""
    recorders: dict[str, Recorder] = {}

    def recorder(component: str) -> Recorder:
        return recorders.setdefault(component, Recorder(cluster, component))

    parts: dict[str, Runnable] = {
        "scheduler": Scheduler(cluster, recorder("default-scheduler")),
        "replicasets": ReplicaSets(cluster, recorder("replicaset-controller")),
        "deployments": Deployments(cluster, recorder("deployment-controller")),
        "daemonsets": DaemonSets(cluster, recorder("daemonset-controller")),
        "statefulsets": StatefulSets(cluster, recorder("statefulset-controller")),
        "jobs": Jobs(cluster, recorder("job-controller")),
        "cronjobs": CronJobs(cluster, recorder("cronjob-controller")),
        "disruptions": Disruptions(cluster),
        "endpoints": ServiceEndpoints(cluster),
        "namespaces": NamespaceContent(cluster),
        "namespace-defaults": NamespaceDefaults(cluster, options.ca_pem),
        "nodes": Nodes(cluster, recorder("node-controller"), options.node_grace_s),
        "pod-garbage": PodGarbage(cluster, options.node_grace_s),
        "event-expiry": EventExpiry(cluster),
        "cluster-roles": ClusterRoleAggregation(cluster),
        "garbage": GarbageCollector(cluster),
    }
    if options.advertise:
        parts["api-endpoints"] = ApiEndpoints(cluster, *options.advertise)
    return parts | {f"events of {name}": part for name, part in recorders.items()}


async def run_controllers(client: KubeApi, options: Options, started: Callable[[], None] = lambda: None) -> None:
    """Run all controllers against one API server until cancelled; `started` is called when all copies are full."""
    cluster = Cluster(client)
    parts = build(cluster, options)
    try:
        async with asyncio.TaskGroup() as group:
            await cluster.start()
            started()
            for name, part in parts.items():
                group.create_task(_guard(name, part), name=name)
    finally:
        await cluster.stop()


async def _guard(name: str, part: Runnable) -> None:
    backoff = Backoff(0.5, 30.0)
    while True:
        try:
            await part.run()
        except asyncio.CancelledError:
            raise
        except Exception:  # logged and started again: one bug must not stop the cluster
            log.exception("controllers.died", controller=name)
        await asyncio.sleep(backoff.next_s())
