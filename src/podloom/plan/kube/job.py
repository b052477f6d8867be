"""The next step of a Job: pods to create, count and remove, and its status.

The problem: a finished pod must count exactly once, though pods may be deleted by anyone and the controller
killed at any point. So each pod carries a finalizer; its uid is first written into
status.uncountedTerminatedPods, then the finalizer goes, then the uid moves into the counters.

Sources: Kubernetes "Jobs" page (completions, parallelism, indexed mode, backoffLimit, deadline, suspend, TTL);
batch/v1 JobStatus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from podloom.model.kube import JOBS, Object, owner_reference
from podloom.plan.kube.pods import condition, is_finished, pod_from_template, with_condition
from podloom.plan.kube.times import format_time, parse_time

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 600.0


@dataclass
class JobPlan:
    """`create` are completion indexes (or -1), `status` is written before `release` lets counted pods go."""

    create: list[int] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    again_s: float | None = None
    remove: bool = False


def is_done(job: Object) -> str:
    """Complete, Failed or empty."""
    for kind in ("Complete", "Failed"):
        if condition(job, kind).get("status") == "True":
            return kind
    return ""


def plan_job(job: Object, pods: Iterable[Object], now: float) -> JobPlan:
    """The next writes of a Job given its own pods."""
    pods, plan = list(pods), JobPlan()
    old = job.get("status", {})
    if done := is_done(job):
        plan.status = old
        plan.release = [p for p in pods if _tracked(p)]
        plan.delete = [p for p in pods if not is_finished(p) and not _leaving(p)] if done else []
        plan.remove, plan.again_s = _expiry(job, now)
        return plan
    status = _count(job, pods, plan)
    active = [p for p in pods if not is_finished(p) and not _leaving(p)]
    failure = _failure(job, status, now)
    if failure or (job["spec"].get("suspend") and active) or _is_complete(job, status, active):
        plan.delete, active = active, []
    elif not job["metadata"].get("deletionTimestamp") and not job["spec"].get("suspend"):
        _resize(job, status, (active, pods), plan, now)
    plan.status = _finish_status(job, status, active, failure, now)
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is not None and status.get("startTime") and not failure:
        left_s = parse_time(status["startTime"]) + deadline - now
        plan.again_s = min(filter(None, (plan.again_s, left_s + 0.05))) if left_s > 0 else plan.again_s
    return plan


def _tracked(pod: Object) -> bool:
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def _leaving(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _count(job: Object, pods: list[Object], plan: JobPlan) -> Object:
    """The status with newly finished pods noted as uncounted and released ones moved into the counters."""
    status = dict(job.get("status", {}))
    uncounted = status.get("uncountedTerminatedPods") or {}
    tracked = {p["metadata"]["uid"]: p for p in pods if _tracked(p)}
    lists: dict[str, list[str]] = {}
    for outcome in ("succeeded", "failed"):
        noted = list(uncounted.get(outcome) or ())
        settled = [uid for uid in noted if uid not in tracked]
        status[outcome] = int(status.get(outcome) or 0) + len(settled)
        lists[outcome] = [uid for uid in noted if uid in tracked]
    known = {uid for uids in lists.values() for uid in uids}
    indexes = parse_indexes(status.get("completedIndexes", ""))
    for uid, pod in tracked.items():
        if uid in known:
            plan.release.append(pod)
        elif _outcome(pod):
            lists[_outcome(pod)].append(uid)
            if _outcome(pod) == "succeeded" and index_of(pod) >= 0:
                indexes.add(index_of(pod))
            plan.release.append(pod)
    status["uncountedTerminatedPods"] = {name: uids for name, uids in lists.items() if uids}
    if job["spec"].get("completionMode") == "Indexed":
        status["completedIndexes"] = format_indexes(indexes)
    return status


def _outcome(pod: Object) -> str:
    phase = pod.get("status", {}).get("phase")
    if phase == "Succeeded":
        return "succeeded"
    return "failed" if phase == "Failed" or _leaving(pod) else ""


def _totals(status: Object) -> tuple[int, int]:
    """(succeeded, failed), noted ones included."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    return (
        int(status.get("succeeded") or 0) + len(uncounted.get("succeeded") or ()),
        int(status.get("failed") or 0) + len(uncounted.get("failed") or ()),
    )


def _completions(job: Object) -> int | None:
    spec = job["spec"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        return 1
    return None if spec.get("completions") is None else int(spec["completions"])


def _parallelism(job: Object) -> int:
    value = job["spec"].get("parallelism")
    return 1 if value is None else int(value)


def _succeeded(job: Object, status: Object) -> int:
    if job["spec"].get("completionMode") == "Indexed":
        return len(parse_indexes(status.get("completedIndexes", "")))
    return _totals(status)[0]


def _wanted(job: Object, status: Object, active: int) -> int:
    completions, succeeded = _completions(job), _succeeded(job, status)
    if completions is None:
        return active if succeeded else _parallelism(job)
    return min(_parallelism(job), completions - succeeded)


def _is_complete(job: Object, status: Object, active: list[Object]) -> bool:
    completions, succeeded = _completions(job), _succeeded(job, status)
    if completions is None:
        return succeeded > 0 and not active
    return succeeded >= completions


def _failure(job: Object, status: Object, now: float) -> tuple[str, str] | None:
    spec = job["spec"]
    target = condition(job, "FailureTarget")
    if target.get("status") == "True":
        return target.get("reason", ""), target.get("message", "")
    limit = spec.get("backoffLimit")
    if _totals(status)[1] > (6 if limit is None else limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and status.get("startTime") and now - parse_time(status["startTime"]) >= deadline:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return None


def _resize(job: Object, status: Object, pods: tuple[list[Object], list[Object]], plan: JobPlan, now: float) -> None:
    """Create or delete towards the wanted number; `pods` are the active ones (kept current) and all."""
    active, everyone = pods
    wanted = _wanted(job, status, len(active))
    if len(active) > wanted:
        surplus = sorted(active, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True)
        plan.delete = surplus[: len(active) - wanted]
        active[:] = [p for p in active if p not in plan.delete]
        return
    missing = wanted - len(active)
    if missing <= 0:
        return
    wait_s = _backoff_s(everyone, now)
    if wait_s > 0:
        plan.again_s = wait_s + 0.05
        return
    if job["spec"].get("completionMode") != "Indexed":
        plan.create = [-1] * missing
        return
    taken = parse_indexes(status.get("completedIndexes", "")) | {index_of(p) for p in active}
    free = (i for i in range(_completions(job) or 0) if i not in taken)
    plan.create = [index for index, _ in zip(free, range(missing), strict=False)]


def _backoff_s(pods: list[Object], now: float) -> float:
    """How long to wait since the last failure: doubling with each failure since the last success."""
    ended = sorted((_ended(p), p.get("status", {}).get("phase")) for p in pods if is_finished(p))
    failures, last = 0, 0.0
    for when, phase in ended:
        failures = failures + 1 if phase == "Failed" else 0
        last = when
    if not failures:
        return 0.0
    return last + min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (failures - 1)) - now


def _ended(pod: Object) -> float:
    """When the pod finished: its last container's end, else its Ready condition's turn."""
    states = [c.get("state", {}).get("terminated") or {} for c in pod["status"].get("containerStatuses") or ()]
    times = [parse_time(s["finishedAt"]) for s in states if s.get("finishedAt")]
    fallback = condition(pod, "Ready").get("lastTransitionTime") or pod["metadata"].get("creationTimestamp")
    return max(times) if times else parse_time(fallback)


def _finish_status(
    job: Object, status: Object, active: list[Object], failure: tuple[str, str] | None, now: float
) -> Object:
    conditions, stamp = list(status.get("conditions") or ()), format_time(now)
    suspended = bool(job["spec"].get("suspend"))
    if suspended or condition(job, "Suspended"):
        conditions = with_condition(conditions, _suspension(suspended), stamp)
    if suspended:
        status.pop("startTime", None)
    else:
        status.setdefault("startTime", stamp)
    settled = not status.get("uncountedTerminatedPods")
    if failure:
        conditions = _end(conditions, "FailureTarget", failure, stamp)
        if settled and not active:
            conditions = _end(conditions, "Failed", failure, stamp)
    elif _is_complete(job, status, active):
        why = ("CompletionsReached", "Reached expected number of succeeded pods")
        conditions = _end(conditions, "SuccessCriteriaMet", why, stamp)
        if settled:
            conditions = _end(conditions, "Complete", why, stamp)
            status["completionTime"] = stamp
    status["conditions"] = conditions
    status["active"] = len(active)
    status["ready"] = sum(1 for p in active if condition(p, "Ready").get("status") == "True")
    status["terminating"] = 0
    return {n: v for n, v in status.items() if v or n in ("uncountedTerminatedPods", "ready", "terminating")}


def _suspension(suspended: bool) -> Object:
    return {
        "type": "Suspended",
        "status": "True" if suspended else "False",
        "reason": "JobSuspended" if suspended else "JobResumed",
        "message": "Job suspended" if suspended else "Job resumed",
    }


def _end(conditions: list[Object], kind: str, why: tuple[str, str], stamp: str) -> list[Object]:
    new = {"type": kind, "status": "True", "reason": why[0], "message": why[1], "lastProbeTime": stamp}
    return with_condition(conditions, new, stamp)


def _expiry(job: Object, now: float) -> tuple[bool, float | None]:
    """(remove now, seconds until removal) by ttlSecondsAfterFinished."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or job["metadata"].get("deletionTimestamp"):
        return False, None
    done = condition(job, is_done(job)).get("lastTransitionTime")
    left_s = parse_time(done) + ttl - now
    return left_s <= 0, left_s + 0.05 if left_s > 0 else None


def index_of(pod: Object) -> int:
    """The pod's completion index, -1 without one."""
    return int((pod["metadata"].get("annotations") or {}).get(INDEX, "-1"))


def parse_indexes(text: str) -> set[int]:
    """`0,2-4` as a set."""
    out: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        out |= set(range(int(first), int(last or first) + 1))
    return out


def format_indexes(indexes: set[int]) -> str:
    """A set as `0,2-4`."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def job_pod(job: Object, name: str, index: int) -> Object:
    """The pod for one completion; `index` -1 for jobs that are not indexed."""
    meta = job["metadata"]
    prefix = meta["name"] if index < 0 else f"{meta['name']}-{index}"
    pod = pod_from_template(job["spec"]["template"], meta["namespace"], owner_reference(JOBS, job), name, f"{prefix}-")
    pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", ()), TRACKING]
    if index >= 0:
        pod["metadata"].setdefault("annotations", {})[INDEX] = str(index)
        pod["metadata"]["labels"][INDEX] = str(index)
        pod["spec"].setdefault("hostname", prefix)
        source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        entry = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
        for group in ("containers", "initContainers"):
            if pod["spec"].get(group):
                pod["spec"][group] = [{**c, "env": [*(c.get("env") or ()), entry]} for c in pod["spec"][group]]
    return pod
