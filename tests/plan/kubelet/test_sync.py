"""What to do next for a pod: from any state of the runtime, the same end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.runtime import (
    ANNOTATION_BACKOFF,
    ANNOTATION_HASH,
    ANNOTATION_RESTART_COUNT,
    Container,
    Sandbox,
    State,
)
from podloom.plan.kubelet.configs import container_hash
from podloom.plan.kubelet.probe import Health
from podloom.plan.kubelet.sync import SECOND, Actions, PodRuntime, backoff, plan_actions, pod_runtime, stop_order

INIT = {"name": "init", "image": "i"}
SIDE = {"name": "side", "image": "s", "restartPolicy": "Always"}
MAIN = {"name": "main", "image": "m"}
SECOND_MAIN = {"name": "other", "image": "o"}


def pod(policy: str = "Always", *, init: tuple[Any, ...] = (INIT, SIDE), **spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "n", "uid": "u"}
    body = {"restartPolicy": policy, "initContainers": list(init), "containers": [MAIN, SECOND_MAIN]}
    return {"metadata": meta, "spec": {**body, **spec}}


def sandbox(number: int = 0, *, ready: bool = True) -> Sandbox:
    return Sandbox(f"s{number}", "u", "n", "p", number, ready, number + 1, ("10.0.0.1",) if ready else ())


def container(spec: dict[str, Any], sandbox_id: str, attempt: int, state: State, **more: Any) -> Container:
    annotations = {
        ANNOTATION_HASH: container_hash(spec),
        ANNOTATION_RESTART_COUNT: str(attempt),
        ANNOTATION_BACKOFF: str(more.pop("level", 0)),
    }
    fields = {"created_at_ns": 10 + attempt, "started_at_ns": 10 + attempt, "finished_at_ns": 20 + attempt, **more}
    one = Container(f"{spec['name']}{attempt}", sandbox_id, "u", spec["name"], attempt, state, "", "", **fields)
    return replace(one, annotations=annotations)


class World:
    """A runtime that does what the actions say, for tests."""

    def __init__(self, runtime: PodRuntime) -> None:
        self.sandboxes, self.containers = list(runtime.sandboxes), list(runtime.containers)
        self.tick = 1000

    def runtime(self) -> PodRuntime:
        return pod_runtime(self.sandboxes, self.containers)

    def act(self, subject: dict[str, Any], actions: Actions) -> None:
        self.tick += 10
        stopped = set(actions.stop_sandboxes)
        assert not {c.sandbox_id for c in self.containers} & set(actions.remove_sandboxes)
        kept = [s for s in self.sandboxes if s.id not in actions.remove_sandboxes]
        self.sandboxes = [replace(s, ready=False) if s.id in stopped else s for s in kept]
        ended = {k.container_id for k in actions.kill} | {c.id for c in self.containers if c.sandbox_id in stopped}
        self.containers = [
            replace(c, state=State.EXITED, exit_code=137, finished_at_ns=self.tick) if c.id in ended else c
            for c in self.containers
            if c.id not in actions.remove
        ]
        if actions.create_sandbox is not None:
            assert not any(s.attempt == actions.create_sandbox for s in self.sandboxes)
            self.sandboxes.append(replace(sandbox(actions.create_sandbox), created_at_ns=self.tick))
            return
        specs = {c["name"]: c for c in [*subject["spec"]["initContainers"], *subject["spec"]["containers"]]}
        for start in actions.start:
            here = self.runtime().sandboxes[0].id
            assert not any(c.name == start.name and c.attempt == start.attempt for c in self.containers)
            state = State.EXITED if start.name == "init" else State.RUNNING
            made = container(specs[start.name], here, start.attempt, state, level=start.backoff_level)
            self.containers.append(replace(made, created_at_ns=self.tick, finished_at_ns=self.tick))


states = st.sampled_from(list(State))
mains = st.lists(
    st.tuples(st.sampled_from([INIT, SIDE, MAIN, SECOND_MAIN]), st.integers(0, 1), states, st.integers(0, 1)),
    max_size=7,
)


@st.composite
def runtimes(draw: st.DrawFn) -> PodRuntime:
    """Any mixture of sandboxes and containers, whatever led to it."""
    count = draw(st.integers(0, 2))
    sandboxes = [sandbox(n, ready=draw(st.booleans()) and n == count - 1) for n in range(count)]
    made = []
    for attempt, (spec, where, state, code) in enumerate(draw(mains)):
        if count:
            dead = state is State.RUNNING and (spec is INIT or not sandboxes[where % count].ready)
            shown = State.EXITED if dead else state
            made.append(container(spec, f"s{where % count}", attempt, shown, exit_code=code))
    return pod_runtime(sandboxes, made)


@given(runtimes())
def test_any_state_leads_to_a_running_pod(start: PodRuntime) -> None:
    """With restartPolicy Always every state converges, in few steps, to all main containers running once."""
    world, subject, far = World(start), pod(), 10**15
    for _ in range(30):
        actions = plan_actions(subject, world.runtime(), {}, far)
        if actions.idle:
            break
        world.act(subject, actions)
    runtime = world.runtime()
    assert runtime.sandbox is not None and runtime.sandbox.ready
    for name in ("main", "other", "side"):
        latest = runtime.latest(name, runtime.sandbox.id)
        assert latest is not None and latest.state is State.RUNNING
    assert plan_actions(subject, runtime, {}, far).idle


def test_order_of_a_start() -> None:
    """Sandbox, init container to its end, sidecar, then the main containers together."""
    world, subject, steps = World(PodRuntime()), pod(), []
    for _ in range(6):
        actions = plan_actions(subject, world.runtime(), {}, 10**15)
        if actions.create_sandbox is not None:
            steps.append(f"sandbox{actions.create_sandbox}")
        steps += [start.name for start in actions.start]
        world.act(subject, actions)
    assert steps == ["sandbox0", "init", "side", "main", "other"]


def test_a_sidecar_with_a_startup_probe_holds_the_rest() -> None:
    side = {**SIDE, "startupProbe": {"periodSeconds": 1}}
    subject = pod(init=(side,))
    runtime = pod_runtime([sandbox()], [container(side, "s0", 0, State.RUNNING)])
    assert plan_actions(subject, runtime, {"side0": Health(started=None)}, 0).idle
    assert plan_actions(subject, runtime, {"side0": Health(started=True)}, 0).start[0].name == "main"
    assert plan_actions(subject, runtime, {"side0": Health(started=False)}, 0).kill[0].name == "side"


@pytest.mark.parametrize(
    ("policy", "code", "starts"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_restart_policies(policy: str, code: int, starts: bool) -> None:
    subject = pod(policy, init=())
    ended = [container(c, "s0", 0, State.EXITED, exit_code=code) for c in (MAIN, SECOND_MAIN)]
    actions = plan_actions(subject, pod_runtime([sandbox()], ended), {}, 10**15)
    assert bool(actions.start) == starts


@pytest.mark.parametrize("policy", ["OnFailure", "Never"])
def test_an_ended_pod_gets_no_new_sandbox(policy: str) -> None:
    ended = [container(c, "s0", 0, State.EXITED) for c in (MAIN, SECOND_MAIN)]
    assert plan_actions(pod(policy, init=()), pod_runtime([sandbox(ready=False)], ended), {}, 0).idle


def test_failed_init_container_ends_a_never_pod() -> None:
    failed = pod_runtime([sandbox()], [container(INIT, "s0", 0, State.EXITED, exit_code=1)])
    assert plan_actions(pod("Never"), failed, {}, 10**15).idle
    assert plan_actions(pod("OnFailure"), failed, {}, 10**15).start[0].name == "init"


def test_back_off_doubles_and_resets() -> None:
    """0, 10, 20, ... 300 s after the end; anew after ten minutes of running; read from the container alone."""
    delays, level = [], 0
    for attempt in range(8):
        delay, level = backoff(container(MAIN, "s0", attempt, State.EXITED, level=level))
        delays.append(delay)
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    ran = container(MAIN, "s0", 5, State.EXITED, level=6, started_at_ns=1, finished_at_ns=601 * SECOND)
    assert backoff(ran) == (0, 1)


def test_waiting_for_back_off() -> None:
    last = container(MAIN, "s0", 1, State.EXITED, level=1, finished_at_ns=100 * SECOND)
    other = container(SECOND_MAIN, "s0", 0, State.RUNNING)
    runtime = pod_runtime([sandbox()], [last, other])
    early = plan_actions(pod(init=()), runtime, {}, 105 * SECOND)
    assert early.idle and early.waiting[0].until_ns == 110 * SECOND
    late = plan_actions(pod(init=()), runtime, {}, 110 * SECOND)
    assert (late.start[0].attempt, late.start[0].backoff_level) == (2, 2)


def test_a_changed_image_replaces_the_container() -> None:
    running = [container(MAIN, "s0", 0, State.RUNNING), container(SECOND_MAIN, "s0", 0, State.RUNNING)]
    subject = pod(init=())
    subject["spec"]["containers"] = [{**MAIN, "image": "new"}, SECOND_MAIN]
    (kill,) = plan_actions(subject, pod_runtime([sandbox()], running), {}, 0).kill
    assert kill.message == "Container main definition changed, will be restarted"


def test_old_dead_containers_are_removed() -> None:
    """The newest and the one before it stay, for logs --previous."""
    dead = [container(MAIN, "s0", n, State.EXITED) for n in range(4)]
    live = [container(MAIN, "s0", 4, State.RUNNING), container(SECOND_MAIN, "s0", 0, State.RUNNING)]
    assert set(plan_actions(pod(init=()), pod_runtime([sandbox()], dead + live), {}, 0).remove) == {
        "main0",
        "main1",
        "main2",
    }


def test_what_never_started_is_removed() -> None:
    """A kubelet killed between create and start: the container goes, and its start is no restart."""
    made = [container(MAIN, "s0", 0, State.CREATED), container(SECOND_MAIN, "s0", 0, State.RUNNING)]
    actions = plan_actions(pod("Never", init=()), pod_runtime([sandbox()], made), {}, 0)
    assert actions.remove == ("main0",) and actions.start[0].attempt == 0


def test_an_unknown_container_is_stopped_first() -> None:
    made = [container(MAIN, "s0", 0, State.UNKNOWN), container(SECOND_MAIN, "s0", 0, State.RUNNING)]
    actions = plan_actions(pod(init=()), pod_runtime([sandbox()], made), {}, 0)
    assert [one.container_id for one in actions.kill] == ["main0"] and not actions.start


def test_a_dead_sandbox_is_stopped_and_later_removed() -> None:
    """Stopping gives its address back; it is removed when its containers are gone."""
    dead = [container(MAIN, "s0", n, State.EXITED) for n in range(2)]
    lost = plan_actions(pod(init=()), pod_runtime([sandbox(ready=False)], dead), {}, 0)
    assert (lost.stop_sandboxes, lost.create_sandbox) == (("s0",), 1)
    live = [container(c, "s1", n, State.RUNNING) for n, c in ((2, MAIN), (3, SECOND_MAIN))]
    both = [sandbox(ready=False), sandbox(1)]
    assert plan_actions(pod(init=()), pod_runtime(both, dead + live), {}, 0).remove_sandboxes == ()
    assert plan_actions(pod(init=()), pod_runtime(both, live), {}, 0).remove_sandboxes == ("s0",)


def test_sidecars_stop_last() -> None:
    live = [container(c, "s0", 0, State.RUNNING) for c in (SIDE, MAIN, SECOND_MAIN)]
    groups = stop_order(pod(), pod_runtime([sandbox()], live))
    assert [sorted(c.name for c in group) for group in groups] == [["main", "other"], ["side"]]


DEBUG = {"name": "debug", "image": "d"}


def test_an_ephemeral_container_starts_once() -> None:
    """`kubectl debug`, also while the pod is still initializing; whatever becomes of it, it is not started again."""
    wanted = pod(ephemeralContainers=[DEBUG])
    begun = plan_actions(wanted, pod_runtime([sandbox()], []), {}, 1000)
    assert [(one.name, one.init) for one in begun.start] == [("debug", False), ("init", True)]
    for state in (State.RUNNING, State.EXITED, State.UNKNOWN):
        there = [container(DEBUG, "s0", 0, state), container(INIT, "s0", 0, State.RUNNING)]
        assert plan_actions(wanted, pod_runtime([sandbox()], there), {}, 1000).start == ()
    again = [container(DEBUG, "s0", 0, State.EXITED), container(INIT, "s1", 0, State.RUNNING)]
    assert plan_actions(wanted, pod_runtime([sandbox(1), sandbox(0, ready=False)], again), {}, 1000).start == ()


def test_an_ephemeral_container_waits_for_its_target() -> None:
    wanted = pod(init=(), ephemeralContainers=[{**DEBUG, "targetContainerName": "main"}])
    other = container(SECOND_MAIN, "s0", 0, State.RUNNING)
    dead = plan_actions(wanted, pod_runtime([sandbox()], [container(MAIN, "s0", 0, State.EXITED), other]), {}, 10**12)
    assert "debug" not in [one.name for one in dead.start]
    live = plan_actions(wanted, pod_runtime([sandbox()], [container(MAIN, "s0", 3, State.RUNNING), other]), {}, 10**12)
    assert [(one.name, one.target) for one in live.start] == [("debug", "main3")]
