"""ResourceQuotas and LimitRanges: their own rules, and the count of objects a quota allows.

The problem: a namespace may bound how much of what it holds. Usage is counted from the stored objects at each
create, so it cannot drift; the status a controller would keep is written along with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from podloom.kube.api.contract import Column, Context, Object, Write
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn, forbidden
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.quantity import amount, canonical, canonicalise
from podloom.kube.api.kinds.show import age_column, name_column, text
from podloom.kube.api.kinds.types import type_of

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_LIMIT_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


def _ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def pod_usage(pod: Object) -> dict[str, Fraction]:
    """What one pod takes of every quota name."""
    usage: dict[str, Fraction] = {"pods": Fraction(1), "count/pods": Fraction(1)}
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        for field, prefix in (("requests", "requests."), ("limits", "limits.")):
            for name, value in (resources.get(field) or {}).items():
                for key in (prefix + name, *([name] if field == "requests" else [])):
                    usage[key] = usage.get(key, Fraction(0)) + amount(value)
    return usage


def admit(plural: str, obj: Object, ctx: Context) -> None:
    """403 when the new object would pass a hard limit of the namespace's quotas."""
    namespace = ctx.namespace or obj["metadata"].get("namespace", "")
    quotas = [
        q
        for q in ctx.reader.list("", "resourcequotas", namespace)
        if not (q.get("spec") or {}).get("scopes") and not (q.get("spec") or {}).get("scopeSelector")
    ]
    if not quotas:
        return
    mine = pod_usage(obj) if plural == "pods" else {plural: Fraction(1), f"count/{plural}": Fraction(1)}
    for quota in quotas:
        _admit_one(quota, plural, obj, mine, ctx)


def _admit_one(quota: Object, plural: str, obj: Object, mine: dict[str, Fraction], ctx: Context) -> None:
    hard, name = (quota.get("spec") or {}).get("hard") or {}, quota["metadata"]["name"]
    used = _used(plural, hard, ctx, quota["metadata"]["namespace"])
    missing = [key for key in hard if plural == "pods" and _is_compute(key) and key not in mine]
    if missing:
        why = f"failed quota: {name}: must specify {_must(missing, obj)}"
        raise forbidden(ctx, plural, obj["metadata"].get("name", ""), why)
    beyond = [key for key in hard if key in mine and used.get(key, Fraction(0)) + mine[key] > amount(hard[key])]
    if beyond:
        parts = [
            ",".join(f"{key}={_spell(value.get(key, Fraction(0)), key)}" for key in sorted(beyond))
            for value in (mine, used, {key: amount(hard[key]) for key in beyond})
        ]
        why = f"exceeded quota: {name}, requested: {parts[0]}, used: {parts[1]}, limited: {parts[2]}"
        raise forbidden(ctx, plural, obj["metadata"].get("name", ""), why)


def status_writes(pod: Object, old: Object | None, ctx: Context) -> list[Write]:
    """Quotas with their usage once `pod` replaces `old` (None: is new, or being removed when it is `old` itself)."""
    namespace = pod["metadata"].get("namespace", "")
    quotas = ctx.reader.list("", "resourcequotas", namespace)
    if not quotas or (old is not None and old is not pod and _ended(old) == _ended(pod)):
        return []
    kept = [p for p in ctx.reader.list("", "pods", namespace) if p["metadata"]["name"] != pod["metadata"]["name"]]
    pods = kept if old is pod else [*kept, pod]
    return [
        Write(type_of("", "resourcequotas"), namespace, q["metadata"]["name"], {**q, "status": usage(q, pods)})
        for q in quotas
    ]


def usage(quota: Object, pods: Sequence[Object]) -> Object:
    """The status of a quota over these pods; what else it bounds counts as unused."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    total: dict[str, Fraction] = {}
    for pod in pods:
        if not _ended(pod):
            for key, value in pod_usage(pod).items():
                total[key] = total.get(key, Fraction(0)) + value
    return {"hard": dict(hard), "used": {key: _spell(total.get(key, Fraction(0)), key) for key in hard}}


def _must(missing: list[str], pod: Object) -> str:
    names = ",".join(c.get("name", "") for c in (pod.get("spec") or {}).get("containers") or [])
    return "; ".join(f"{key} for: {names}" for key in sorted(missing))


def _is_compute(key: str) -> bool:
    return key.removeprefix("requests.").removeprefix("limits.") in _COMPUTE


def _used(plural: str, hard: Object, ctx: Context, namespace: str) -> dict[str, Fraction]:
    group = ""
    if plural != "pods":
        count = Fraction(len(ctx.reader.list(group, plural, namespace)))
        return {plural: count, f"count/{plural}": count}
    total: dict[str, Fraction] = {}
    for pod in ctx.reader.list("", "pods", namespace):
        if not _ended(pod):
            for key, value in pod_usage(pod).items():
                total[key] = total.get(key, Fraction(0)) + value
    return {key: total.get(key, Fraction(0)) for key in hard}


def _spell(value: Fraction, key: str) -> str:
    if "memory" in key and value.denominator == 1 and value % 1024 == 0:
        return canonical(f"{value // 1024}Ki")
    return canonical(f"{int(value * 1000)}m")


class ResourceQuotaKind(BuiltIn):
    """The server keeps its status itself, in the transactions of pods."""

    has_status = True
    returns_deleted = True
    initial_status: ClassVar[Object | None] = {}

    def default(self, obj: Object, ctx: Context) -> None:
        canonicalise((obj.get("spec") or {}).get("hard"))
        for field in ("hard", "used"):
            canonicalise((obj.get("status") or {}).get(field))

    def create(self, obj: Object, ctx: Context) -> None:
        obj["status"] = usage(obj, ctx.reader.list("", "pods", ctx.namespace))

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        if not ctx.subresource:
            self.create(obj, ctx)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        for name, value in ((obj.get("spec") or {}).get("hard") or {}).items():
            report.format(f"spec.hard[{name}]", name, formats.qualified_name)
            if amount(value) < 0:
                report.invalid(f"spec.hard[{name}]", value, "must be greater than or equal to 0")

    def columns(self) -> Any:
        return [
            name_column(),
            text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
            text(
                "Limit",
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention"
                " on the node.",
            ),
            age_column(),
        ]

    def cells(self, obj: Object, now: str) -> list[Any]:
        status = obj.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        shown = {key: f"{key}: {used.get(key, '0')}/{value}" for key, value in sorted(hard.items())}
        limits = [line for key, line in shown.items() if key.startswith("limits")]
        requests = [line for key, line in shown.items() if not key.startswith("limits")]
        name, age = super().cells(obj, now)
        return [name, ", ".join(requests), ", ".join(limits), age]


class LimitRangeKind(BuiltIn):
    """Defaults and bounds of what pods ask for; applied by pod admission."""

    create_on_update = True
    printed = ()

    def columns(self) -> Any:
        created = text("", "objectmeta-meta-v1.creationTimestamp").description
        return [name_column(), Column("Created At", "date", "", created)]

    def cells(self, obj: Object, now: str) -> list[Any]:
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]

    def default(self, obj: Object, ctx: Context) -> None:
        for item in (obj.get("spec") or {}).get("limits") or []:
            for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
                canonicalise(item.get(field))
            if item.get("type") == "Container":
                _default_item(item)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        for i, item in enumerate((obj.get("spec") or {}).get("limits") or []):
            where = f"spec.limits[{i}]"
            if "/" not in item.get("type", ""):
                report.one_of(f"{where}.type", item.get("type", ""), _LIMIT_TYPES)
            low, high = item.get("min") or {}, item.get("max") or {}
            for name in low.keys() & high.keys():
                if amount(low[name]) > amount(high[name]):
                    why = f"min value {low[name]} is greater than max value {high[name]}"
                    report.invalid(f"{where}.min[{name}]", low[name], why)


def _default_item(item: Object) -> None:
    """Limits default to the maximum, requests to the limit or minimum (SetDefaults_LimitRangeItem)."""
    high, low = item.get("max") or {}, item.get("min") or {}
    limits = {**high, **(item.get("default") or {})}
    requests = {**low, **limits, **(item.get("defaultRequest") or {})}
    if limits:
        item["default"] = limits
    if requests:
        item["defaultRequest"] = requests
