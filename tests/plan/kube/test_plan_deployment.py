"""Rollout steps from any state keep the limits and end in the wish."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.model.kube import Object
from podloom.plan.kube.deployment import limits, plan_deployment, replicas_of, scaled
from podloom.plan.kube.deploymentstatus import plan_status
from podloom.plan.kube.pods import condition, deletion_order

UID = "d-uid"


def deployment(replicas: int, image: str = "a:1", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"metadata": {"name": "web", "namespace": "default", "uid": UID, "generation": 1}, "spec": body}


def rolling(surge: int | str, unavailable: int | str) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


class World:
    """ReplicaSets and how many of their pods are available; pods come and go at once, readiness on demand."""

    def __init__(self) -> None:
        self.sets: list[Object] = []
        self.count = 0

    def step(self, wish: Object) -> bool:
        """Apply one planned step; whether anything was written."""
        rollout = plan_deployment(wish, self.sets, old_pods_run=False)
        if rollout.create:
            self.count += 1
            new = rollout.create
            new["metadata"] |= {"uid": f"rs{self.count}", "creationTimestamp": f"2026-01-01T00:00:{self.count:02}Z"}
            new["status"] = {"availableReplicas": 0, "replicas": replicas_of(new)}
            self.sets.append(new)
        for rs in self.sets:
            uid = rs["metadata"]["uid"]
            rs["metadata"].setdefault("annotations", {}).update(rollout.annotate.get(uid, {}))
            if uid in rollout.resize:
                rs["spec"]["replicas"] = rollout.resize[uid]
                rs["status"]["replicas"] = rollout.resize[uid]
                rs["status"]["availableReplicas"] = min(rs["status"]["availableReplicas"], rollout.resize[uid])
        return bool(rollout.create or rollout.resize or rollout.annotate)

    def become_ready(self, index: int) -> None:
        if self.sets:
            rs = self.sets[index % len(self.sets)]
            rs["status"]["availableReplicas"] = min(replicas_of(rs), rs["status"]["availableReplicas"] + 1)

    @property
    def total(self) -> int:
        return sum(replicas_of(rs) for rs in self.sets)

    @property
    def available(self) -> int:
        return sum(rs["status"]["availableReplicas"] for rs in self.sets)

    def finish(self, wish: Object) -> None:
        for _ in range(500):
            for rs in self.sets:
                rs["status"]["availableReplicas"] = replicas_of(rs)
            if not self.step(wish):
                return
        raise AssertionError("no end")

    def by_image(self) -> dict[str, int]:
        images = {rs["spec"]["template"]["spec"]["containers"][0]["image"]: replicas_of(rs) for rs in self.sets}
        return {image: count for image, count in images.items() if count}


CHANGES = st.lists(
    st.tuples(st.sampled_from(["image", "replicas", "ready", "ready", "ready", "step", "step"]), st.integers(0, 9)),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(CHANGES, st.integers(0, 4), st.integers(0, 4))
def test_any_history_ends_in_the_wish(changes: list[tuple[str, int]], surge: int, unavailable: int) -> None:
    """Images and sizes changed at any moment of any rollout: it ends with all replicas of the last template."""
    world, image, replicas = World(), "a:1", 5
    for what, number in changes:
        if what == "image":
            image = f"a:{number % 3}"
        elif what == "replicas":
            replicas = number
        elif what == "ready":
            world.become_ready(number)
        else:
            world.step(deployment(replicas, image, strategy=rolling(surge, unavailable)))
    wish = deployment(replicas, image, strategy=rolling(surge, unavailable))
    world.finish(wish)
    assert world.by_image() == ({image: replicas} if replicas else {})
    assert not world.step(wish)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 5), st.lists(st.integers(0, 9), max_size=80))
def test_a_rollout_keeps_surge_and_availability(
    replicas: int, surge: int, unavailable: int, readiness: list[int]
) -> None:
    """From a settled start, with pods becoming ready in any order, a rollout never breaks its limits."""
    world = World()
    world.finish(deployment(replicas, "a:1", strategy=rolling(surge, unavailable)))
    wish = deployment(replicas, "a:2", strategy=rolling(surge, unavailable))
    most, least = limits(wish)
    for number in readiness:
        world.step(wish)
        assert world.total <= replicas + most
        assert world.available >= replicas - least
        world.become_ready(number)


def test_limits_round_and_never_block() -> None:
    """Surge rounds up, unavailable down, and both zero becomes one unavailable."""
    assert limits(deployment(10)) == (3, 2)
    assert limits(deployment(3, strategy=rolling(0, 0))) == (0, 1)
    assert limits(deployment(1, strategy=rolling("25%", "25%"))) == (1, 0)
    assert (scaled("50%", 3, up=True), scaled("50%", 3, up=False)) == (2, 1)


def test_scaling_in_mid_rollout_is_proportional() -> None:
    """Two active sets share an increase in proportion to their sizes, before the rollout goes on."""
    world = World()
    world.finish(deployment(10, "a:1", strategy=rolling(3, 2)))
    world.step(deployment(10, "a:2", strategy=rolling(3, 2)))
    world.step(deployment(10, "a:2", strategy=rolling(3, 2)))
    before = world.by_image()
    assert before == {"a:1": 8, "a:2": 3}
    world.step(deployment(15, "a:2", strategy=rolling(3, 2)))
    assert world.total == 18
    after = world.by_image()
    assert after["a:1"] > before["a:1"] and after["a:2"] > before["a:2"]


def test_history_is_bounded() -> None:
    """Empty sets beyond revisionHistoryLimit go, the oldest revision first, once the rollout is complete."""
    world = World()
    for number in range(4):
        world.finish(deployment(1, f"a:{number}"))
    for rs in world.sets:
        rs["status"]["observedGeneration"] = 1
        rs["metadata"]["generation"] = 1
    rollout = plan_deployment(deployment(1, "a:3", revisionHistoryLimit=1), world.sets, old_pods_run=False)
    assert [rs["metadata"]["uid"] for rs in rollout.delete] == ["rs1", "rs2"]


def test_progress_deadline() -> None:
    """Without progress for progressDeadlineSeconds the condition turns False; progress brings it back."""
    world, wish = World(), deployment(2, progressDeadlineSeconds=10)
    world.step(wish)

    def judge(now: float) -> str:
        rollout = plan_deployment(wish, world.sets, old_pods_run=False)
        wish["status"], _ = plan_status(wish, rollout, now)
        return str(condition(wish, "Progressing")["reason"])

    assert judge(1000.0) == "ReplicaSetUpdated"
    assert judge(1009.0) == "ReplicaSetUpdated"
    assert judge(1011.0) == "ProgressDeadlineExceeded"
    world.become_ready(0)
    assert judge(1012.0) == "ReplicaSetUpdated"
    world.become_ready(0)
    assert judge(1013.0) == "NewReplicaSetAvailable"
    world.sets[0]["status"]["availableReplicas"] = 1
    assert judge(2000.0) == "NewReplicaSetAvailable"


def test_deletion_order_of_pods() -> None:
    """Unassigned, then pending, then not ready, then cheap, then crowded nodes, then young ones go first."""

    def pod(name: str, node: str = "n", phase: str = "Running", ready: bool = True, **more: Any) -> Object:
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        meta = {"name": name, "creationTimestamp": more.pop("made", "2026-01-01T00:00:00Z"), **more}
        return {"metadata": meta, "spec": {"nodeName": node}, "status": {"phase": phase, "conditions": conditions}}

    cheap = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    pods = [
        pod("old", "m"),
        pod("young", "m2", made="2026-02-01T00:00:00Z"),
        pod("crowded1"),
        pod("crowded2"),
        pod("cheap", "m3", annotations=cheap),
        pod("unready", "m4", ready=False),
        pod("pending", "m5", phase="Pending", ready=False),
        pod("unassigned", "", phase="Pending", ready=False),
    ]
    names = [p["metadata"]["name"] for p in deletion_order(pods)]
    assert names == ["unassigned", "pending", "unready", "cheap", "crowded1", "crowded2", "young", "old"]
