"""What to do next for a pod: compare what it wants with what the runtime reports.

The problem: any state may be found (a kubelet killed between two calls, a sandbox that died, a container that
was created and never started) and the same rules must lead to the pod's wanted state. So nothing is remembered:
the next step is a function of the pod, the runtime's report, probe verdicts and the clock, and the worker asks
again after each step. Restart back-off is read from the last container's own annotation, so it survives us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podloom.model.runtime import ANNOTATION_BACKOFF, ANNOTATION_HASH, Container, Sandbox, State
from podloom.plan.kubelet.configs import container_hash
from podloom.plan.kubelet.probe import Health

Object = Mapping[str, Any]
SECOND = 1_000_000_000
BACKOFF_FIRST_S = 10
BACKOFF_MOST_S = 300
BACKOFF_RESET_S = 600


@dataclass(frozen=True)
class PodRuntime:
    """What the runtime reports of one pod: sandboxes and containers, newest first."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, name: str, sandbox_id: str = "") -> Container | None:
        """The newest container of that name, in one sandbox when given."""
        return next((c for c in self.containers if c.name == name and sandbox_id in ("", c.sandbox_id)), None)

    def next_attempt(self, name: str) -> int:
        """One more than any that started: names are reserved by attempt, and what never started is removed."""
        began = [c.restart_count for c in self.containers if c.name == name and c.state is not State.CREATED]
        return 1 + max(began, default=-1)

    def previous(self, name: str) -> Container | None:
        """The one before the newest."""
        found = [c for c in self.containers if c.name == name]
        return found[1] if len(found) > 1 else None


def pod_runtime(sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> PodRuntime:
    """Sorted as PodRuntime wants it."""
    return PodRuntime(
        tuple(sorted(sandboxes, key=lambda s: (s.created_at_ns, s.attempt), reverse=True)),
        tuple(sorted(containers, key=lambda c: (c.created_at_ns, c.attempt), reverse=True)),
    )


@dataclass(frozen=True)
class Start:
    """Start this container next; attempt is its restart count."""

    name: str
    attempt: int
    backoff_level: int
    init: bool
    target: str = ""  # id of the container whose processes it sees (ephemeral containers)


@dataclass(frozen=True)
class Kill:
    container_id: str
    name: str
    message: str


@dataclass(frozen=True)
class Waiting:
    """A container whose restart must wait, until when."""

    name: str
    until_ns: int
    delay_s: int


@dataclass(frozen=True)
class Actions:
    """The next steps, in the order of the fields; nothing set means the pod is as wanted."""

    stop_sandboxes: tuple[str, ...] = ()
    create_sandbox: int | None = None  # its attempt
    kill: tuple[Kill, ...] = ()
    start: tuple[Start, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    remove: tuple[str, ...] = ()  # dead containers nobody needs
    remove_sandboxes: tuple[str, ...] = ()  # old ones that hold no container any more
    initialized: bool = False

    @property
    def idle(self) -> bool:
        any_step = self.stop_sandboxes or self.kill or self.start or self.remove or self.remove_sandboxes
        return not any_step and self.create_sandbox is None


@dataclass
class _Plan:
    """What is looked at, and the actions collected while walking over the containers."""

    pod: Object
    runtime: PodRuntime
    sandbox_id: str
    health: Mapping[str, Health]
    now_ns: int
    kill: list[Kill] = field(default_factory=list)
    start: list[Start] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


def is_sidecar(container: Object) -> bool:
    """A restartable init container (Kubernetes docs, "Sidecar Containers")."""
    return container.get("restartPolicy") == "Always"


def _level(container: Container) -> int:
    text = container.annotations.get(ANNOTATION_BACKOFF, "")
    return int(text) if text.isdigit() else container.restart_count


def backoff(last: Container) -> tuple[int, int]:
    """(seconds to wait after its end, back-off level of the next start); after 600 s of running it starts anew."""
    level = _level(last)
    ran_s = (last.finished_at_ns - last.started_at_ns) / SECOND if last.started_at_ns else 0
    if ran_s >= BACKOFF_RESET_S:
        level = 0
    delay = 0 if level == 0 else min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (level - 1))
    return delay, level + 1


def should_restart(policy: str, last: Container) -> bool:
    """Whether a container that is not running is to run again."""
    if last.state in (State.CREATED, State.UNKNOWN) or policy == "Always":
        return True
    return policy == "OnFailure" and last.exit_code != 0


def _plan_start(plan: _Plan, name: str, last: Container, *, init: bool) -> None:
    """Start `name` now, or note until when it must wait."""
    delay, level = (0, _level(last)) if last.state is State.CREATED else backoff(last)
    until = (last.finished_at_ns or last.created_at_ns) + delay * SECOND
    if delay and until > plan.now_ns:
        plan.waiting.append(Waiting(name, until, delay))
    else:
        plan.start.append(Start(name, plan.runtime.next_attempt(name), level, init))


def _unhealthy(container: Object, running: Container, health: Health | None) -> str:
    """Why a running container must be killed, or nothing."""
    wanted, has = container_hash(container), running.annotations.get(ANNOTATION_HASH)
    if has and has != wanted:
        return f"Container {container['name']} definition changed, will be restarted"
    if health is not None and health.started is False:
        return f"Container {container['name']} failed startup probe, will be restarted"
    if health is not None and health.alive is False:
        return f"Container {container['name']} failed liveness probe, will be restarted"
    return ""


def _started(container: Object, health: Health | None) -> bool:
    return not container.get("startupProbe") or bool(health and health.started)


def needs_sandbox(pod: Object, runtime: PodRuntime) -> bool:
    """No sandbox, a dead one, or one without the address it should have."""
    newest = runtime.sandbox
    if newest is None or not newest.ready:
        return True
    return not pod["spec"].get("hostNetwork") and not newest.ips


def _sandbox_actions(pod: Object, runtime: PodRuntime) -> Actions:
    policy = pod["spec"].get("restartPolicy") or "Always"
    if policy == "Never" and any(one.state is not State.CREATED for one in runtime.containers):
        return Actions()
    if policy == "OnFailure":
        ended = [runtime.latest(one["name"]) for one in pod["spec"]["containers"]]
        if all(one is not None and one.state is State.EXITED and one.exit_code == 0 for one in ended):
            return Actions()
    return Actions(
        stop_sandboxes=tuple(one.id for one in runtime.sandboxes),  # a dead one may still hold its address
        create_sandbox=1 + max((one.attempt for one in runtime.sandboxes), default=-1),
    )


def _plan_init(plan: _Plan) -> bool:
    """Walk the init containers in order; True when all that must end have ended and sidecars have started."""
    pod, runtime, sandbox_id, health = plan.pod, plan.runtime, plan.sandbox_id, plan.health
    policy = pod["spec"].get("restartPolicy") or "Always"
    mains_began = any(runtime.latest(one["name"], sandbox_id) for one in pod["spec"]["containers"])
    for container in pod["spec"].get("initContainers") or ():
        name, sidecar = container["name"], is_sidecar(container)
        if mains_began and not sidecar:
            continue
        here = runtime.latest(name, sandbox_id)
        if here is None:
            _plan_start_new_sandbox(plan, name, runtime.latest(name), init=True)
        elif here.state is State.UNKNOWN:
            plan.kill.append(Kill(here.id, name, f"Container {name} is in an unknown state, will be restarted"))
        elif here.state is State.RUNNING and sidecar:
            message = _unhealthy(container, here, health.get(here.id))
            if message:
                plan.kill.append(Kill(here.id, name, message))
            if _started(container, health.get(here.id)):
                continue
        elif here.state is State.EXITED and here.exit_code == 0 and not sidecar:
            continue
        elif here.state is not State.RUNNING and (sidecar or policy != "Never" or here.state is State.CREATED):
            _plan_start(plan, name, here, init=True)
        if not mains_began:
            return False
    return True


def _plan_start_new_sandbox(plan: _Plan, name: str, before: Container | None, *, init: bool) -> None:
    """The first start in a sandbox waits for nothing, but goes on counting."""
    if before is None:
        plan.start.append(Start(name, 0, 0, init))
    else:
        level = _level(before) if before.state is State.CREATED else backoff(before)[1]
        plan.start.append(Start(name, plan.runtime.next_attempt(name), level, init))


def _plan_mains(plan: _Plan) -> None:
    pod, runtime, sandbox_id, health = plan.pod, plan.runtime, plan.sandbox_id, plan.health
    policy = pod["spec"].get("restartPolicy") or "Always"
    for container in pod["spec"]["containers"]:
        name = container["name"]
        here, before = runtime.latest(name, sandbox_id), runtime.latest(name)
        if here is None:
            if before is None or should_restart(policy, before):
                _plan_start_new_sandbox(plan, name, before, init=False)
        elif here.state is State.UNKNOWN:
            plan.kill.append(Kill(here.id, name, f"Container {name} is in an unknown state, will be restarted"))
        elif here.state is State.RUNNING:
            message = _unhealthy(container, here, health.get(here.id))
            if message:
                plan.kill.append(Kill(here.id, name, message))
        elif should_restart(policy, here):
            _plan_start(plan, name, here, init=False)


def _plan_ephemeral(plan: _Plan) -> None:
    """Each starts once, whatever the others do, and never again (Kubernetes docs, "Ephemeral Containers")."""
    for container in plan.pod["spec"].get("ephemeralContainers") or ():
        before = plan.runtime.latest(container["name"])
        if before is not None and before.state is not State.CREATED:
            continue
        target = container.get("targetContainerName")
        seen = plan.runtime.latest(target, plan.sandbox_id) if target else None
        if target and (seen is None or seen.state is not State.RUNNING):
            continue
        plan.start.append(Start(container["name"], 0, 0, False, seen.id if seen else ""))


def plan_actions(pod: Object, runtime: PodRuntime, health: Mapping[str, Health], now_ns: int) -> Actions:
    """The next steps for a pod that shall run. `health` is by container id. Times in ns."""
    if needs_sandbox(pod, runtime):
        return _sandbox_actions(pod, runtime)
    plan = _Plan(pod, runtime, runtime.sandboxes[0].id, health, now_ns)
    _plan_ephemeral(plan)
    initialized = _plan_init(plan)
    if initialized:
        _plan_mains(plan)
    return Actions(
        kill=tuple(plan.kill),
        start=tuple(plan.start),
        waiting=tuple(plan.waiting),
        remove=tuple(superfluous(runtime)),
        remove_sandboxes=tuple(empty_sandboxes(runtime)),
        initialized=initialized,
    )


def superfluous(runtime: PodRuntime) -> list[str]:
    """Containers that never started, and dead ones beyond the newest two (kept for `kubectl logs --previous`)."""
    seen: dict[str, int] = {}
    out = [container.id for container in runtime.containers if container.state is State.CREATED]
    for container in runtime.containers:
        if container.state is State.CREATED:
            continue
        seen[container.name] = seen.get(container.name, 0) + 1
        if seen[container.name] > 2 and container.state is not State.RUNNING:
            out.append(container.id)
    return out


def empty_sandboxes(runtime: PodRuntime) -> list[str]:
    """Dead sandboxes before the newest one that no container refers to."""
    used = {container.sandbox_id for container in runtime.containers}
    return [one.id for one in runtime.sandboxes[1:] if not one.ready and one.id not in used]


def stop_order(pod: Object, runtime: PodRuntime) -> list[list[Container]]:
    """Which running containers to stop, in groups: the main ones together, then sidecars one by one, last first."""
    sidecars = [one["name"] for one in pod["spec"].get("initContainers") or () if is_sidecar(one)]
    live = [one for one in runtime.containers if one.state in (State.RUNNING, State.UNKNOWN, State.CREATED)]
    first = [one for one in live if one.name not in sidecars]
    groups = [first] if first else []
    for name in reversed(sidecars):
        group = [one for one in live if one.name == name]
        if group:
            groups.append(group)
    return groups
