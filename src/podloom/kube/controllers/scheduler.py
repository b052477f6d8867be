"""The scheduler: binds pending pods to the nodes that plan.kube.schedule chooses.

The problem: a burst of pods must be placed in one go without waiting for each binding, yet no two may take the
same room, and a pod that fits nowhere must come back when something changed, not all the time. So a placed pod
is assumed on its node until the server's own copy says so; bindings run beside; pods that fit nowhere wait for
an event that may make room (node changed, pod gone) or a minute.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from podloom.drivers.kube import Backoff, KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.events import Recorder
from podloom.kube.controllers.indexes import index_by_node
from podloom.model.errors import PodloomError, Stale, Unavailable
from podloom.model.kube import NAMESPACES, NODES, PERSISTENTVOLUMECLAIMS, PODS, Key, Object, key_of
from podloom.plan.kube.pods import condition, is_finished, with_condition
from podloom.plan.kube.podtopology import Namespaces
from podloom.plan.kube.schedule import (
    SCHEDULER,
    Choice,
    NodeRoom,
    choose_node,
    claims_of,
    is_social,
    node_room,
)
from podloom.plan.kube.times import parse_time

_BINDINGS_AT_ONCE = 16
_LOOK_AGAIN_S = 60.0
_BREATH_S = 0.05  # after so long a batch lets the event loop run
log = structlog.get_logger()


class Scheduler:
    """Binds pods of `spec.schedulerName: default-scheduler`."""

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        self.cluster, self.record = cluster, recorder
        self.pods, self.nodes = cluster.view(PODS), cluster.view(NODES)
        self.namespaces = cluster.view(NAMESPACES)
        index_by_node(self.pods)
        self.pods.listen(self._pod_changed)
        self.nodes.listen(self._node_changed)
        self.claims = cluster.view(PERSISTENTVOLUMECLAIMS)
        self.claims.listen(lambda *_: self._retry_hopeless())
        self._dirty: dict[Key, None] = {}
        self._hopeless: dict[Key, None] = {}
        self._backoff: dict[Key, Backoff] = {}
        self._assumed: dict[Key, Object] = {}
        self._rooms: dict[str, NodeRoom] = {}
        self._turn = 0
        self._wake = asyncio.Event()
        self._bindings: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_BINDINGS_AT_ONCE)

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        key = key_of(pod)
        node = pod["spec"].get("nodeName", "")
        if old is not None and kind == "MODIFIED" and node and _takes_the_same(pod, old):
            return
        if kind == "DELETED" or node or is_finished(pod):
            assumed = self._assumed.pop(key, None)
            self._rooms.pop(node or (assumed["spec"]["nodeName"] if assumed else ""), None)
            self._dirty.pop(key, None)
            self._hopeless.pop(key, None)
            self._backoff.pop(key, None)
            if self._hopeless:
                self._retry_hopeless(only_social=kind != "DELETED" and not is_finished(pod))
        elif is_ours(pod) and key not in self._assumed and _may_change_fate(pod, old):
            self._mark(key)

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        if old is not None and kind == "MODIFIED" and not _node_matters(node, old):
            return
        self._rooms.pop(node["metadata"]["name"], None)
        if kind != "DELETED":
            self._retry_hopeless()

    def _mark(self, key: Key) -> None:
        self._hopeless.pop(key, None)
        self._dirty[key] = None
        self._wake.set()

    def _retry_hopeless(self, only_social: bool = False) -> None:
        """Look again at pods that fitted nowhere; `only_social`: those whose place depends on other pods."""
        for key in list(self._hopeless):
            pod = self.pods.objects.get(key)
            if not only_social or (pod is not None and is_social(pod)):
                self._mark(key)

    async def run(self) -> None:
        """Schedule until cancelled."""
        try:
            while True:
                try:
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await self._wake.wait()
                except TimeoutError:
                    self._retry_hopeless()
                self._wake.clear()
                await self._batch()
        finally:
            for task in self._bindings:
                task.cancel()

    async def _batch(self) -> None:
        """Place every dirty pod, the most important and oldest first."""
        pending = [pod for key in self._dirty if (pod := self.pods.objects.get(key)) is not None]
        self._dirty.clear()
        namespaces = {name: ns["metadata"].get("labels") or {} for (_, name), ns in self.namespaces.objects.items()}
        started = time.monotonic()
        for pod in sorted(pending, key=_urgency):
            if not is_ours(pod) or key_of(pod) in self._assumed:
                continue
            choice = self._choose(pod, namespaces)
            self._turn += 1
            if choice.node:
                self._assume(pod, choice.node)
            else:
                self._give_up(pod, choice.message)
            if time.monotonic() - started > _BREATH_S:
                await asyncio.sleep(0)
                started = time.monotonic()

    def _choose(self, pod: Object, namespaces: Namespaces) -> Choice:
        unbound = [c for c in claims_of(pod) if not self._is_bound(pod["metadata"]["namespace"], c)]
        if unbound:
            where = f"0/{len(self.nodes.objects)} nodes are available: "
            return Choice("", where + "pod has unbound immediate PersistentVolumeClaims.")
        try:
            return choose_node(pod, self._all_rooms(), namespaces, self._turn)
        except PodloomError as e:  # a selector or quantity that cannot be read: this pod's own fault
            return Choice("", e.message)

    def _is_bound(self, namespace: str, claim: str) -> bool:
        found = self.claims.get(claim, namespace)
        return found is not None and found.get("status", {}).get("phase") == "Bound"

    def _all_rooms(self) -> list[NodeRoom]:
        for (_, name), node in self.nodes.objects.items():
            if name not in self._rooms:
                assumed = [pod for pod in self._assumed.values() if pod["spec"]["nodeName"] == name]
                self._rooms[name] = node_room(node, [*self.pods.by("node", name), *assumed])
        return [room for name, room in self._rooms.items() if ("", name) in self.nodes.objects]

    def _assume(self, pod: Object, node: str) -> None:
        placed = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        self._assumed[key_of(pod)] = placed
        self._rooms[node].add(placed)
        self._spawn(self._bind(pod, node))

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._bindings.add(task)
        task.add_done_callback(self._bindings.discard)

    async def _bind(self, pod: Object, node: str) -> None:
        namespace, name = key = key_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            async with self._slots:
                await self.cluster.client.create(PODS, binding, namespace=namespace, name=name, subresource="binding")
        except PodloomError as e:
            say = log.debug if isinstance(e, Stale | Unavailable) else log.warning
            say("scheduler.bind", pod=f"{namespace}/{name}", node=node, error=e.message)
            await self._bind_failed(key, node, e)
            return
        self.record.note(PODS, pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    async def _bind_failed(self, key: Key, node: str, error: PodloomError) -> None:
        """The outcome may be unknown: the server's copy decides, after a wait that grows with each failure."""
        namespace, name = key
        wait = self._backoff.setdefault(key, Backoff(0.05, 10.0))
        while True:
            await asyncio.sleep(wait.next_s())
            try:
                found = await self.cluster.client.get(PODS, name, namespace)
                break
            except KubeError as e:
                if e.not_found:
                    found = {}
                    break
            except PodloomError:
                continue
        if self._assumed.pop(key, None) is not None:
            self._rooms.pop(node, None)
        if found:
            self.pods.informer.observe(found)
            if is_ours(found):
                self._mark(key)

    def _give_up(self, pod: Object, message: str) -> None:
        self._hopeless[key_of(pod)] = None
        self.record.warn(PODS, pod, "FailedScheduling", message)
        old = condition(pod, "PodScheduled")
        if (old.get("status"), old.get("message")) != ("False", message):
            self._spawn(self._explain(pod, message))

    async def _explain(self, pod: Object, message: str) -> None:
        new = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        if pod["metadata"].get("generation"):
            new["observedGeneration"] = pod["metadata"]["generation"]
        conditions = with_condition(pod.get("status", {}).get("conditions"), new, self.cluster.now())
        body = {
            "metadata": {"resourceVersion": pod["metadata"]["resourceVersion"]},
            "status": {"conditions": conditions},
        }
        try:
            async with self._slots:
                await self.cluster.patch(PODS, pod, body, subresource="status")
        except PodloomError as e:
            log.debug("scheduler.explain", pod=pod["metadata"]["name"], error=e.message)


def is_ours(pod: Object) -> bool:
    """Pending, not gated, not being deleted, and of this scheduler."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not spec.get("schedulingGates")
        and not pod["metadata"].get("deletionTimestamp")
        and not is_finished(pod)
        and spec.get("schedulerName", SCHEDULER) == SCHEDULER
    )


def _may_change_fate(pod: Object, old: Object | None) -> bool:
    """A new pod, or one whose spec or labels changed (status changes, ours among them, do not matter)."""
    if old is None:
        return True
    labels = [o["metadata"].get("labels") for o in (pod, old)]
    return bool(pod["spec"] != old["spec"] or labels[0] != labels[1])


def _takes_the_same(pod: Object, old: Object) -> bool:
    """Whether a bound pod takes the room it took before."""
    same_node = old["spec"].get("nodeName") == pod["spec"].get("nodeName")
    return same_node and is_finished(pod) == is_finished(old)


def _node_matters(node: Object, old: Object) -> bool:
    """Whether a change of a node may matter to scheduling (heartbeats do not)."""
    parts = [(o.get("spec"), o["metadata"].get("labels"), o.get("status", {}).get("allocatable")) for o in (node, old)]
    return bool(parts[0] != parts[1])


def _urgency(pod: Object) -> tuple[int, float, str]:
    meta = pod["metadata"]
    return (-int(pod["spec"].get("priority") or 0), parse_time(meta.get("creationTimestamp")), meta["name"])
