"""The Node object a kubelet registers, and its status (Kubernetes docs, "Node Status")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podloom.model.runtime import Condition, Image
from podloom.model.versions import GIT_VERSION
from podloom.plan.kubelet.fields import NodeFacts

Out = dict[str, Any]
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


@dataclass(frozen=True)
class NodeReport:
    """What the kubelet knows of its node now."""

    facts: NodeFacts
    labels: Mapping[str, str]
    taints: Sequence[str]
    provider_id: str
    port: int
    runtime_version: str
    conditions: tuple[Condition, ...]
    runtime_trouble: str
    images: tuple[Image, ...]
    system: Mapping[str, str]
    now: str
    extra: Mapping[str, str] = field(default_factory=dict)


def _taint(text: str) -> Out:
    """key[=value]:Effect."""
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def plan_node(report: NodeReport) -> Out:
    """The Node to register: labels every node carries, and the settings'."""
    name, system = report.facts.name, report.system
    labels = {
        "beta.kubernetes.io/arch": system["architecture"],
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": system["architecture"],
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        **report.labels,
    }
    spec: Out = {}
    if report.taints:
        spec["taints"] = [_taint(one) for one in report.taints]
    if report.provider_id:
        spec["providerID"] = report.provider_id
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec}


def _ready(report: NodeReport) -> Out:
    """Ready, or what is missing: the runtime itself, or one of its conditions."""
    problems = (
        [] if report.conditions or report.runtime_trouble else ["container runtime status unknown: no answer yet"]
    )
    if report.runtime_trouble:
        problems.append(f"container runtime is down: {report.runtime_trouble}")
    for one in report.conditions:
        if not one.status and one.type in ("RuntimeReady", "NetworkReady"):  # others are advice
            what = "network" if one.type == "NetworkReady" else "runtime"
            head = "container runtime network not ready" if what == "network" else "container runtime not ready"
            problems.append(f"{head}: {one.type}=false reason:{one.reason} message:{one.message}")
    if problems:
        return {
            "type": "Ready",
            "status": "False",
            "reason": "KubeletNotReady",
            "message": "[" + ", ".join(problems) + "]" if len(problems) > 1 else problems[0],
        }
    return {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}


def _conditions(report: NodeReport, old: Mapping[str, Any]) -> list[Out]:
    before = {one["type"]: one for one in old.get("conditions") or ()}
    wanted: list[Out] = [
        {"type": kind, "status": "False", "reason": reason, "message": message} for kind, reason, message in _PRESSURES
    ]
    wanted.append(_ready(report))
    out = []
    for one in wanted:
        was = before.get(one["type"]) or {}
        since = was.get("lastTransitionTime") if was.get("status") == one["status"] else report.now
        out.append({**one, "lastHeartbeatTime": report.now, "lastTransitionTime": since or report.now})
    ours = {one["type"] for one in wanted}
    return [one for kind, one in before.items() if kind not in ours] + out


def _images(images: Sequence[Image]) -> list[Out]:
    return [
        {"names": [*one.digests, *one.tags], "sizeBytes": one.size_bytes} for one in images if one.digests or one.tags
    ]


def plan_node_status(report: NodeReport, old: Mapping[str, Any]) -> Out:
    """The whole status; transition times kept from `old`."""
    resources = dict(report.facts.allocatable)
    addresses = [{"type": "InternalIP", "address": ip} for ip in report.facts.ips]
    return {
        "addresses": [*addresses, {"type": "Hostname", "address": report.facts.name}],
        "allocatable": resources,
        "capacity": resources,
        "conditions": _conditions(report, old),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": report.port}},
        "images": _images(report.images),
        "nodeInfo": {
            **report.system,
            "containerRuntimeVersion": report.runtime_version or "containerd://unknown",
            "kubeletVersion": GIT_VERSION,
            "kubeProxyVersion": "",
        },
    }
