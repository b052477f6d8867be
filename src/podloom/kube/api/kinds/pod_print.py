"""How `kubectl get pods` describes a pod (kubernetes printers/internalversion, printPod).

The problem: STATUS is not a field. It is the most telling of phase, reason, container states and deletion, in an
order people rely on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds.show import NONE, age


@dataclass
class _Tally:
    reason: str
    restarts: int = 0
    restarted: str = ""
    ready: int = 0

    def count(self, container: Object) -> None:
        self.restarts += container.get("restartCount") or 0
        finished = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.restarted = max(self.restarted, finished)


def _status(pod: Object) -> Object:
    return pod.get("status") or {}


def _condition(pod: Object, kind: str) -> Object:
    found = [c for c in _status(pod).get("conditions") or [] if c.get("type") == kind]
    return found[0] if found else {}


def _sidecars(pod: Object) -> set[str]:
    inits = (pod.get("spec") or {}).get("initContainers") or []
    return {c.get("name", "") for c in inits if c.get("restartPolicy") == "Always"}


def _ended(prefix: str, terminated: Object) -> str:
    if terminated.get("reason"):
        return f"{prefix}{terminated['reason']}"
    if terminated.get("signal"):
        return f"{prefix}Signal:{terminated['signal']}"
    return f"{prefix}ExitCode:{terminated.get('exitCode', 0)}"


def _initialise(pod: Object, tally: _Tally, beside: _Tally) -> bool:
    """Read the init containers; True while one of them holds the pod up. `beside` counts the sidecars only."""
    sidecars = _sidecars(pod)
    total = len((pod.get("spec") or {}).get("initContainers") or [])
    for i, container in enumerate(_status(pod).get("initContainerStatuses") or []):
        tally.count(container)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            beside.count(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            beside.ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            tally.reason = _ended("Init:", terminated)
        elif waiting.get("reason") not in (None, "", "PodInitializing"):
            tally.reason = f"Init:{waiting['reason']}"
        else:
            tally.reason = f"Init:{i}/{total}"
        return True
    return False


def _run(pod: Object, tally: _Tally) -> None:
    running = False
    for container in reversed(_status(pod).get("containerStatuses") or []):
        tally.count(container)
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            tally.reason = waiting["reason"]
        elif terminated is not None:
            tally.reason = _ended("", terminated)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            tally.ready += 1
    if tally.reason == "Completed" and running:
        tally.reason = "Running" if _condition(pod, "Ready").get("status") == "True" else "NotReady"


def _tally(pod: Object) -> _Tally:
    status = _status(pod)
    reason = status.get("reason") or status.get("phase", "")
    if _condition(pod, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    tally, beside = _Tally(reason), _Tally(reason)
    initialising = _initialise(pod, tally, beside)
    tally.ready = beside.ready
    if not initialising or _condition(pod, "Initialized").get("status") == "True":
        tally.restarts, tally.restarted = beside.restarts, beside.restarted
        _run(pod, tally)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            tally.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            tally.reason = "Terminating"
    return tally


def _gates(pod: Object) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or []
    if not gates:
        return NONE
    true = sum(_condition(pod, gate.get("conditionType", "")).get("status") == "True" for gate in gates)
    return f"{true}/{len(gates)}"


def cells(pod: Object, now: str) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    tally, spec, status = _tally(pod), pod.get("spec") or {}, _status(pod)
    total = len(spec.get("containers") or []) + len(_sidecars(pod))
    restarts = str(tally.restarts)
    if tally.restarts and tally.restarted:
        restarts = f"{restarts} ({age(tally.restarted, now)} ago)"
    ips = status.get("podIPs") or []
    return [
        pod["metadata"]["name"],
        f"{tally.ready}/{total}",
        tally.reason,
        restarts,
        age(pod["metadata"].get("creationTimestamp"), now),
        (ips[0].get("ip") if ips else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(pod),
    ]


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers (kubernetes qos.ComputePodQOS)."""
    requests: dict[str, bool] = {}
    guaranteed = True
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or []:
            resources = container.get("resources") or {}
            asked, limits = resources.get("requests") or {}, resources.get("limits") or {}
            for name in ("cpu", "memory"):
                if _some(asked.get(name)) or _some(limits.get(name)):
                    requests[name] = True
                if not _some(limits.get(name)) or asked.get(name, limits.get(name)) != limits.get(name):
                    guaranteed = False
    if not requests:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _some(value: Any) -> bool:
    return value not in (None, "", "0", 0)
