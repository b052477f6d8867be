"""Pods: from admission to the printed row, and what happens through their subresources."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from podloom.kube.api.contract import Answer, Column, Context, Object, Write
from podloom.kube.api.kinds import (
    noderules,
    pod_admit,
    pod_change,
    pod_check,
    pod_defaults,
    pod_print,
    pod_security,
    pod_subresources,
    quotas,
)
from podloom.kube.api.kinds.base import BuiltIn, count_generation, keep
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import age_column, name_column, text


class PodKind(BuiltIn):
    """A pod: completed by admission, then fixed but for images, deadlines and tolerations."""

    returns_deleted = True
    field_labels = (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    )
    unknown_field_label = "field label not supported: {label}"

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None:
        noderules.restrict_pod(obj, old, ctx)
        if ctx.verb == "create" and not ctx.subresource:
            pod_admit.admit(obj, ctx)
            quotas.admit("pods", obj, ctx)
        if ctx.verb in ("create", "update", "patch", "apply") and ctx.subresource in ("", "ephemeralcontainers"):
            pod_security.admit(obj, ctx)

    def default(self, obj: Object, ctx: Context) -> None:
        pod_defaults.pod(obj)

    def prepare_create(self, obj: Object, ctx: Context) -> None:
        obj["metadata"]["generation"] = 1
        obj["status"] = {"phase": "Pending", "qosClass": pod_print.qos_class(obj["spec"])}
        if obj["spec"].get("schedulingGates"):
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]

    def prepare_update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "status":
            self.default(obj, ctx)
            quality = (old.get("status") or {}).get("qosClass")
            if quality:
                obj.setdefault("status", {})["qosClass"] = quality
            return
        if ctx.subresource in ("ephemeralcontainers", "resize"):
            pod_subresources.take_over(obj, old, ctx.subresource)
        else:
            keep(obj, old, "status")
        count_generation(obj, old)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        if old is None:
            pod_check.check_spec(report, obj["spec"])

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "ephemeralcontainers":
            pod_change.check_ephemeral(report, obj["spec"], old["spec"])
        elif ctx.subresource == "resize":
            pod_check.check_spec(report, obj["spec"])
        else:
            pod_change.check(report, obj["spec"], old["spec"])

    def after_store(self, obj: Object, old: Object | None, ctx: Context) -> Sequence[Write]:
        return quotas.status_writes(obj, old, ctx)

    def after_delete(self, obj: Object, ctx: Context) -> Sequence[Write]:
        return quotas.status_writes(obj, obj, ctx)

    def post_subresource(self, body: Object, current: Object, ctx: Context) -> Answer:
        if ctx.subresource == "binding":
            return pod_subresources.bind(body, current, ctx)
        if ctx.subresource == "eviction":
            return pod_subresources.evict(body, current, ctx)
        return super().post_subresource(body, current, ctx)

    def columns(self) -> Sequence[Column]:
        return [
            name_column(),
            text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
            text("Status", "The aggregate status of the containers in this pod."),
            text(
                "Restarts",
                "The number of times the containers in this pod have been restarted and when the last container in"
                " this pod has restarted.",
            ),
            age_column(),
            text("IP", "podstatus-v1.podIP", 1),
            text("Node", "podspec-v1.nodeName", 1),
            text("Nominated Node", "podstatus-v1.nominatedNodeName", 1),
            text("Readiness Gates", "podspec-v1.readinessGates", 1),
        ]

    def cells(self, obj: Object, now: str) -> list[Any]:
        return pod_print.cells(obj, now)

    def field_values(self, obj: Object) -> dict[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        ips = ",".join(ip.get("ip", "") for ip in status.get("podIPs") or [])
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": str(bool(spec.get("hostNetwork"))).lower(),
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.podIPs": ips,
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def graceful_delete_s(self, obj: Object, requested_s: int | None) -> int:
        """The requested seconds, else the pod's own; none where nothing runs (kubernetes CheckGracefulDelete)."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        period = spec.get("terminationGracePeriodSeconds") or 0 if requested_s is None else requested_s
        if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
            return 0
        return 1 if period < 0 else int(period)


class PodTemplateKind(BuiltIn):
    """A pod template by itself."""

    returns_deleted = True
    generation = True

    def default(self, obj: Object, ctx: Context) -> None:
        template = obj["template"] = obj.get("template") or {}
        pod_defaults.template(template.setdefault("spec", {}))

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        pod_check.check_template(report, deepcopy(obj["template"]), "template")
