"""Pods: the STATUS people read, admission, what may change, and subresources."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from podloom.kube.api.contract import StatusError
from podloom.kube.api.kinds.pod_defaults import pull_policy
from podloom.kube.api.kinds.pod_print import cells, qos_class

NOW = "2026-01-01T00:10:00Z"


def _pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "m", "image": "i:1"}], **spec},
    }


def _shown(status: dict[str, Any], spec: dict[str, Any] | None = None, **meta: Any) -> list[Any]:
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z", **meta},
        "spec": {"containers": [{"name": "m"}], **(spec or {})},
        "status": status,
    }
    return cells(pod, NOW)[1:5]


def _container(state: dict[str, Any], *, ready: bool = False, restarts: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": "m", "state": state, "ready": ready, "restartCount": restarts, **more}


RUNNING = {"running": {"startedAt": NOW}}


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"phase": "Pending"}, ["0/1", "Pending", "0", "10m"]),
        ({"phase": "Running", "containerStatuses": [_container(RUNNING, ready=True)]}, ["1/1", "Running", "0", "10m"]),
        (
            {
                "phase": "Running",
                "containerStatuses": [_container({"waiting": {"reason": "CrashLoopBackOff"}}, restarts=3)],
            },
            ["0/1", "CrashLoopBackOff", "3", "10m"],
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    _container(
                        RUNNING,
                        ready=True,
                        restarts=2,
                        lastState={"terminated": {"finishedAt": "2026-01-01T00:09:00Z"}},
                    )
                ],
            },
            ["1/1", "Running", "2 (60s ago)", "10m"],
        ),
        (
            {"phase": "Succeeded", "containerStatuses": [_container({"terminated": {"reason": "Completed"}})]},
            ["0/1", "Completed", "0", "10m"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [_container({"terminated": {"exitCode": 7}})]},
            ["0/1", "ExitCode:7", "0", "10m"],
        ),
        ({"phase": "Failed", "reason": "Evicted"}, ["0/1", "Evicted", "0", "10m"]),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            ["0/1", "SchedulingGated", "0", "10m"],
        ),
    ],
)
def test_status_is_the_most_telling_of_what_is_known(status: dict[str, Any], wanted: list[str]) -> None:
    """Ready, Status, Restarts and Age as kubectl prints them."""
    assert _shown(status) == wanted


def test_status_of_init_containers() -> None:
    """Waiting, failed and done init containers show as Init:..., sidecars count as containers."""
    inits = {"initContainers": [{"name": "a"}, {"name": "m"}]}
    done, running = {"terminated": {"exitCode": 0}}, {"running": {}}

    def init(*states: dict[str, Any]) -> list[Any]:
        statuses = [_container(state) | {"name": n} for n, state in zip("am", states, strict=True)]
        return _shown({"phase": "Pending", "initContainerStatuses": statuses}, inits)

    assert init(running, {})[1] == "Init:0/2"
    assert init(done, running)[1] == "Init:1/2"
    assert init({"terminated": {"exitCode": 3}}, {})[1] == "Init:ExitCode:3"
    assert init({"waiting": {"reason": "ImagePullBackOff"}}, {})[1] == "Init:ImagePullBackOff"
    sidecar = {"initContainers": [{"name": "a", "restartPolicy": "Always"}]}
    statuses = [_container(RUNNING, ready=True, started=True) | {"name": "a"}]
    both = {
        "phase": "Running",
        "initContainerStatuses": statuses,
        "containerStatuses": [_container(RUNNING, ready=True)],
    }
    assert _shown(both, sidecar)[:2] == ["2/2", "Running"]


def test_status_while_deleting() -> None:
    """A pod being deleted is Terminating, on a lost node Unknown, and keeps how it ended."""
    assert _shown({"phase": "Running"}, deletionTimestamp=NOW)[1] == "Terminating"
    assert _shown({"phase": "Running", "reason": "NodeLost"}, deletionTimestamp=NOW)[1] == "Unknown"
    assert _shown({"phase": "Succeeded"}, deletionTimestamp=NOW)[1] == "Succeeded"


def test_quality_of_service() -> None:
    """Limits equal to requests for all: Guaranteed; some: Burstable; none: BestEffort."""
    full = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    assert qos_class({"containers": [{}]}) == "BestEffort"
    assert qos_class({"containers": [{"resources": full}]}) == "Guaranteed"
    assert qos_class({"containers": [{"resources": full}, {}]}) == "Burstable"
    assert qos_class({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}) == "Burstable"


def test_pull_policy() -> None:
    """No tag or latest: always; a port of a registry is no tag; a digest is fixed."""
    wanted = {
        "nginx": "Always",
        "nginx:latest": "Always",
        "host:5000/nginx": "Always",
        "host:5000/nginx:1": "IfNotPresent",
        "nginx@sha256:00": "IfNotPresent",
    }
    assert {image: pull_policy(image) for image in wanted} == wanted


def test_the_token_is_mounted_unless_refused(world: Any) -> None:
    """Each container gets the token; pod and account may refuse, the pod has the last word."""
    kind = world.kind("pods")
    made = world.create(kind, _pod())
    mount = made["spec"]["containers"][0]["volumeMounts"][0]
    assert (mount["name"], mount["readOnly"]) == (made["spec"]["volumes"][0]["name"], True)
    assert "volumes" not in world.create(kind, _pod(automountServiceAccountToken=False))["spec"]
    world.put(
        "", "serviceaccounts", {"metadata": {"name": "quiet", "namespace": "ns"}, "automountServiceAccountToken": False}
    )
    assert "volumes" not in world.create(kind, _pod(serviceAccountName="quiet"))["spec"]
    again = world.create(kind, _pod(serviceAccountName="quiet", automountServiceAccountToken=True))
    assert "volumes" in again["spec"]


def test_priority_comes_from_its_class(world: Any) -> None:
    """A named class, else the global default, else zero; a number that contradicts is refused."""
    kind = world.kind("pods")
    for name, value, default in (("high", 100, False), ("usual", 5, True)):
        world.put(
            "scheduling.k8s.io",
            "priorityclasses",
            {"metadata": {"name": name}, "value": value, "globalDefault": default},
        )
    assert world.create(kind, _pod(priorityClassName="high"))["spec"]["priority"] == 100
    assert world.create(kind, _pod())["spec"]["priorityClassName"] == "usual"
    with pytest.raises(StatusError) as error:
        world.create(kind, _pod(priorityClassName="high", priority=3))
    assert error.value.code == 403


def test_limit_ranges_default_and_bound(world: Any) -> None:
    """A LimitRange fills in what is missing and refuses what is beyond."""
    kind = world.kind("pods")
    item = {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "2"}}
    world.put("", "limitranges", {"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": [item]}})
    resources = world.create(kind, _pod())["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}
    big = [{"name": "m", "image": "i", "resources": {"limits": {"cpu": "3"}}}]
    with pytest.raises(StatusError, match=r"maximum cpu usage per Container is 2, but limit is 3"):
        world.create(kind, _pod(containers=big))


def test_quota_counts_stored_pods(world: Any) -> None:
    """The pod beyond the quota is refused with what was asked, used and allowed."""
    kind = world.kind("pods")
    world.put("", "resourcequotas", {"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": {"pods": "1"}}})
    world.create(kind, _pod("one"))
    with pytest.raises(StatusError, match=r"exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"):
        world.create(kind, _pod("two"))


@pytest.mark.parametrize(
    ("level", "spec", "text"),
    [
        ("baseline", {"hostNetwork": True}, "host namespaces (hostNetwork=true)"),
        ("baseline", {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "h")'),
        ("restricted", {}, "allowPrivilegeEscalation != false"),
        ("restricted", {}, "runAsNonRoot != true"),
    ],
)
def test_pod_security(world: Any, level: str, spec: dict[str, Any], text: str) -> None:
    """A namespace's enforced level refuses pods below it, and lets others pass."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    world.put("", "namespaces", {"metadata": {"name": "ns", "labels": labels}})
    with pytest.raises(StatusError) as error:
        world.create(world.kind("pods"), _pod(**spec))
    assert error.value.code == 403
    assert text in error.value.message
    context = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    good = _pod(containers=[{"name": "m", "image": "i", "securityContext": context}])
    assert isinstance(world.create(world.kind("pods"), good), dict)


def test_only_images_and_the_like_may_change(world: Any) -> None:
    """An image change raises the generation; any other change is named and refused."""
    kind = world.kind("pods")
    old = world.create(kind, _pod())
    new = copy.deepcopy(old)
    new["spec"]["containers"][0]["image"] = "i:2"
    assert world.update(kind, copy.deepcopy(new), old)["metadata"]["generation"] == 2
    new["spec"]["containers"][0]["command"] = ["x"]
    (cause,) = world.update(kind, new, old)
    assert cause.field == "spec"
    assert '+ spec.containers[0].command: ["x"]' in cause.message


def test_binding_happens_once(world: Any) -> None:
    """A bound pod has its node and the condition; binding it again is a conflict."""
    kind = world.kind("pods")
    pod = world.create(kind, _pod())
    ctx = world.context("create", subresource="binding", namespace="ns", name="p")
    answer = kind.post_subresource({"target": {"kind": "Node", "name": "n1"}}, pod, ctx)
    bound = answer.writes[0].obj
    assert (answer.code, bound["spec"]["nodeName"]) == (201, "n1")
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    with pytest.raises(StatusError) as error:
        kind.post_subresource({"target": {"kind": "Node", "name": "n2"}}, bound, ctx)
    assert error.value.code == 409


def test_eviction_respects_the_budget(world: Any) -> None:
    """With a disruption left the pod goes and the budget pays; without, 429."""
    kind = world.kind("pods")
    pod = world.create(kind, _pod(nodeName="n"))
    pod["status"]["phase"] = "Running"
    ctx = world.context("create", subresource="eviction", namespace="ns", name="p")
    budget = {
        "metadata": {"name": "b", "namespace": "ns", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 1, "observedGeneration": 1},
    }
    world.put("policy", "poddisruptionbudgets", budget)
    charge, removal = kind.post_subresource({}, pod, ctx).writes
    assert (charge.obj["status"]["disruptionsAllowed"], removal.obj) == (0, None)
    world.put("policy", "poddisruptionbudgets", charge.obj)
    with pytest.raises(StatusError) as error:
        kind.post_subresource({}, pod, ctx)
    assert error.value.code == 429


@pytest.mark.parametrize(
    ("requested", "spec", "status", "wanted"),
    [
        (None, {"nodeName": "n", "terminationGracePeriodSeconds": 30}, {}, 30),
        (5, {"nodeName": "n", "terminationGracePeriodSeconds": 30}, {}, 5),
        (None, {"terminationGracePeriodSeconds": 30}, {}, 0),
        (30, {"nodeName": "n"}, {"phase": "Succeeded"}, 0),
        (-5, {"nodeName": "n"}, {}, 1),
    ],
)
def test_grace(world: Any, requested: int | None, spec: Any, status: Any, wanted: int) -> None:
    """Only a pod that runs somewhere is given time to end."""
    assert world.kind("pods").graceful_delete_s({"spec": spec, "status": status}, requested) == wanted


def test_a_node_writes_its_own_pods_only(world: Any) -> None:
    """Status of a pod elsewhere, and another node's object, are forbidden to a node's credentials."""
    who = {"user": "system:node:n1", "groups": ("system:nodes",), "namespace": "ns"}
    pod = _pod(nodeName="n2")
    for name, allowed in (("n1", True), ("n2", False)):
        pod["spec"]["nodeName"] = name
        ctx = world.context("update", subresource="status", **who)
        if allowed:
            world.kind("pods").admit(pod, pod, ctx)
        else:
            with pytest.raises(StatusError, match="can only update pod status"):
                world.kind("pods").admit(pod, pod, ctx)
    with pytest.raises(StatusError, match='is not allowed to modify node "n2"'):
        world.kind("nodes").admit({"metadata": {"name": "n2"}}, None, world.context("update", **who))


def test_quota_status_follows_pods(world: Any) -> None:
    """The usage a quota shows is that of the pods there are, ended ones aside."""
    kind, quota = world.kind("pods"), world.kind("resourcequotas")
    body = {"metadata": {"name": "q", "namespace": "ns"}, "spec": {"hard": {"pods": "3", "requests.cpu": "1"}}}
    world.create(quota, body)

    def used() -> Any:
        return world.get("", "resourcequotas", "ns", "q")["status"]["used"]

    assert used() == {"pods": "0", "requests.cpu": "0"}
    limits = [{"name": "m", "image": "i", "resources": {"requests": {"cpu": "250m"}}}]
    world.create(kind, _pod("a", containers=copy.deepcopy(limits)))
    pod = world.create(kind, _pod("b", containers=copy.deepcopy(limits)))
    assert used() == {"pods": "2", "requests.cpu": "500m"}
    ended = copy.deepcopy(pod)
    ended["status"]["phase"] = "Succeeded"
    for write in kind.after_store(ended, pod, world.context("update", namespace="ns")):
        world._write(write)
    assert used() == {"pods": "1", "requests.cpu": "250m"}


def test_templates_may_mount_the_claims_of_a_stateful_set(world: Any) -> None:
    """A mount names a volume of the template or a claim template; anything else is not found."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": copy.deepcopy(_pod()["spec"])}
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/d"}]
    body = {
        "metadata": {"name": "s", "namespace": "ns"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, "serviceName": "s"},
    }
    (cause,) = world.create(world.kind("statefulsets", "apps"), copy.deepcopy(body))
    assert cause.reason == "FieldValueNotFound"
    body["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {}}]
    assert isinstance(world.create(world.kind("statefulsets", "apps"), body), dict)


def test_ephemeral_containers_are_only_added(world: Any) -> None:
    """One may be added to a pod; the rest of the pod stays, and what was added may not change or go."""
    kind = world.kind("pods")
    old = world.create(kind, _pod())

    def put(*containers: dict[str, Any], before: dict[str, Any]) -> Any:
        body = copy.deepcopy(before)
        body["spec"]["hostNetwork"] = True
        body["spec"]["ephemeralContainers"] = [*containers]
        return world.update(kind, body, before, subresource="ephemeralcontainers")

    new = put({"name": "d", "image": "busybox:1", "targetContainerName": "m"}, before=old)
    assert [c["name"] for c in new["spec"]["ephemeralContainers"]] == ["d"]
    assert "hostNetwork" not in new["spec"]
    assert new["metadata"]["generation"] == 2
    (cause,) = put(before=new)
    assert "may not be removed" in cause.message
    (cause,) = put({**new["spec"]["ephemeralContainers"][0], "image": "x:2"}, before=new)
    assert "may not be changed" in cause.message
    (cause,) = put({"name": "m", "image": "x:1"}, before=old)
    assert cause.reason == "FieldValueDuplicate"


def test_resize_changes_resources_only(world: Any) -> None:
    """pods/resize takes over resources of containers that are there, nothing else."""
    kind = world.kind("pods")
    old = world.create(kind, _pod())
    body = copy.deepcopy(old)
    body["spec"]["containers"][0] |= {"image": "other:1", "resources": {"limits": {"cpu": "1000m"}}}
    new = world.update(kind, body, old, subresource="resize")
    container = new["spec"]["containers"][0]
    assert (container["image"], container["resources"]["limits"]) == ("i:1", {"cpu": "1"})


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets"])
def test_scale(world: Any, plural: str) -> None:
    """The Scale of a workload has its replicas and its selector as text."""
    kind = world.kind(plural, "apps")
    obj = {"spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 1}}
    assert kind.get_scale(obj) == {"spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "a=b"}}
    kind.set_scale(obj, 5)
    assert obj["spec"]["replicas"] == 5
