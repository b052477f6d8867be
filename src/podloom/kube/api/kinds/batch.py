"""Jobs and CronJobs (kubernetes apis/batch)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import pod_check, pod_defaults
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import NONE, age, duration, parse_time, text
from podloom.kube.api.kinds.workloads import spec_of, status_of, template_columns

_UID, _NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
_ONCE = ("OnFailure", "Never")


def _job_status(job: Object, _: str) -> str:
    states = {c.get("type"): c.get("status") == "True" for c in status_of(job, "conditions", None) or []}
    for kind, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if states.get(kind):
            return shown
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if states.get("Suspended"):
        return "Suspended"
    if states.get("FailureTarget"):
        return "FailureTarget"
    if states.get("SuccessCriteriaMet"):
        return "SuccessCriteriaMet"
    return "Running"


def _completions(job: Object, _: str) -> str:
    spec, done = spec_of(job), status_of(job, "succeeded")
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(job: Object, now: str) -> str:
    start = parse_time(status_of(job, "startTime", "") or "")
    if start is None:
        return ""
    end = parse_time(status_of(job, "completionTime", "") or now)
    return duration((end - start).total_seconds()) if end else ""


def default_job_spec(spec: Object) -> None:
    """Defaults of a JobSpec, in a Job or a CronJob."""
    template = spec["template"] = spec.get("template") or {}
    template["spec"] = template.get("spec") or {}
    pod_defaults.template(template["spec"])
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1


def check_job_spec(report: Report, spec: Object, path: str) -> None:
    """Mistakes of a JobSpec."""
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        report.not_negative(f"{path}.{field}", spec.get(field))
    report.one_of(f"{path}.completionMode", spec.get("completionMode") or "", ("Indexed", "NonIndexed"), required=False)
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        report.required(f"{path}.completions", "when completion mode is Indexed")
    pod_check.check_template(report, spec["template"], f"{path}.template")
    policy = spec["template"]["spec"].get("restartPolicy", "")
    if policy == "Always":
        report.unsupported(f"{path}.template.spec.restartPolicy", policy, _ONCE)


class JobKind(BuiltIn):
    """The server gives a new job its selector: its own uid."""

    has_status = True
    generation = True
    initial_status: ClassVar[Object | None] = {}
    field_labels = ("status.successful",)
    unknown_field_label = 'field label "{label}" not supported for Job'
    printed = (
        (text("Status", "Status of the job."), _job_status),
        (text("Completions", "jobspec-batch-v1.completions"), _completions),
        (text("Duration", "Time required to complete the job."), _duration),
        *template_columns("jobspec-batch-v1.selector"),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        default_job_spec(spec)
        for field, value in (
            ("backoffLimit", 6),
            ("completionMode", "NonIndexed"),
            ("suspend", False),
            ("manualSelector", False),
            ("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"),
        ):
            if spec.get(field) is None:
                spec[field] = value
        labels = (spec["template"].get("metadata") or {}).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def create(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"]
        if spec.get("manualSelector"):
            return
        uid, name = obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
        mine = {_UID: uid, _NAME: name, "controller-uid": uid, "job-name": name}
        template = spec["template"]
        for holder in (obj["metadata"], template.setdefault("metadata", {})):
            holder["labels"] = {**(holder.get("labels") or {}), **mine}
        if not spec.get("selector"):
            spec["selector"] = {"matchLabels": {_UID: uid}}

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        if not spec.get("selector"):
            report.required("spec.selector")
        check_job_spec(report, spec, "spec")

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        now, before = obj["spec"], spec_of(old)
        for field in ("completions", "selector", "template", "completionMode"):
            if field == "completions" and before.get("completionMode") == "Indexed":
                continue
            if field == "template" and before.get("suspend") and not status_of(old, "startTime", None):
                continue
            report.immutable(f"spec.{field}", now.get(field), before.get(field))

    def field_values(self, obj: Object) -> dict[str, str]:
        return {"status.successful": str(status_of(obj, "succeeded"))}


def _flag(value: Any) -> str:
    return str(bool(value))


class CronJobKind(BuiltIn):
    """A schedule for jobs (batch/v1)."""

    has_status = True
    generation = True
    initial_status: ClassVar[Object | None] = {}
    printed = (
        (text("Schedule", "cronjobspec-batch-v1.schedule"), lambda o, _: spec_of(o).get("schedule", "")),
        (text("Timezone", "cronjobspec-batch-v1.timeZone"), lambda o, _: spec_of(o).get("timeZone") or NONE),
        (text("Suspend", "cronjobspec-batch-v1.suspend"), lambda o, _: _flag(spec_of(o).get("suspend"))),
        (text("Active", "cronjobstatus-batch-v1.active"), lambda o, _: len(status_of(o, "active", None) or [])),
        (
            text("Last Schedule", "cronjobstatus-batch-v1.lastScheduleTime"),
            lambda o, now: (
                age(status_of(o, "lastScheduleTime", ""), now) if status_of(o, "lastScheduleTime", "") else NONE
            ),
        ),
        *(
            (column, lambda o, now, cell=cell: cell({"spec": (spec_of(o).get("jobTemplate") or {}).get("spec")}, now))
            for column, cell in template_columns("jobspec-batch-v1.selector")
        ),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        template = spec["jobTemplate"] = spec.get("jobTemplate") or {}
        template["spec"] = template.get("spec") or {}
        pod = template["spec"].setdefault("template", {}).setdefault("spec", {})
        pod_defaults.template(pod)
        for field, value in (
            ("concurrencyPolicy", "Allow"),
            ("suspend", False),
            ("successfulJobsHistoryLimit", 3),
            ("failedJobsHistoryLimit", 1),
        ):
            if spec.get(field) in (None, ""):
                spec[field] = value

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        if not spec.get("schedule"):
            report.required("spec.schedule")
        elif not spec["schedule"].startswith("@") and len(spec["schedule"].split()) != 5:
            found = len(spec["schedule"].split())
            why = f"expected exactly 5 fields, found {found}: {spec['schedule'].split()}"
            report.invalid("spec.schedule", spec["schedule"], why)
        report.one_of("spec.concurrencyPolicy", spec["concurrencyPolicy"], ("Allow", "Forbid", "Replace"))
        for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
            report.not_negative(f"spec.{field}", spec.get(field))
        check_job_spec(report, deepcopy(spec["jobTemplate"]["spec"]), "spec.jobTemplate.spec")
        name = obj["metadata"].get("name", "")
        if len(name) > 52:
            report.invalid("metadata.name", name, "must be no more than 52 characters")
