"""Deployments, ReplicaSets, DaemonSets, StatefulSets and their kin (kubernetes apis/apps).

The problem: all of them own pods by a selector and make them from a template; they differ in how they roll a change
out. What they share is in `Workload`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from podloom.kube.api.contract import Column, Context, Object
from podloom.kube.api.kinds import pod_check, pod_defaults
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report, int_or_percent, is_empty_selector, label_selector, selects
from podloom.kube.api.kinds.show import NONE, label_map, number, selector, selector_text, text

Cell = Callable[[Object, str], Any]
_ALWAYS = ("Always",)


def spec_of(obj: Object) -> Object:
    """The spec, empty when missing."""
    found: Object = obj.get("spec") or {}
    return found


def status_of(obj: Object, field: str, none: Any = 0) -> Any:
    """A field of the status."""
    return (obj.get("status") or {}).get(field, none)


def _template_containers(field: str) -> Cell:
    def cell(obj: Object, _: str) -> str:
        pod = (spec_of(obj).get("template") or {}).get("spec") or {}
        return ",".join(c.get(field, "") for c in pod.get("containers") or [])

    return cell


def template_columns(selector_doc: str) -> tuple[tuple[Column, Cell], ...]:
    """The wide columns Containers, Images, Selector."""
    return (
        (text("Containers", "Names of each container in the template.", 1), _template_containers("name")),
        (text("Images", "Images referenced by each container in the template.", 1), _template_containers("image")),
        (text("Selector", selector_doc, 1), lambda o, _: selector(spec_of(o).get("selector"))),
    )


def status_cell(field: str) -> Cell:
    """A number of the status."""
    return lambda obj, _: status_of(obj, field) or 0


class Workload(BuiltIn):
    """A kind with spec.selector and spec.template."""

    has_status = True
    generation = True
    initial_status: ClassVar[Object | None] = {}
    selector_fixed: ClassVar[bool] = True
    noun: ClassVar[str] = "deployment"  # in the text about an empty selector; replica sets say so too

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        template = spec["template"] = spec.get("template") or {}
        template["spec"] = template.get("spec") or {}
        pod_defaults.template(template["spec"])
        self.default_spec(obj, spec)

    def default_spec(self, obj: Object, spec: Object) -> None:
        """Defaults of the kind itself."""

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        self.check_own(report, spec)
        check_selector(report, spec, self.noun)
        claims = [c.get("metadata", {}).get("name", "") for c in spec.get("volumeClaimTemplates") or []]
        pod_check.check_template(report, spec["template"], "spec.template", _ALWAYS, claims=claims)
        self.check_rest(report, spec)

    def check_own(self, report: Report, spec: Object) -> None:
        """Mistakes the server reports before those of the selector and template."""

    def check_rest(self, report: Report, spec: Object) -> None:
        """Mistakes the server reports behind those of the template."""

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        if self.selector_fixed:
            report.immutable("spec.selector", obj["spec"].get("selector"), spec_of(old).get("selector"))

    def get_scale(self, obj: Object) -> Object:
        chosen = spec_of(obj).get("selector")
        return {
            "spec": {"replicas": spec_of(obj).get("replicas", 0)},
            "status": {"replicas": status_of(obj, "replicas"), "selector": selector_text(chosen)},
        }

    def set_scale(self, obj: Object, replicas: int) -> None:
        obj["spec"]["replicas"] = replicas


def check_selector(report: Report, spec: Object, noun: str) -> None:
    """The selector is there, selects something, and matches the template's labels."""
    chosen = spec.get("selector")
    if chosen is None:
        report.required("spec.selector")
    else:
        label_selector(report, "spec.selector", chosen)
        if is_empty_selector(chosen):
            report.invalid("spec.selector", chosen, f"empty selector is invalid for {noun}")
    found = (spec["template"].get("metadata") or {}).get("labels")
    if not selects(chosen, found or {}):
        report.invalid("spec.template.metadata.labels", found, "`selector` does not match template `labels`")


class DeploymentKind(Workload):
    """Replicas that roll from one template to the next."""

    printed = (
        (
            text("Ready", "Number of the pod with ready state"),
            lambda o, _: f"{status_of(o, 'readyReplicas')}/{spec_of(o).get('replicas', 0)}",
        ),
        (text("Up-to-date", "deploymentstatus-apps-v1.updatedReplicas"), status_cell("updatedReplicas")),
        (text("Available", "deploymentstatus-apps-v1.availableReplicas"), status_cell("availableReplicas")),
        *template_columns("deploymentspec-apps-v1.selector"),
    )

    def default_spec(self, obj: Object, spec: Object) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        strategy = spec["strategy"] = spec.get("strategy") or {}
        strategy["type"] = strategy.get("type") or "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
            for field in ("maxUnavailable", "maxSurge"):
                if rolling.get(field) is None:
                    rolling[field] = "25%"
        for field, value in (("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
            if spec.get(field) is None:
                spec[field] = value

    def check_own(self, report: Report, spec: Object) -> None:
        report.not_negative("spec.replicas", spec.get("replicas"))

    def check_rest(self, report: Report, spec: Object) -> None:
        strategy = spec["strategy"]
        kind, rolling = strategy["type"], strategy.get("rollingUpdate")
        if kind == "Recreate" and rolling is not None:
            why = "may not be specified when strategy `type` is 'Recreate'"
            report.forbidden("spec.strategy.rollingUpdate", why)
        elif kind == "RollingUpdate":
            check_rolling(report, "spec.strategy.rollingUpdate", rolling or {})
        elif kind != "Recreate":
            report.unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
        for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
            report.not_negative(f"spec.{field}", spec.get(field))
        deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
        if deadline is not None and deadline <= ready:
            report.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def check_rolling(report: Report, where: str, rolling: Object) -> None:
    """maxUnavailable and maxSurge: well formed, not both nothing, no more unavailable than all."""
    for field in ("maxUnavailable", "maxSurge"):
        int_or_percent(report, f"{where}.{field}", rolling.get(field))
    away, more = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    if away in (0, "0%") and more in (0, "0%"):
        report.invalid(f"{where}.maxUnavailable", away, "may not be 0 when `maxSurge` is 0")
    if isinstance(away, str) and away[:-1].isdigit() and int(away[:-1]) > 100:
        report.invalid(f"{where}.maxUnavailable", away, "must not be greater than 100%")


class ReplicaSetKind(Workload):
    """Replicas of one template."""

    initial_status: ClassVar[Object | None] = {"replicas": 0}
    printed = (
        (number("Desired", "replicasetspec-apps-v1.replicas"), lambda o, _: spec_of(o).get("replicas", 0)),
        (number("Current", "replicasetstatus-apps-v1.replicas"), status_cell("replicas")),
        (number("Ready", "replicasetstatus-apps-v1.readyReplicas"), status_cell("readyReplicas")),
        *template_columns("replicasetspec-apps-v1.selector"),
    )

    def default_spec(self, obj: Object, spec: Object) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1

    def check_own(self, report: Report, spec: Object) -> None:
        for field in ("replicas", "minReadySeconds"):
            report.not_negative(f"spec.{field}", spec.get(field))


class ReplicationControllerKind(Workload):
    """The ReplicaSet of old: its selector is a plain map and may be left out."""

    initial_status: ClassVar[Object | None] = {"replicas": 0}
    selector_fixed = False
    field_labels = ("status.replicas",)
    printed = (
        (number("Desired", "replicationcontrollerspec-v1.replicas"), lambda o, _: spec_of(o).get("replicas", 0)),
        (number("Current", "replicationcontrollerstatus-v1.replicas"), status_cell("replicas")),
        (number("Ready", "replicationcontrollerstatus-v1.readyReplicas"), status_cell("readyReplicas")),
        *template_columns("")[:2],
        (
            text("Selector", "replicationcontrollerspec-v1.selector", 1),
            lambda o, _: label_map(spec_of(o).get("selector")),
        ),
    )

    def default_spec(self, obj: Object, spec: Object) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        labels = (spec["template"].get("metadata") or {}).get("labels")
        if labels and not spec.get("selector"):
            spec["selector"] = dict(labels)
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        report.not_negative("spec.replicas", spec.get("replicas"))
        if not spec.get("selector"):
            report.required("spec.selector")
        labels = (spec["template"].get("metadata") or {}).get("labels") or {}
        if any(labels.get(key) != value for key, value in (spec.get("selector") or {}).items()):
            report.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        pod_check.check_template(report, spec["template"], "spec.template", _ALWAYS)

    def get_scale(self, obj: Object) -> Object:
        chosen = label_map(spec_of(obj).get("selector"))
        status = {"replicas": status_of(obj, "replicas"), "selector": "" if chosen == NONE else chosen}
        return {"spec": {"replicas": spec_of(obj).get("replicas", 0)}, "status": status}

    def field_values(self, obj: Object) -> dict[str, str]:
        return {"status.replicas": str(status_of(obj, "replicas"))}


class DaemonSetKind(Workload):
    """One pod for each node; counts changes of its template in an annotation."""

    noun = "daemonset"
    initial_status: ClassVar[Object | None] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }
    printed = (
        (number("Desired", "daemonsetstatus-apps-v1.desiredNumberScheduled"), status_cell("desiredNumberScheduled")),
        (number("Current", "daemonsetstatus-apps-v1.currentNumberScheduled"), status_cell("currentNumberScheduled")),
        (number("Ready", "daemonsetstatus-apps-v1.numberReady"), status_cell("numberReady")),
        (number("Up-to-date", "daemonsetstatus-apps-v1.updatedNumberScheduled"), status_cell("updatedNumberScheduled")),
        (number("Available", "daemonsetstatus-apps-v1.numberAvailable"), status_cell("numberAvailable")),
        (
            text("Node Selector", "podspec-v1.nodeSelector"),
            lambda o, _: label_map(((spec_of(o).get("template") or {}).get("spec") or {}).get("nodeSelector")),
        ),
        *template_columns("daemonsetspec-apps-v1.selector"),
    )
    _COUNTER: ClassVar[str] = "deprecated.daemonset.template.generation"

    def default_spec(self, obj: Object, spec: Object) -> None:
        strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
        strategy["type"] = strategy.get("type") or "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
            for field, value in (("maxUnavailable", 1), ("maxSurge", 0)):
                if rolling.get(field) is None:
                    rolling[field] = value
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        if self._COUNTER not in (obj["metadata"].get("annotations") or {}):
            self._count(obj, "0")

    def create(self, obj: Object, ctx: Context) -> None:
        self._count(obj, "1")

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        before = (old["metadata"].get("annotations") or {}).get(self._COUNTER, "1")
        changed = obj["spec"].get("template") != spec_of(old).get("template")
        self._count(obj, str(int(before) + 1) if changed and before.isdigit() else before)

    def _count(self, obj: Object, value: str) -> None:
        notes = obj["metadata"].get("annotations") or {}
        obj["metadata"]["annotations"] = {**notes, self._COUNTER: value}

    def check_rest(self, report: Report, spec: Object) -> None:
        strategy = spec["updateStrategy"]
        report.one_of("spec.updateStrategy.type", strategy["type"], ("RollingUpdate", "OnDelete"))
        rolling, where = strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate"
        if strategy["type"] == "RollingUpdate":
            for field in ("maxUnavailable", "maxSurge"):
                int_or_percent(report, f"{where}.{field}", rolling.get(field))
            none = (0, "0%")
            if rolling.get("maxUnavailable") in none and rolling.get("maxSurge") in none:
                report.required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0")
            if rolling.get("maxUnavailable") not in none and rolling.get("maxSurge") not in none:
                why = "may not be set when maxUnavailable is non-zero"
                report.invalid(f"{where}.maxSurge", rolling.get("maxSurge"), why)
        for field in ("minReadySeconds", "revisionHistoryLimit"):
            report.not_negative(f"spec.{field}", spec.get(field))


class StatefulSetKind(Workload):
    """Replicas with names and claims of their own."""

    noun = "statefulset"
    initial_status: ClassVar[Object | None] = {"replicas": 0, "availableReplicas": 0}
    printed = (
        (
            text("Ready", "Number of the pod with ready state"),
            lambda o, _: f"{status_of(o, 'readyReplicas')}/{spec_of(o).get('replicas', 0)}",
        ),
        *template_columns("")[:2],
    )

    def default_spec(self, obj: Object, spec: Object) -> None:
        for field, value in (("podManagementPolicy", "OrderedReady"), ("replicas", 1), ("revisionHistoryLimit", 10)):
            if spec.get(field) in (None, ""):
                spec[field] = value
        strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
        strategy["type"] = strategy.get("type") or "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
            if rolling.get("partition") is None:
                rolling["partition"] = 0
        policy = spec["persistentVolumeClaimRetentionPolicy"] = spec.get("persistentVolumeClaimRetentionPolicy") or {}
        for field in ("whenDeleted", "whenScaled"):
            policy[field] = policy.get(field) or "Retain"
        for claim in spec.get("volumeClaimTemplates") or []:
            _default_claim(claim)

    def check_own(self, report: Report, spec: Object) -> None:
        report.one_of("spec.podManagementPolicy", spec.get("podManagementPolicy", ""), ("OrderedReady", "Parallel"))
        report.one_of("spec.updateStrategy.type", spec["updateStrategy"]["type"], ("OnDelete", "RollingUpdate"))
        for field in ("replicas", "minReadySeconds"):
            report.not_negative(f"spec.{field}", spec.get(field))

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        free = {
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        }
        now, before = obj["spec"], spec_of(old)
        if any(now.get(key) != before.get(key) for key in (now.keys() | before.keys()) - free):
            report.forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',"
                " 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and"
                " 'minReadySeconds' are forbidden",
            )


def _default_claim(claim: Object) -> None:
    claim.setdefault("kind", "PersistentVolumeClaim")
    claim.setdefault("apiVersion", "v1")
    spec = claim.setdefault("spec", {})
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    claim["status"] = claim.get("status") or {"phase": "Pending"}


class ControllerRevisionKind(BuiltIn):
    """A template of the past; its data never changes."""

    printed: ClassVar[Sequence[tuple[Column, Cell]]] = (
        (text("Controller", "Controller of the object"), lambda o, _: _owner(o)),
        (text("Revision", "controllerrevision-apps-v1.revision"), lambda o, _: o.get("revision", 0)),
    )

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        report.immutable("data", obj.get("data"), old.get("data"))


def _owner(obj: Object) -> str:
    for ref in obj["metadata"].get("ownerReferences") or []:
        if ref.get("controller"):
            group = ref.get("apiVersion", "").rpartition("/")[0]
            return f"{ref['kind'].lower()}{'.' + group if group else ''}/{ref['name']}"
    return NONE
