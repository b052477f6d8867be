"""When a cron schedule fires, and what a CronJob does about it.

Sources: Kubernetes "CronJob" page (standard five fields, @names, time zones, concurrency policy, starting
deadline); crontab(5): day of month and day of week are alternatives when both are set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from podloom.model.errors import Rejected
from podloom.model.kube import CRONJOBS, Object, owner_reference
from podloom.plan.kube.job import is_done
from podloom.plan.kube.times import format_time, parse_time

_NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_DAYS = {n: i for i, n in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_YEARS_AHEAD = 5
_DAY_S = 86400.0


@dataclass(frozen=True)
class Schedule:
    """The sets of values each field allows; `either_day` when day of month and of week are alternatives."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo

    def next(self, after: float) -> float | None:
        """The first time after `after` (epoch seconds); None when it never comes."""
        moment = datetime.fromtimestamp(after, self.zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        last_year = moment.year + _YEARS_AHEAD
        while moment.year <= last_year:
            if moment.month not in self.months:
                moment = (moment.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
            elif not self._on(moment):
                moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
            elif moment.hour not in self.hours:
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif moment.minute not in self.minutes or moment.timestamp() <= after:
                moment += timedelta(minutes=1)
            else:
                return moment.timestamp()
        return None

    def _on(self, moment: datetime) -> bool:
        of_month, of_week = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


def parse_schedule(text: str, time_zone: str = "") -> Schedule:
    """The schedule of a cron line; raises Rejected."""
    line = _NAMES.get(text.strip().lower(), text)
    parts = line.split()
    if len(parts) != 5:
        raise Rejected("cron schedule", f"{text!r} has {len(parts)} fields", "write minute hour day month weekday")
    try:
        zone: tzinfo = ZoneInfo(time_zone) if time_zone else UTC
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise Rejected("cron schedule", f"time zone {time_zone!r} is unknown") from e
    minutes, hours, days, months, weekdays = parts
    return Schedule(
        _values(minutes, 0, 59, {}),
        _values(hours, 0, 23, {}),
        _values(days, 1, 31, {}),
        _values(months, 1, 12, _MONTHS),
        frozenset(v % 7 for v in _values(weekdays, 0, 7, _DAYS)),
        not days.startswith(("*", "?")) and not weekdays.startswith(("*", "?")),
        zone,
    )


def _values(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    out: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            if span in ("*", "?"):
                start, end = low, high
            else:
                start = names[first] if first in names else int(first)
                end = (names[last] if last in names else int(last)) if dash else (high if step else start)
            stride = int(step) if step else 1
        except ValueError as e:
            raise Rejected("cron schedule", f"{part!r} is no value between {low} and {high}") from e
        if not low <= start <= end <= high or stride < 1:
            raise Rejected("cron schedule", f"{part!r} is not within {low} to {high}")
        out.update(range(start, end + 1, stride))
    return frozenset(out)


@dataclass
class CronPlan:
    """`create` is the Job to start, `delete` Jobs to remove, `status` the CronJob's new one."""

    create: Object | None = None
    delete: list[Object] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    again_s: float | None = None


def plan_cronjob(cron: Object, jobs: Iterable[Object], now: float) -> CronPlan:
    """The next writes of a CronJob given its own Jobs; raises Rejected for a schedule that cannot be read."""
    jobs, spec, plan = list(jobs), cron["spec"], CronPlan()
    active = [job for job in jobs if not is_done(job) and not job["metadata"].get("deletionTimestamp")]
    plan.status = _status(cron, jobs, active)
    plan.delete = _history_surplus(spec, jobs)
    if spec.get("suspend") or cron["metadata"].get("deletionTimestamp"):
        return plan
    schedule = parse_schedule(spec["schedule"], spec.get("timeZone") or "")
    due, upcoming = _due(cron, schedule, now)
    plan.again_s = upcoming - now + 0.05 if upcoming else None
    deadline = spec.get("startingDeadlineSeconds")
    if due is None or (deadline is not None and now - due > deadline):
        return plan
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        return plan
    if policy == "Replace":
        plan.delete += [job for job in active if job not in plan.delete]
    plan.create = _job(cron, due)
    plan.status["lastScheduleTime"] = format_time(due)
    return plan


def _due(cron: Object, schedule: Schedule, now: float) -> tuple[float | None, float | None]:
    """(the latest start that was missed, the next one)."""
    last = cron.get("status", {}).get("lastScheduleTime") or cron["metadata"].get("creationTimestamp")
    start = parse_time(last)
    recent = schedule.next(now - _DAY_S)
    if start < now - _DAY_S and recent is not None and recent <= now:
        start = now - _DAY_S  # away for long: only the latest start matters, and it is within a day
    moment, due = schedule.next(start), None
    while moment is not None and moment <= now:
        due, moment = moment, schedule.next(moment)
    return due, moment


def _status(cron: Object, jobs: list[Object], active: list[Object]) -> Object:
    status = dict(cron.get("status", {}))
    refs = [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "namespace": j["metadata"]["namespace"],
            "name": j["metadata"]["name"],
            "uid": j["metadata"]["uid"],
            "resourceVersion": "",
        }
        for j in sorted(active, key=lambda j: str(j["metadata"]["name"]))
    ]
    status["active"] = [{k: v for k, v in ref.items() if v} for ref in refs]
    done = [j.get("status", {}).get("completionTime") for j in jobs if is_done(j) == "Complete"]
    if done:
        status["lastSuccessfulTime"] = max([*filter(None, done), status.get("lastSuccessfulTime") or ""])
    return {name: value for name, value in status.items() if value}


def _history_surplus(spec: Object, jobs: list[Object]) -> list[Object]:
    out: list[Object] = []
    for kind, name, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = spec.get(name)
        limit = default if limit is None else int(limit)
        done = sorted((j for j in jobs if is_done(j) == kind), key=lambda j: str(j["status"].get("startTime", "")))
        out += done[: max(0, len(done) - limit)]
    return [job for job in out if not job["metadata"].get("deletionTimestamp")]


def _job(cron: Object, due: float) -> Object:
    """The Job of one start; its name is a function of the time, so it is made once."""
    meta, template = cron["metadata"], cron["spec"]["jobTemplate"]
    inner = template.get("metadata") or {}
    stamp = datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    annotations = {**(inner.get("annotations") or {}), "batch.kubernetes.io/cronjob-scheduled-timestamp": stamp}
    body = {
        "name": f"{meta['name'][:52]}-{int(due) // 60}",
        "namespace": meta["namespace"],
        "labels": dict(inner.get("labels") or {}),
        "annotations": annotations,
        "ownerReferences": [owner_reference(CRONJOBS, cron)],
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": body, "spec": template["spec"]}
