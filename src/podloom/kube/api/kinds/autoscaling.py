"""HorizontalPodAutoscalers, served as v1 and v2 and stored as v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from podloom.kube.api.contract import Column, Context, Object
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import text
from podloom.kube.api.kinds.workloads import spec_of, status_of


def _cpu_metric(percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _cpu_target(metrics: Sequence[Object]) -> int | None:
    for metric in metrics:
        resource = metric.get("resource") or {}
        if metric.get("type") == "Resource" and resource.get("name") == "cpu":
            found: int | None = (resource.get("target") or {}).get("averageUtilization")
            return found
    return None


def _targets(obj: Object, _: str) -> str:
    shown = []
    for metric in spec_of(obj).get("metrics") or []:
        resource = metric.get("resource") or {}
        target = (resource.get("target") or {}).get("averageUtilization")
        if target is not None:
            shown.append(f"{resource.get('name', '')}: <unknown>/{target}%")
    return ", ".join(shown) or "<none>"


def _reference(obj: Object, _: str) -> str:
    ref = spec_of(obj).get("scaleTargetRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


class AutoscalerKind(BuiltIn):
    """A HorizontalPodAutoscaler as stored (autoscaling/v2)."""

    has_status = True
    initial_status: ClassVar[Object | None] = {"desiredReplicas": 0, "currentMetrics": None}
    printed: ClassVar[Sequence[tuple[Column, Any]]] = (
        (text("Reference", "horizontalpodautoscalerspec-autoscaling-v2.scaleTargetRef"), _reference),
        (text("Targets", "horizontalpodautoscalerspec-autoscaling-v2.metrics"), _targets),
        (
            text("MinPods", "horizontalpodautoscalerspec-autoscaling-v2.minReplicas"),
            lambda o, _: str(spec_of(o).get("minReplicas", "<unset>")),
        ),
        (
            text("MaxPods", "horizontalpodautoscalerspec-autoscaling-v2.maxReplicas"),
            lambda o, _: spec_of(o).get("maxReplicas", 0),
        ),
        (
            text("Replicas", "horizontalpodautoscalerstatus-autoscaling-v2.currentReplicas"),
            lambda o, _: status_of(o, "currentReplicas"),
        ),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1
        if not spec.get("metrics"):
            spec["metrics"] = [_cpu_metric(80)]

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = spec_of(obj)
        low, high = spec.get("minReplicas"), spec.get("maxReplicas") or 0
        if low is not None and low < 1:
            report.invalid("spec.minReplicas", low, "must be greater than or equal to 1")
        if high < 1:
            report.invalid("spec.maxReplicas", high, "must be greater than 0")
        elif low is not None and high < low:
            report.invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`")
        for field in ("kind", "name"):
            if not (spec.get("scaleTargetRef") or {}).get(field):
                report.required(f"spec.scaleTargetRef.{field}")


class AutoscalerV1Kind(AutoscalerKind):
    """autoscaling/v1 knows the cpu target only."""

    initial_status: ClassVar[Object | None] = {"currentReplicas": 0, "desiredReplicas": 0}

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        if spec.get("minReplicas") is None:
            spec["minReplicas"] = 1
        if spec.get("targetCPUUtilizationPercentage") is None:
            spec["targetCPUUtilizationPercentage"] = 80

    def to_storage(self, obj: Object) -> Object:
        spec = dict(spec_of(obj))
        percent = spec.pop("targetCPUUtilizationPercentage", None)
        if percent is not None:
            spec["metrics"] = [_cpu_metric(percent)]
        status = {"currentMetrics": None, **(obj.get("status") or {})}
        status.pop("currentCPUUtilizationPercentage", None)
        return {**obj, "spec": spec, "status": status}

    def from_storage(self, obj: Object) -> Object:
        spec = dict(spec_of(obj))
        percent = _cpu_target(spec.pop("metrics", None) or [])
        spec.pop("behavior", None)
        if percent is not None:
            spec["targetCPUUtilizationPercentage"] = percent
        status = {"currentReplicas": 0, "desiredReplicas": 0, **(obj.get("status") or {})}
        for field in ("currentMetrics", "conditions"):
            status.pop(field, None)
        return {**obj, "spec": spec, "status": status}
