"""Jobs, CronJobs, StatefulSets and disruption budgets: decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.errors import Rejected
from podloom.model.kube import Object
from podloom.plan.kube.cron import parse_schedule, plan_cronjob
from podloom.plan.kube.disruption import plan_budget
from podloom.plan.kube.job import TRACKING, format_indexes, is_done, job_pod, parse_indexes, plan_job
from podloom.plan.kube.statefulset import HASH, claims_of, plan_statefulset, stateful_pod

NOW = 1_800_000_000.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "then"),
    [
        ("* * * * *", "2026-01-01T00:00:30", "2026-01-01T00:01"),
        ("*/15 * * * *", "2026-01-01T00:15", "2026-01-01T00:30"),
        ("30 4 * * 1-5", "2026-01-02T04:30", "2026-01-05T04:30"),
        ("0 0 1 jan *", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("0 12 13 * fri", "2026-01-01T00:00", "2026-01-02T12:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("@hourly", "2026-01-01T00:59:59", "2026-01-01T01:00"),
        ("5,10 1 * * 7", "2026-01-01T00:00", "2026-01-04T01:05"),
    ],
)
def test_next_start(schedule: str, after: str, then: str) -> None:
    """Steps, ranges, lists, names; day of month and of week are alternatives when both are set."""
    assert parse_schedule(schedule).next(at(after)) == at(then)


def test_time_zone_and_never() -> None:
    """A time zone moves the start; 30 February never comes."""
    assert parse_schedule("0 9 * * *", "Europe/Berlin").next(at("2026-07-01T00:00")) == at("2026-07-01T07:00")
    assert parse_schedule("0 0 30 2 *").next(NOW) is None


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* * * * x", "*/0 * * * *", "5-1 * * * *"])
def test_bad_schedules(text: str) -> None:
    with pytest.raises(Rejected):
        parse_schedule(text)


def cronjob(policy: str = "Allow", **status: Any) -> Object:
    meta = {"name": "c", "namespace": "default", "uid": "cu", "creationTimestamp": "2026-01-01T00:00:00Z"}
    template = {"spec": {"template": {"spec": {}}}}
    return {
        "metadata": meta,
        "spec": {"schedule": "*/5 * * * *", "jobTemplate": template, "concurrencyPolicy": policy},
        "status": status,
    }


def cron_job(name: str, done: str = "") -> Object:
    conditions = [{"type": done, "status": "True"}] if done else []
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "status": {"conditions": conditions, "startTime": name},
    }


def test_cronjob_starts_once_per_time() -> None:
    """Only the latest missed start is made, its name says which; the next visit is for the next start."""
    now = at("2026-01-01T00:17")
    plan = plan_cronjob(cronjob(), [], now)
    assert plan.create and plan.create["metadata"]["name"] == f"c-{int(at('2026-01-01T00:15')) // 60}"
    assert plan.status["lastScheduleTime"] == "2026-01-01T00:15:00Z"
    again = plan_cronjob(cronjob(**plan.status), [], now)
    assert again.create is None and again.again_s == pytest.approx(180, abs=1)


def test_cronjob_policies_and_history() -> None:
    """Forbid waits for a running Job, Replace removes it; old finished Jobs go."""
    now, running = at("2026-01-01T00:17"), [cron_job("1")]
    assert plan_cronjob(cronjob("Forbid"), running, now).create is None
    replaced = plan_cronjob(cronjob("Replace"), running, now)
    assert replaced.create and replaced.delete == running
    done = [cron_job(str(n), "Complete") for n in range(5)]
    assert plan_cronjob(cronjob(), done, now).delete == done[:2]


def job(**spec: Any) -> Object:
    meta = {"name": "j", "namespace": "default", "uid": "ju"}
    return {
        "metadata": meta,
        "spec": {"template": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}}, **spec},
        "status": {},
    }


class JobWorld:
    """Applies a Job's plans; pods end as told; may lose the pod deletions and repeat visits."""

    def __init__(self, **spec: Any) -> None:
        self.job, self.pods, self.made, self.now = job(**spec), {}, 0, NOW

    def visit(self) -> None:
        self.now += 1000.0
        plan = plan_job(self.job, self.pods.values(), self.now)
        for index in plan.create:
            self.made += 1
            pod = job_pod(self.job, f"j-{self.made}", index)
            pod["metadata"]["uid"] = pod["metadata"]["name"]
            pod["status"] = {"phase": "Running"}
            self.pods[pod["metadata"]["name"]] = pod
        for pod in plan.delete:
            self.pods[pod["metadata"]["name"]]["metadata"]["deletionTimestamp"] = "t"
        if plan.create or plan.delete:
            plan.status = plan_job(self.job, self.pods.values(), self.now).status
        self.job["status"] = plan.status
        for pod in plan.release:
            pod["metadata"]["finalizers"] = [f for f in pod["metadata"]["finalizers"] if f != TRACKING]
        for name, pod in list(self.pods.items()):
            if pod["metadata"].get("deletionTimestamp") and not pod["metadata"]["finalizers"]:
                del self.pods[name]

    def end(self, phase: str, count: int = 1) -> None:
        running = [p for p in self.pods.values() if p["status"]["phase"] == "Running"]
        for pod in running[:count]:
            pod["status"]["phase"] = phase

    def remove(self) -> None:
        """Someone deletes the first pod."""
        for pod in list(self.pods.values())[:1]:
            pod["metadata"]["deletionTimestamp"] = "t"


@given(st.lists(st.sampled_from(["Succeeded", "Failed", "visit", "remove"]), max_size=30))
def test_jobs_count_each_pod_once(history: list[str]) -> None:
    """Whatever happens to its pods in whatever order, a Job ends with exactly its completions, or failed."""
    world = JobWorld(completions=4, parallelism=2, backoffLimit=5)
    for what in history:
        if what == "visit":
            world.visit()
        elif what == "remove":
            world.remove()
        else:
            world.end(what)
    for _ in range(40):
        world.visit()
        world.end("Succeeded", 2)
    status = world.job["status"]
    assert is_done(world.job) in ("Complete", "Failed")
    if is_done(world.job) == "Complete":
        assert status["succeeded"] == 4 and status.get("failed", 0) <= 5
    else:
        assert status["failed"] == 6 or status["failed"] == 7
    assert not status["uncountedTerminatedPods"]
    assert status.get("succeeded", 0) + status.get("failed", 0) == world.made


def test_indexed_job_gives_each_index() -> None:
    """Indexed: every index once, the failed one again; names, environment and hostname carry it."""
    world = JobWorld(completions=3, parallelism=3, completionMode="Indexed")
    world.visit()
    first = next(iter(world.pods.values()))
    assert first["spec"]["hostname"] == "j-0"
    assert first["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    world.end("Failed", 1)
    for _ in range(4):
        world.visit()
        world.end("Succeeded", 3)
    assert world.job["status"]["completedIndexes"] == "0-2" and world.job["status"]["failed"] == 1
    assert parse_indexes("0,2-4") == {0, 2, 3, 4} and format_indexes({0, 2, 3, 4, 7}) == "0,2-4,7"


def test_job_deadline_suspend_and_ttl() -> None:
    """A deadline fails the Job and stops its pods; suspension stops them without failing; TTL removes it."""
    world = JobWorld(activeDeadlineSeconds=1500)
    world.visit()
    world.visit()
    world.visit()
    assert is_done(world.job) == "" and not [
        p for p in world.pods.values() if not p["metadata"].get("deletionTimestamp")
    ]
    world.visit()
    world.visit()
    assert is_done(world.job) == "Failed" and not world.pods
    world = JobWorld()
    world.visit()
    world.job["spec"]["suspend"] = True
    world.visit()
    assert "active" not in world.job["status"]
    world = JobWorld(ttlSecondsAfterFinished=10)
    for _ in range(4):
        world.visit()
        world.end("Succeeded")
    assert plan_job(world.job, [], world.now + 1000).remove


def stateful(replicas: int, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c"}]}}
    body = {"replicas": replicas, "serviceName": "svc", "selector": {"matchLabels": {"app": "s"}}, "template": template}
    return {"metadata": {"name": "s", "namespace": "default", "uid": "su"}, "spec": {**body, **spec}}


def stateful_pods(owner: Object, *revisions: str, ready: bool = True) -> list[Object]:
    pods = []
    for ordinal, revision in enumerate(revisions):
        one = stateful_pod(owner, owner["spec"]["template"], ordinal, revision)
        one["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
        pods.append(one)
    return pods


def names(pods: list[Object]) -> list[str]:
    return [p["metadata"]["name"] for p in pods]


def test_statefulset_goes_in_order() -> None:
    """Up from below one at a time when ready, down from above, updated from above, partition held."""
    owner = stateful(3)
    assert plan_statefulset(owner, [], ("a", "a"), NOW).create == {0: "a"}
    one = stateful_pods(owner, "a", ready=False)
    assert plan_statefulset(owner, one, ("a", "a"), NOW).create == {}
    assert plan_statefulset(owner, stateful_pods(owner, "a"), ("a", "a"), NOW).create == {1: "a"}
    five = stateful_pods(owner, *"aaaaa")
    assert names(plan_statefulset(owner, five, ("a", "a"), NOW).delete) == ["s-4"]
    old = stateful_pods(owner, "a", "a", "a")
    assert names(plan_statefulset(owner, old, ("a", "b"), NOW).delete) == ["s-2"]
    mixed = stateful_pods(owner, "a", "a", "b")
    assert names(plan_statefulset(owner, mixed, ("a", "b"), NOW).delete) == ["s-1"]
    held = stateful(3, updateStrategy={"rollingUpdate": {"partition": 2}})
    assert names(plan_statefulset(held, mixed, ("a", "b"), NOW).delete) == []
    assert plan_statefulset(held, mixed[1:], ("a", "b"), NOW).create == {0: "a"}
    parallel = stateful(3, podManagementPolicy="Parallel")
    assert plan_statefulset(parallel, [], ("a", "a"), NOW).create == {0: "a", 1: "a", 2: "a"}
    broken = [*stateful_pods(owner, "a", "a"), stateful_pods(owner, "a", "a", "a", ready=False)[2]]
    assert names(plan_statefulset(owner, broken, ("a", "b"), NOW).delete) == ["s-2"]


def test_statefulset_status_and_pod() -> None:
    """A finished update makes its revision the current one; the pod has a stable name, host and claims."""
    owner = stateful(2, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {"x": 1}}])
    status = plan_statefulset(owner, stateful_pods(owner, "b", "b"), ("a", "b"), NOW).status
    assert (status["currentRevision"], status["currentReplicas"], status["updatedReplicas"]) == ("s-b", 2, 2)
    pod = stateful_pod(owner, owner["spec"]["template"], 1, "b")
    assert (pod["metadata"]["name"], pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("s-1", "s-1", "svc")
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-s-1"
    assert claims_of(owner, 1)[0]["metadata"]["name"] == "data-s-1"
    assert pod["metadata"]["labels"][HASH] == "b"


@pytest.mark.parametrize(
    ("spec", "ready", "allowed"),
    [
        ({"minAvailable": 2}, 3, 1),
        ({"minAvailable": 2}, 2, 0),
        ({"maxUnavailable": 1}, 3, 1),
        ({"maxUnavailable": 1}, 2, 0),
        ({"minAvailable": "50%"}, 3, 1),
        ({"maxUnavailable": "50%"}, 3, 2),
    ],
)
def test_disruption_budgets(spec: Object, ready: int, allowed: int) -> None:
    """Three wanted pods of which some are ready: how many may be evicted."""
    pods = []
    for number in range(3):
        conditions = [{"type": "Ready", "status": str(number < ready)}]
        pods.append({"metadata": {"name": str(number)}, "status": {"phase": "Running", "conditions": conditions}})
    status = plan_budget({"metadata": {}, "spec": spec}, pods, {"rs": 3}, NOW)
    assert status["disruptionsAllowed"] == allowed
