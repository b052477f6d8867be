"""Nodes: what a node runtime registers, and what it may not change."""

from __future__ import annotations

from typing import Any

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import formats, noderules
from podloom.kube.api.kinds.base import BuiltIn, keep
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.quantity import canonicalise
from podloom.kube.api.kinds.show import NONE, UNKNOWN, text

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)


def _status(node: Object) -> Object:
    return node.get("status") or {}


def _info(field: str, none: str = UNKNOWN) -> Any:
    return lambda node, _: (_status(node).get("nodeInfo") or {}).get(field) or none


def _ready(node: Object, _: str) -> str:
    states = {c.get("type"): c.get("status") for c in _status(node).get("conditions") or []}
    shown = ["Unknown" if "Ready" not in states else "Ready" if states["Ready"] == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        shown.append("SchedulingDisabled")
    return ",".join(shown)


def _roles(node: Object, _: str) -> str:
    prefix = "node-role.kubernetes.io/"
    found: set[str] = set()
    for key, value in (node["metadata"].get("labels") or {}).items():
        if key.startswith(prefix) and len(key) > len(prefix):
            found.add(key[len(prefix) :])
        elif key == "kubernetes.io/role" and value:
            found.add(value)
    return ",".join(sorted(found)) or NONE


def _address(kind: str) -> Any:
    def cell(node: Object, _: str) -> str:
        found = [a["address"] for a in _status(node).get("addresses") or [] if a.get("type") == kind]
        return found[0] if found else NONE

    return cell


def _kernel(node: Object, _: str) -> str:
    info = _status(node).get("nodeInfo") or {}
    kernel, architecture = info.get("kernelVersion") or UNKNOWN, info.get("architecture")
    return f"{kernel} ({architecture})" if architecture else kernel


class NodeKind(BuiltIn):
    """A new node carries the not-ready taint until its runtime reports (admission TaintNodesByCondition)."""

    name_rule = "subdomain"
    printed = (
        (text("Status", "The status of the node"), _ready),
        (text("Roles", "The roles of the node"), _roles),
        (text("Version", "nodesysteminfo-v1.kubeletVersion"), _info("kubeletVersion", "")),
        (text("Internal-IP", "nodestatus-v1.addresses", 1), _address("InternalIP")),
        (text("External-IP", "nodestatus-v1.addresses", 1), _address("ExternalIP")),
        (text("OS-Image", "nodesysteminfo-v1.osImage", 1), _info("osImage")),
        (text("Kernel-Version", "nodesysteminfo-v1.kernelVersion", 1), _kernel),
        (text("Container-Runtime", "nodesysteminfo-v1.containerRuntimeVersion", 1), _info("containerRuntimeVersion")),
    )
    field_labels = ("spec.unschedulable",)
    unknown_field_label = "field label not supported: {label}"

    def columns(self) -> Any:
        """Version stands behind Age."""
        name, status, roles, version, age, *wide = super().columns()
        return [name, status, roles, age, version, *wide]

    def cells(self, obj: Object, now: str) -> list[Any]:
        name, status, roles, version, age, *wide = super().cells(obj, now)
        return [name, status, roles, age, version, *wide]

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None:
        noderules.restrict_node(obj, ctx)
        if ctx.verb == "create":
            spec = obj["spec"] = obj.get("spec") or {}
            taints = spec["taints"] = spec.get("taints") or []
            if not any(t.get("key") == NOT_READY["key"] for t in taints):
                taints.append(dict(NOT_READY))

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]
        elif spec.get("podCIDRs") and not spec.get("podCIDR"):
            spec["podCIDR"] = spec["podCIDRs"][0]
        if spec.get("unschedulable") is False:
            del spec["unschedulable"]
        status = obj["status"] = obj.get("status") or {}
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])
        for field in ("capacity", "allocatable"):
            canonicalise(status.get(field))
        endpoint = status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {})
        endpoint.setdefault("Port", 0)
        info = status.setdefault("nodeInfo", {})
        for field in _INFO:
            info.setdefault(field, "")
        for condition in status.get("conditions") or []:
            condition.setdefault("lastHeartbeatTime", None)
            condition.setdefault("lastTransitionTime", None)

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource != "status":
            keep(obj, old, "status")

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        seen: set[tuple[str, str]] = set()
        for i, taint in enumerate(obj["spec"].get("taints") or []):
            where, key, effect = f"spec.taints[{i}]", taint.get("key", ""), taint.get("effect", "")
            report.format(f"{where}.key", key, formats.qualified_name)
            report.format(f"{where}.value", taint.get("value", ""), formats.label_value)
            report.one_of(f"{where}.effect", effect, EFFECTS)
            if (key, effect) in seen:
                report.duplicate(where, taint)
            seen.add((key, effect))
        for i, cidr in enumerate(obj["spec"].get("podCIDRs") or []):
            report.format(f"spec.podCIDRs[{i}]", cidr, formats.cidr)

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        before, after = old.get("spec") or {}, obj["spec"]
        if before.get("podCIDRs") and after.get("podCIDRs") != before["podCIDRs"]:
            report.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
        if before.get("providerID") and after.get("providerID") != before["providerID"]:
            report.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')

    def field_values(self, obj: Object) -> dict[str, str]:
        return {"spec.unschedulable": str(bool((obj.get("spec") or {}).get("unschedulable"))).lower()}
