"""Kinds of which the lab needs little: budgets, autoscalers, priorities, storage, registrations.

The problem: clients list and create these like any other; they get a real server's defaults, the checks that
guard others, and their columns, each in a few lines.
"""

from __future__ import annotations

from typing import Any, ClassVar

from podloom.kube.api.contract import Column, Context, Object
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report, int_or_percent, label_selector
from podloom.kube.api.kinds.quantity import canonicalise
from podloom.kube.api.kinds.show import NONE, UNSET, age_column, name_column, number, text
from podloom.kube.api.kinds.workloads import spec_of, status_of


class Stated(BuiltIn):
    """Spec and status, nothing special."""

    has_status = True
    initial_status: ClassVar[Object | None] = {}


class Counted(BuiltIn):
    """A generation, no status."""

    generation = True


class StatedAndCounted(Stated):
    """Spec, status and a generation."""

    generation = True


class PodDisruptionBudgetKind(StatedAndCounted):
    """How many pods of a set may be away at once (policy/v1); read by evictions."""

    unconditional_update = False
    initial_status: ClassVar[Object | None] = {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    }
    printed = (
        (
            text("Min Available", "The minimum number of pods that must be available."),
            lambda o, _: _or_na(spec_of(o).get("minAvailable")),
        ),
        (
            text("Max Unavailable", "The maximum number of pods that may be unavailable."),
            lambda o, _: _or_na(spec_of(o).get("maxUnavailable")),
        ),
        (
            number("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
            lambda o, _: status_of(o, "disruptionsAllowed"),
        ),
    )

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = spec_of(obj)
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            report.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
        for field in ("minAvailable", "maxUnavailable"):
            int_or_percent(report, f"spec.{field}", spec.get(field))
        label_selector(report, "spec.selector", spec.get("selector"))


def _or_na(value: Any) -> str:
    return "N/A" if value is None else str(value)


class PriorityClassKind(BuiltIn):
    """A name for a number that never changes (scheduling.k8s.io/v1)."""

    printed = (
        (number("Value", "priorityclass-scheduling-v1.value"), lambda o, _: o.get("value", 0)),
        (
            Column("Global-Default", "boolean", "", text("", "priorityclass-scheduling-v1.globalDefault").description),
            lambda o, _: bool(o.get("globalDefault")),
        ),
        (
            text("PreemptionPolicy", "priorityclass-scheduling-v1.preemptionPolicy", 1),
            lambda o, _: o.get("preemptionPolicy", ""),
        ),
    )
    generation = True

    def default(self, obj: Object, ctx: Context) -> None:
        obj["preemptionPolicy"] = obj.get("preemptionPolicy") or "PreemptLowerPriority"

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
        known = ("system-node-critical", "system-cluster-critical")
        if name.startswith("system-") and name not in known:
            why = "priority class names with 'system-' prefix are reserved for system use only. error: "
            report.forbidden("metadata.name", f"{why}{name} is not a known system priority class")
        elif name not in known and value > 1_000_000_000:
            report.forbidden("value", "maximum allowed value of a user defined priority is 1000000000")

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        if obj.get("value", 0) != old.get("value", 0):
            report.forbidden("value", "may not be changed in an update.")
        if obj.get("preemptionPolicy") != old.get("preemptionPolicy"):
            report.invalid("preemptionPolicy", obj.get("preemptionPolicy"), "field is immutable")


def _modes(modes: list[str] | None) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(short[mode] for mode in short if mode in (modes or []))


def _claim_ref(volume: Object) -> str:
    ref = spec_of(volume).get("claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def _phase(obj: Object, _: str) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(status_of(obj, "phase", ""))


class PersistentVolumeKind(Stated):
    """A piece of storage; no controller binds it here."""

    returns_deleted = True
    initial_status: ClassVar[Object | None] = {"phase": "Pending"}
    printed = (
        (
            text("Capacity", "persistentvolumespec-v1.capacity"),
            lambda o, _: (spec_of(o).get("capacity") or {}).get("storage", ""),
        ),
        (
            text("Access Modes", "persistentvolumespec-v1.accessModes"),
            lambda o, _: _modes(spec_of(o).get("accessModes")),
        ),
        (
            text("Reclaim Policy", "persistentvolumespec-v1.persistentVolumeReclaimPolicy"),
            lambda o, _: spec_of(o).get("persistentVolumeReclaimPolicy", ""),
        ),
        (text("Status", "persistentvolumestatus-v1.phase"), _phase),
        (text("Claim", "persistentvolumespec-v1.claimRef"), lambda o, _: _claim_ref(o)),
        (text("StorageClass", "StorageClass of the pv"), lambda o, _: spec_of(o).get("storageClassName", "")),
        (
            text("VolumeAttributesClass", "persistentvolumespec-v1.volumeAttributesClassName"),
            lambda o, _: spec_of(o).get("volumeAttributesClassName") or UNSET,
        ),
        (text("Reason", "persistentvolumestatus-v1.reason"), lambda o, _: status_of(o, "reason", "")),
        (
            text("VolumeMode", "persistentvolumespec-v1.volumeMode", 1),
            lambda o, _: spec_of(o).get("volumeMode") or UNSET,
        ),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
        spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
        canonicalise(spec.get("capacity"))
        if spec.get("hostPath") is not None and spec["hostPath"].get("type") is None:
            spec["hostPath"]["type"] = ""

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        if not spec.get("accessModes"):
            report.required("spec.accessModes")
        if not spec.get("capacity"):
            report.required("spec.capacity")


_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def _is_default(obj: Object) -> bool:
    return (obj["metadata"].get("annotations") or {}).get(_IS_DEFAULT) == "true"


class PersistentVolumeClaimKind(Stated):
    """A new claim that names no class gets the default one (admission DefaultStorageClass)."""

    returns_deleted = True
    initial_status: ClassVar[Object | None] = {"phase": "Pending"}
    printed = (
        (text("Status", "persistentvolumeclaimstatus-v1.phase"), _phase),
        (text("Volume", "persistentvolumeclaimspec-v1.volumeName"), lambda o, _: spec_of(o).get("volumeName", "")),
        (
            text("Capacity", "persistentvolumeclaimstatus-v1.capacity"),
            lambda o, _: (
                (status_of(o, "capacity", None) or {}).get("storage", "") if spec_of(o).get("volumeName") else ""
            ),
        ),
        (
            text("Access Modes", "persistentvolumeclaimstatus-v1.accessModes"),
            lambda o, _: _modes(status_of(o, "accessModes", None)) if spec_of(o).get("volumeName") else "",
        ),
        (text("StorageClass", "StorageClass of the pvc"), lambda o, _: spec_of(o).get("storageClassName") or ""),
        (
            text("VolumeAttributesClass", "persistentvolumeclaimspec-v1.volumeAttributesClassName"),
            lambda o, _: spec_of(o).get("volumeAttributesClassName") or UNSET,
        ),
        (
            text("VolumeMode", "persistentvolumeclaimspec-v1.volumeMode", 1),
            lambda o, _: spec_of(o).get("volumeMode") or UNSET,
        ),
    )

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = spec_of(obj)
        if ctx.verb == "create" and spec.get("storageClassName") is None and not ctx.subresource:
            known = [c for c in ctx.reader.list("storage.k8s.io", "storageclasses") if _is_default(c)]
            newest = max(known, key=lambda c: str(c["metadata"].get("creationTimestamp", "")), default=None)
            if newest is not None:
                spec["storageClassName"] = newest["metadata"]["name"]

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
        for field in ("requests", "limits"):
            canonicalise((spec.get("resources") or {}).get(field))

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        if not spec.get("accessModes"):
            report.required("spec.accessModes", "at least 1 access mode is required")
        if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
            report.required("spec.resources[storage]")


class StorageClassKind(BuiltIn):
    """How claims are to be filled (storage.k8s.io/v1)."""

    returns_deleted = True
    printed = (
        (text("Provisioner", "storageclass-storage-v1.provisioner"), lambda o, _: o.get("provisioner", "")),
        (text("ReclaimPolicy", "storageclass-storage-v1.reclaimPolicy"), lambda o, _: o.get("reclaimPolicy", "Delete")),
        (
            text("VolumeBindingMode", "storageclass-storage-v1.volumeBindingMode"),
            lambda o, _: o.get("volumeBindingMode", "Immediate"),
        ),
        (
            text("AllowVolumeExpansion", "storageclass-storage-v1.allowVolumeExpansion"),
            lambda o, _: bool(o.get("allowVolumeExpansion")),
        ),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        obj["reclaimPolicy"] = obj.get("reclaimPolicy") or "Delete"
        obj["volumeBindingMode"] = obj.get("volumeBindingMode") or "Immediate"

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        if not obj.get("provisioner"):
            report.required("provisioner")

    def cells(self, obj: Object, now: str) -> list[Any]:
        name, *rest = super().cells(obj, now)
        return [f"{name} (default)" if _is_default(obj) else name, *rest]


class APIServiceKind(Stated):
    """Group versions and who answers them; all are answered by this server."""

    name_rule = "path"  # the core group's is called `v1.`
    unconditional_update = False
    generation = False

    def columns(self) -> Any:
        return [
            name_column(),
            text("Service", "The reference to the service that hosts this API endpoint."),
            text("Available", "Whether this service is available."),
            age_column(),
        ]

    def cells(self, obj: Object, now: str) -> list[Any]:
        name, age = super().cells(obj, now)
        service = spec_of(obj).get("service")
        shown = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
        states = [c for c in status_of(obj, "conditions", None) or [] if c.get("type") == "Available"]
        available = states[0].get("status", "Unknown") if states else "Unknown"
        if states and available != "True" and states[0].get("reason"):
            available = f"{available} ({states[0]['reason']})"
        return [name, shown, available, age]


class RuntimeClassKind(BuiltIn):
    """A handler of the container runtime (node.k8s.io/v1)."""

    printed = ((text("Handler", "runtimeclass-node-v1.handler"), lambda o, _: o.get("handler", "")),)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        if not obj.get("handler"):
            report.required("handler")


class CertificateSigningRequestKind(Stated):
    """A request for a certificate, asked in the name of who creates it."""

    field_labels = ("spec.signerName",)
    printed = (
        (
            text("SignerName", "certificatesigningrequestspec-certificates-v1.signerName"),
            lambda o, _: spec_of(o).get("signerName", ""),
        ),
        (
            text("Requestor", "certificatesigningrequestspec-certificates-v1.request"),
            lambda o, _: spec_of(o).get("username", ""),
        ),
        (text("Condition", "certificatesigningrequeststatus-certificates-v1.conditions"), lambda o, _: _approval(o)),
    )

    def create(self, obj: Object, ctx: Context) -> None:
        """The requester is who asks, whatever the body says."""
        spec = obj["spec"] = obj.get("spec") or {}
        spec["username"], spec["groups"] = ctx.user, list(ctx.groups)

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        obj["spec"] = dict(spec_of(old))
        if ctx.subresource == "approval":
            conditions = (obj.get("status") or {}).get("conditions") or []
            obj["status"] = {**(old.get("status") or {}), "conditions": conditions}

    def prepare_update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource:
            self.update(obj, old, ctx)
        else:
            super().prepare_update(obj, old, ctx)

    def field_values(self, obj: Object) -> dict[str, str]:
        return {"spec.signerName": spec_of(obj).get("signerName", "")}


def _approval(obj: Object) -> str:
    states = [c.get("type", "") for c in status_of(obj, "conditions", None) or []]
    shown = [state for state in ("Approved", "Denied", "Failed") if state in states] or ["Pending"]
    return ",".join([*shown, *(["Issued"] if status_of(obj, "certificate", None) else [])])


class WebhookKind(Counted):
    """Webhook configurations: stored, not called."""

    unconditional_update = False
    printed = (
        (
            number("Webhooks", "Webhooks indicates the number of webhooks configured in this configuration"),
            lambda o, _: len(o.get("webhooks") or []),
        ),
    )


class FlowSchemaKind(StatedAndCounted):
    """Flow control: stored, without effect here."""

    printed = (
        (
            text("PriorityLevel", "flowschemaspec-flowcontrol-v1.priorityLevelConfiguration"),
            lambda o, _: (spec_of(o).get("priorityLevelConfiguration") or {}).get("name", ""),
        ),
        (
            number("MatchingPrecedence", "flowschemaspec-flowcontrol-v1.matchingPrecedence"),
            lambda o, _: spec_of(o).get("matchingPrecedence", 0),
        ),
        (
            text("DistinguisherMethod", "flowschemaspec-flowcontrol-v1.distinguisherMethod"),
            lambda o, _: (spec_of(o).get("distinguisherMethod") or {}).get("type") or NONE,
        ),
    )


class PriorityLevelKind(StatedAndCounted):
    """Flow control: stored, without effect here."""

    printed = (
        (text("Type", "prioritylevelconfigurationspec-flowcontrol-v1.type"), lambda o, _: spec_of(o).get("type", "")),
        (
            text(
                "NominalConcurrencyShares", "limitedprioritylevelconfiguration-flowcontrol-v1.nominalConcurrencyShares"
            ),
            lambda o, _: (spec_of(o).get("limited") or {}).get("nominalConcurrencyShares", NONE),
        ),
    )


class ComponentStatusKind(BuiltIn):
    """What a cluster's parts say of themselves; deprecated, always healthy here as the server runs."""

    stored = False

    def list_virtual(self, ctx: Context) -> list[Object]:
        healthy = {"type": "Healthy", "status": "True", "message": "ok"}
        names = ("scheduler", "controller-manager", "etcd-0")
        return [{"metadata": {"name": name}, "conditions": [dict(healthy)]} for name in names]

    def columns(self) -> Any:
        return [
            name_column(),
            text("Status", "Status of the component conditions"),
            text("Message", "Message of the component conditions"),
            text("Error", "Error of the component conditions"),
        ]

    def cells(self, obj: Object, now: str) -> list[Any]:
        first = (obj.get("conditions") or [{}])[0]
        status = "Healthy" if first.get("status") == "True" else "Unhealthy"
        return [obj["metadata"]["name"], status, first.get("message", ""), first.get("error", "")]
