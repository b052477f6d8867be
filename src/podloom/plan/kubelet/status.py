"""A pod's status as clients expect it: phase, conditions, container states, addresses.

The problem: kubectl, controllers and `kubectl wait` read the fields exactly as the upstream kubelet writes them
(Kubernetes docs, "Pod Lifecycle"). The whole status is recomputed from the runtime's report; only what others
own (their conditions) and what must not move back (a terminal phase, transition times) is taken from before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from podloom.model.runtime import Container, State
from podloom.plan.kubelet.fields import NodeFacts
from podloom.plan.kubelet.probe import Health
from podloom.plan.kubelet.resources import qos_class
from podloom.plan.kubelet.sync import PodRuntime, is_sidecar, should_restart

Object = Mapping[str, Any]
Out = dict[str, Any]
OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True)
class StatusInputs:
    """What a status is computed from besides the pod; `problems`: container -> (reason, message) it waits for."""

    runtime: PodRuntime
    node: NodeFacts
    now: str  # RFC 3339
    health: Mapping[str, Health] = field(default_factory=dict)
    problems: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)  # container id -> termination message
    ending: bool = False  # the pod is being stopped: dead containers stay dead


def rfc3339(ns: int) -> str | None:
    """Seconds precision, Z; None for 0."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if ns else None


def _terminated(container: Container, messages: Mapping[str, str]) -> Out:
    known = container.state is State.EXITED
    out: Out = {
        "exitCode": container.exit_code if known else 137,
        "reason": (container.reason or ("Completed" if container.exit_code == 0 else "Error"))
        if known
        else "ContainerStatusUnknown",
    }
    message = messages.get(container.id) or container.message
    if message:
        out["message"] = message
    out["startedAt"] = rfc3339(container.started_at_ns)
    out["finishedAt"] = rfc3339(container.finished_at_ns)
    out["containerID"] = f"containerd://{container.id}"
    return {"terminated": out}


def _waiting(reason: str, message: str = "") -> Out:
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def _states(container: Object, inputs: StatusInputs, default: str) -> tuple[Out, Out]:
    """(state, lastState) of a container."""
    runtime, name = inputs.runtime, container["name"]
    latest, before = runtime.latest(name), runtime.previous(name)
    last = _terminated(before, inputs.messages) if before and before.state is State.EXITED else {}
    problem = inputs.problems.get(name)
    if latest is None:
        return _waiting(*problem) if problem else _waiting(default), {}
    if latest.state is State.RUNNING:
        return {"running": {"startedAt": rfc3339(latest.started_at_ns)}}, last
    if latest.state is State.CREATED:
        return _waiting(*(problem or (default, ""))), last
    if problem and not inputs.ending:
        return _waiting(*problem), _terminated(latest, inputs.messages)
    return _terminated(latest, inputs.messages), last


def _container_status(container: Object, inputs: StatusInputs, default: str, *, init: bool) -> Out:
    state, last = _states(container, inputs, default)
    latest = inputs.runtime.latest(container["name"])
    health = inputs.health.get(latest.id) if latest else None
    running = "running" in state
    started = running and (not container.get("startupProbe") or bool(health and health.started))
    if init and not is_sidecar(container):
        ready = state.get("terminated", {}).get("exitCode") == 0
        started = False
    else:
        ready = running and started and (not container.get("readinessProbe") or bool(health and health.ready))
    out: Out = {
        "name": container["name"],
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": latest.restart_count if latest else 0,
        "image": latest.image
        if latest and latest.image and "sha256:" not in latest.image
        else container.get("image", ""),
        "imageID": latest.image_ref if latest else "",
    }
    if latest:
        out["containerID"] = f"containerd://{latest.id}"
    out["started"] = started
    return out


def _ephemeral_status(container: Object, inputs: StatusInputs) -> Out:
    """Never ready, and nothing of the pod's depends on it."""
    status = _container_status(container, inputs, "ContainerCreating", init=False) | {"ready": False}
    return {key: value for key, value in status.items() if key != "started"}


def _init_counts(specs: Sequence[Object], statuses: Sequence[Out]) -> tuple[int, int]:
    """(pending, failed) init containers."""
    pending = failed = 0
    for spec, status in zip(specs, statuses, strict=True):
        state, last = status["state"], status["lastState"].get("terminated")
        if is_sidecar(spec):
            pending += not (status["started"] or "terminated" in state or last)
        elif "terminated" in state:
            failed += state["terminated"]["exitCode"] != 0
        elif "waiting" in state and last and last["exitCode"] != 0:
            failed += 1
        else:
            pending += 1
    return pending, failed


def pod_phase(pod: Object, init: Sequence[Out], mains: Sequence[Out]) -> str:
    """Pending, Running, Succeeded or Failed by the containers' states (kubelet getPhase)."""
    policy = pod["spec"].get("restartPolicy") or "Always"
    pending, failed = _init_counts(pod["spec"].get("initContainers") or (), init)
    counts = {"running": 0, "waiting": 0, "stopped": 0, "succeeded": 0}
    for status in mains:
        state, last = status["state"], status["lastState"].get("terminated")
        if "running" in state:
            counts["running"] += 1
        elif "terminated" in state:
            counts["stopped"] += 1
            counts["succeeded"] += state["terminated"]["exitCode"] == 0
        else:
            counts["stopped" if last else "waiting"] += 1
    began = counts["running"] + counts["stopped"] > 0
    if failed and policy == "Never":
        return "Failed"
    if (pending or failed) and not began:
        return "Pending"
    if counts["waiting"]:
        return "Pending"
    if counts["running"]:
        return "Running"
    if counts["stopped"]:
        if policy == "Always":
            return "Running"
        if counts["succeeded"] == counts["stopped"]:
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    return "Pending"


def _listed(names: Sequence[str]) -> str:
    return "[" + " ".join(names) + "]"


def _ready_conditions(pod: Object, phase: str, mains: Sequence[Out], sidecars: Sequence[Out]) -> list[Out]:
    """ContainersReady and Ready; Ready also asks the pod's readiness gates."""
    unready = [one["name"] for one in (*sidecars, *mains) if not one["ready"]]
    if phase == "Succeeded":
        both: Out = {"status": "False", "reason": "PodCompleted"}
    elif phase == "Failed":
        both = {"status": "False", "reason": "PodFailed"}
    elif unready:
        message = f"containers with unready status: {_listed(unready)}"
        both = {"status": "False", "reason": "ContainersNotReady", "message": message}
    else:
        both = {"status": "True"}
    ready = dict(both)
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    true = {c["type"] for c in (pod.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    missing = [gate for gate in gates if gate not in true]
    if both["status"] == "True" and missing:
        text = "; ".join(f'corresponding condition of pod readiness gate "{gate}" does not exist.' for gate in missing)
        ready = {"status": "False", "reason": "ReadinessGatesNotReady", "message": text}
    return [{"type": "Ready", **ready}, {"type": "ContainersReady", **both}]


def _initialized(pod: Object, phase: str, init: Sequence[Out], mains: Sequence[Out]) -> Out:
    specs = pod["spec"].get("initContainers") or ()
    began = any("waiting" not in one["state"] or one["lastState"] for one in mains)
    undone = [
        status["name"]
        for spec, status in zip(specs, init, strict=True)
        if not (status["started"] if is_sidecar(spec) else status["ready"])
    ]
    if phase == "Succeeded" or began or not undone:
        reason = {"reason": "PodCompleted"} if phase == "Succeeded" else {}
        return {"type": "Initialized", "status": "True", **reason}
    message = f"containers with incomplete status: {_listed(undone)}"
    return {"type": "Initialized", "status": "False", "reason": "ContainersNotInitialized", "message": message}


def _conditions(pod: Object, phase: str, init: Sequence[Out], mains: Sequence[Out], inputs: StatusInputs) -> list[Out]:
    sandbox = inputs.runtime.sandbox
    network = bool(sandbox and sandbox.ready and (sandbox.ips or pod["spec"].get("hostNetwork")))
    specs = pod["spec"].get("initContainers") or ()
    sidecars = [status for spec, status in zip(specs, init, strict=True) if is_sidecar(spec)]
    wanted = [
        {"type": "PodReadyToStartContainers", "status": "True" if network else "False"},
        _initialized(pod, phase, init, mains),
        *_ready_conditions(pod, phase, mains, sidecars),
        {"type": "PodScheduled", "status": "True"},
    ]
    return with_transitions(wanted, pod, inputs.now)


def with_transitions(wanted: Sequence[Out], pod: Object, now: str) -> list[Out]:
    """The conditions with transition times kept where the status did not change, and others' conditions kept."""
    before = {one["type"]: one for one in (pod.get("status") or {}).get("conditions") or ()}
    out = []
    for one in wanted:
        old = before.get(one["type"])
        same = old is not None and old.get("status") == one["status"]
        since = (old or {}).get("lastTransitionTime") if same else now
        out.append(
            {"type": one["type"], "status": one["status"], "lastProbeTime": None, "lastTransitionTime": since} | one
        )
    return out + [one for kind, one in before.items() if kind not in OWNED]


def pod_ips(pod: Object, inputs: StatusInputs, phase: str) -> list[str]:
    """The sandbox's addresses, the node's for hostNetwork; an ended pod keeps what it had."""
    if pod["spec"].get("hostNetwork"):
        return list(inputs.node.ips)
    sandbox = inputs.runtime.sandbox
    if sandbox and sandbox.ready and sandbox.ips:
        return list(sandbox.ips)
    if phase in TERMINAL or inputs.ending:
        return [one["ip"] for one in (pod.get("status") or {}).get("podIPs") or ()]
    return []


def plan_status(pod: Object, inputs: StatusInputs) -> Out:
    """The pod's whole status."""
    old = pod.get("status") or {}
    init_specs, main_specs = pod["spec"].get("initContainers") or (), pod["spec"]["containers"]
    default = "PodInitializing" if init_specs else "ContainerCreating"
    init = [_container_status(one, inputs, default, init=True) for one in init_specs]
    mains = [_container_status(one, inputs, default, init=False) for one in main_specs]
    phase = old["phase"] if old.get("phase") in TERMINAL else pod_phase(pod, init, mains)
    if inputs.ending and phase not in TERMINAL:
        phase = _ended_phase(phase, inputs.runtime, mains)
    ips = pod_ips(pod, inputs, phase)
    host_ips = list(inputs.node.ips)
    out: Out = {
        "phase": phase,
        "conditions": _conditions(pod, phase, init, mains, inputs),
        "hostIP": host_ips[0] if host_ips else "",
        "hostIPs": [{"ip": ip} for ip in host_ips],
        "startTime": old.get("startTime") or inputs.now,
        "containerStatuses": mains,
        "qosClass": old.get("qosClass") or qos_class(pod),
    }
    if ips:
        out |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if init:
        out["initContainerStatuses"] = init
    if ephemeral := pod["spec"].get("ephemeralContainers"):
        out["ephemeralContainerStatuses"] = [_ephemeral_status(one, inputs) for one in ephemeral]
    for key in ("reason", "message", "nominatedNodeName"):
        if old.get(key):
            out[key] = old[key]
    return out


def _ended_phase(phase: str, runtime: PodRuntime, mains: Sequence[Out]) -> str:
    """A stopped pod whose containers have all ended is Succeeded or Failed, whatever its restart policy."""
    if any(one.state is State.RUNNING for one in runtime.containers):
        return phase
    ended = [one["state"]["terminated"]["exitCode"] for one in mains if "terminated" in one["state"]]
    if len(ended) < len(mains) or not ended:
        return "Failed" if runtime.containers else phase
    return "Succeeded" if not any(ended) else "Failed"


def is_finished(pod: Object, runtime: PodRuntime) -> bool:
    """All main containers have ended for good: nothing will be started again."""
    policy = pod["spec"].get("restartPolicy") or "Always"
    if policy == "Always":
        return False
    for container in pod["spec"].get("initContainers") or ():
        last = runtime.latest(container["name"])
        if policy == "Never" and last and last.state is State.EXITED and last.exit_code and not is_sidecar(container):
            return True
    ended = [runtime.latest(one["name"]) for one in pod["spec"]["containers"]]
    began = any(one.state is not State.CREATED for one in runtime.containers)
    if policy == "Never" and began and not any(one.ready for one in runtime.sandboxes):
        return True  # it gets no second sandbox
    return all(one is not None and one.state is State.EXITED and not should_restart(policy, one) for one in ended)


def failed_status(pod: Object, reason: str, message: str, now: str) -> Out:
    """The status of a pod this node ends or does not take: Failed with its reason (OutOfpods, DeadlineExceeded)."""
    old = dict(pod.get("status") or {})
    return {
        **old,
        "phase": "Failed",
        "reason": reason,
        "message": message,
        "startTime": old.get("startTime") or now,
        "qosClass": old.get("qosClass") or qos_class(pod),
    }
