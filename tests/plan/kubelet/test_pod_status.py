"""A pod's status: phases, conditions and container states as the upstream kubelet writes them."""

from __future__ import annotations

from typing import Any

import pytest

from podloom.model.runtime import Container, Sandbox, State
from podloom.plan.kubelet.fields import NodeFacts
from podloom.plan.kubelet.probe import Health
from podloom.plan.kubelet.status import StatusInputs, failed_status, is_finished, plan_status
from podloom.plan.kubelet.sync import PodRuntime, pod_runtime

NODE = NodeFacts("node", ("10.224.0.4",))
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
T = 1_767_225_600_000_000_000


def pod(policy: str = "Always", *, init: tuple[dict[str, Any], ...] = (), **main: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {
            "restartPolicy": policy,
            "initContainers": list(init),
            "containers": [{"name": "main", "image": "m", **main}],
        },
    }


def one(name: str, state: State, attempt: int = 0, code: int = 0) -> Container:
    finished = T if state is State.EXITED else 0
    return Container(
        f"{name}{attempt}", "s", "u", name, attempt, state, f"img/{name}", "sha256:1", T + attempt, T, finished, code
    )


def runtime(*containers: Container, ready: bool = True) -> PodRuntime:
    return pod_runtime(
        [Sandbox("s", "u", "n", "p", 0, ready, 1, ("192.168.0.5", "fd00::5") if ready else ())], containers
    )


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


def test_nothing_yet() -> None:
    status = plan_status(pod(), StatusInputs(PodRuntime(), NODE, NOW))
    assert status["phase"] == "Pending" and "podIP" not in status
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(status) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }


def test_running() -> None:
    status = plan_status(pod(), StatusInputs(runtime(one("main", State.RUNNING)), NODE, NOW))
    (shown,) = status["containerStatuses"]
    assert (status["phase"], shown["ready"], shown["started"]) == ("Running", True, True)
    assert shown["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert shown["containerID"] == "containerd://main0"
    assert (status["podIP"], status["podIPs"]) == ("192.168.0.5", [{"ip": "192.168.0.5"}, {"ip": "fd00::5"}])
    assert (status["hostIP"], status["hostIPs"]) == ("10.224.0.4", [{"ip": "10.224.0.4"}])
    assert set(conditions(status).values()) == {"True"}


def test_unready_says_who() -> None:
    subject = pod(readinessProbe={"periodSeconds": 1})
    inputs = StatusInputs(runtime(one("main", State.RUNNING)), NODE, NOW, {"main0": Health(ready=False)})
    status = plan_status(subject, inputs)
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("ContainersNotReady", "containers with unready status: [main]")


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        ("Always", 1, "Running"),
        ("OnFailure", 1, "Running"),
        ("OnFailure", 0, "Succeeded"),
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
    ],
)
def test_phases_of_an_ended_container(policy: str, code: int, phase: str) -> None:
    status = plan_status(pod(policy), StatusInputs(runtime(one("main", State.EXITED, code=code)), NODE, NOW))
    assert status["phase"] == phase
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, "Error" if code else "Completed")


def test_crash_loop_shows_the_last_end() -> None:
    problems = {"main": ("CrashLoopBackOff", "back-off 10s")}
    status = plan_status(
        pod(), StatusInputs(runtime(one("main", State.EXITED, 1, 3)), NODE, NOW, {}, problems, {"main1": "why"})
    )
    (shown,) = status["containerStatuses"]
    assert shown["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    assert (shown["lastState"]["terminated"]["exitCode"], shown["lastState"]["terminated"]["message"]) == (3, "why")
    assert (status["phase"], shown["restartCount"]) == ("Running", 1)


def test_init_containers() -> None:
    subject = pod("Never", init=({"name": "i", "image": "x"},))
    waiting = plan_status(subject, StatusInputs(runtime(one("i", State.RUNNING)), NODE, NOW))
    assert waiting["phase"] == "Pending" and conditions(waiting)["Initialized"] == "False"
    assert waiting["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    done = plan_status(subject, StatusInputs(runtime(one("i", State.EXITED), one("main", State.RUNNING)), NODE, NOW))
    assert done["phase"] == "Running" and conditions(done)["Initialized"] == "True"
    assert done["initContainerStatuses"][0]["ready"]
    failed = runtime(one("i", State.EXITED, code=1))
    assert plan_status(subject, StatusInputs(failed, NODE, NOW))["phase"] == "Failed"
    assert is_finished(subject, failed)


def test_transition_times_move_only_with_the_status() -> None:
    subject = pod()
    first = plan_status(subject, StatusInputs(PodRuntime(), NODE, NOW))
    second = plan_status({**subject, "status": first}, StatusInputs(runtime(one("main", State.RUNNING)), NODE, LATER))
    times = {c["type"]: c["lastTransitionTime"] for c in second["conditions"]}
    assert (times["Initialized"], times["Ready"], second["startTime"]) == (NOW, LATER, NOW)


def test_twice_is_once() -> None:
    """Recomputing from an unchanged world changes nothing, at any later time."""
    subject, world = pod(), runtime(one("main", State.RUNNING))
    first = plan_status(subject, StatusInputs(world, NODE, NOW))
    assert plan_status({**subject, "status": first}, StatusInputs(world, NODE, LATER)) == first


def test_foreign_conditions_and_gates() -> None:
    """Conditions of others stay; a readiness gate holds Ready but not ContainersReady."""
    subject = pod()
    subject["spec"]["readinessGates"] = [{"conditionType": "my/gate"}]
    subject["status"] = {"conditions": [{"type": "x/other", "status": "True"}]}
    status = plan_status(subject, StatusInputs(runtime(one("main", State.RUNNING)), NODE, NOW))
    assert conditions(status)["x/other"] == "True"
    assert (conditions(status)["Ready"], conditions(status)["ContainersReady"]) == ("False", "True")
    subject["status"] = {"conditions": [{"type": "my/gate", "status": "True"}]}
    status = plan_status(subject, StatusInputs(runtime(one("main", State.RUNNING)), NODE, NOW))
    assert conditions(status)["Ready"] == "True"


def test_an_ended_phase_stays_and_keeps_addresses() -> None:
    subject = pod("Never")
    subject["status"] = {"phase": "Succeeded", "podIP": "192.168.0.5", "podIPs": [{"ip": "192.168.0.5"}]}
    status = plan_status(subject, StatusInputs(runtime(one("main", State.EXITED), ready=False), NODE, NOW))
    assert (status["phase"], status["podIP"]) == ("Succeeded", "192.168.0.5")


def test_a_stopped_pod_ends() -> None:
    """While a pod is deleted, ended containers are shown as ended and the phase follows their exit codes."""
    world = runtime(one("main", State.EXITED, code=137), ready=False)
    assert plan_status(pod(), StatusInputs(world, NODE, NOW, ending=True))["phase"] == "Failed"
    world = runtime(one("main", State.EXITED), ready=False)
    assert plan_status(pod(), StatusInputs(world, NODE, NOW, ending=True))["phase"] == "Succeeded"


def test_a_never_pod_whose_sandbox_died_has_ended() -> None:
    """What was created and not started will not start any more: the pod has failed."""
    world = runtime(one("main", State.EXITED), one("late", State.CREATED), ready=False)
    subject = pod("Never")
    subject["spec"]["containers"].append({"name": "late", "image": "l"})
    assert is_finished(subject, world)
    assert plan_status(subject, StatusInputs(world, NODE, NOW, ending=True))["phase"] == "Failed"


def test_host_network() -> None:
    subject = pod()
    subject["spec"]["hostNetwork"] = True
    status = plan_status(subject, StatusInputs(runtime(one("main", State.RUNNING)), NODE, NOW))
    assert status["podIP"] == "10.224.0.4"


def test_refused() -> None:
    status = failed_status(pod(), "OutOfpods", "full", NOW)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "OutOfpods", "full")


def test_an_ephemeral_container_changes_nothing_but_its_own_status() -> None:
    with_debug = pod()
    with_debug["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "d"}]
    for state, shown in ((State.RUNNING, "running"), (State.EXITED, "terminated")):
        containers = [one("main", State.RUNNING), one("debug", state, code=1)]
        status = plan_status(with_debug, StatusInputs(runtime(*containers), NODE, NOW))
        (found,) = status.pop("ephemeralContainerStatuses")
        assert shown in found["state"] and found["ready"] is False and "started" not in found
        assert status == plan_status(pod(), StatusInputs(runtime(containers[0]), NODE, NOW))
