"""Slices and Endpoints show exactly the Service's pods, with few writes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.model.kube import Object
from podloom.plan.kube.endpoints import (
    MANAGED_BY,
    MOST_PER_SLICE,
    SKIP_MIRROR,
    SlicePlan,
    is_mirrored,
    plan_endpoints,
    plan_mirror,
    plan_slices,
)


def service(**spec: Any) -> Object:
    body = {
        "selector": {"app": "a"},
        "ports": [{"name": "web", "port": 80, "targetPort": "http"}, {"name": "raw", "port": 9000}],
    }
    meta = {"name": "es", "namespace": "svc", "uid": "su", "labels": {"team": "x"}}
    return {"metadata": meta, "spec": {**body, "ipFamilies": ["IPv4"], **spec}}


def pod(name: str, ip: str, ready: bool = True, port: int = 8080, **meta: Any) -> Object:
    spec = {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
    return {"metadata": {"name": name, "namespace": "svc", "uid": f"u-{name}", **meta}, "spec": spec, "status": status}


class Slices:
    """The server's side: applies plans, counts writes."""

    def __init__(self) -> None:
        self.stored: dict[str, Object] = {}
        self.made = 0

    def apply(self, plan: SlicePlan) -> int:
        for new in plan.create:
            self.made += 1
            name = f"es-{self.made:04}"
            self.stored[name] = {**new, "metadata": {**new["metadata"], "name": name}}
        for changed in plan.replace:
            assert changed["metadata"]["name"] in self.stored
            self.stored[changed["metadata"]["name"]] = changed
        for gone in plan.delete:
            del self.stored[gone["metadata"]["name"]]
        return len(plan.create) + len(plan.replace) + len(plan.delete)

    def endpoints(self) -> list[tuple[str, int]]:
        return sorted(
            (e["addresses"][0], next(p["port"] for p in s["ports"] if p["name"] == "web"))
            for s in self.stored.values()
            for e in s["endpoints"]
        )


def test_one_slice_as_the_reference_controller_writes_it() -> None:
    """Labels, owner, conditions, ports and the empty slice of a Service without pods."""
    slices = Slices()
    slices.apply(plan_slices(service(), [], [], {}))
    (empty,) = slices.stored.values()
    assert (empty["endpoints"], empty["ports"]) == ([], [])
    leaving = pod("c", "10.1.0.3", deletionTimestamp="2026-01-01T00:00:00Z")
    pods = [pod("a", "10.1.0.1"), pod("b", "10.1.0.2", ready=False), leaving]
    assert slices.apply(plan_slices(service(), pods, slices.stored.values(), {"n": "z1"})) == 1
    (one,) = slices.stored.values()
    assert one["metadata"]["labels"] == {
        MANAGED_BY: "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "es",
        "team": "x",
    }
    assert one["metadata"]["ownerReferences"][0]["uid"] == "su"
    assert [p["port"] for p in one["ports"]] == [9000, 8080]
    assert [tuple(e["conditions"].values()) for e in one["endpoints"]] == [
        (True, True, False),
        (False, False, False),
        (False, True, True),
    ]
    assert one["endpoints"][0]["zone"] == "z1"


def test_publish_not_ready_and_hostnames() -> None:
    """publishNotReadyAddresses makes ready true; hostname counts only under the pod's own subdomain."""
    named = pod("a", "10.1.0.1", ready=False)
    named["spec"] |= {"hostname": "one", "subdomain": "es"}
    other = pod("b", "10.1.0.2")
    other["spec"] |= {"hostname": "two", "subdomain": "elsewhere"}
    plan = plan_slices(service(clusterIP="None", publishNotReadyAddresses=True), [named, other], [], {})
    first, second = plan.create[0]["endpoints"]
    assert first["hostname"] == "one" and first["conditions"]["ready"] and "hostname" not in second
    assert plan.create[0]["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_dual_stack_has_a_slice_per_family() -> None:
    """Each family has its own slices, the Endpoints object the first family only."""
    both = pod("a", "10.1.0.1")
    both["status"]["podIPs"].append({"ip": "fd00::1"})
    dual = service(ipFamilies=["IPv6", "IPv4"])
    plan = plan_slices(dual, [both], [], {})
    assert {s["addressType"]: s["endpoints"][0]["addresses"] for s in plan.create} == {
        "IPv4": ["10.1.0.1"],
        "IPv6": ["fd00::1"],
    }
    made = plan_endpoints(dual, [both], None)
    assert made and made["subsets"][0]["addresses"][0]["ip"] == "fd00::1"


PODS = st.dictionaries(st.integers(0, 250), st.tuples(st.booleans(), st.sampled_from([8080, 8081])), max_size=250)


@settings(max_examples=60, deadline=None)
@given(st.lists(PODS, min_size=1, max_size=4))
def test_slices_follow_any_history(history: list[dict[int, tuple[bool, int]]]) -> None:
    """After any sequence of pod sets the slices show the last one, within their size; again changes nothing."""
    slices = Slices()
    for state in history:
        pods = [pod(f"p{n}", f"10.1.0.{n}", ready, port) for n, (ready, port) in state.items()]
        slices.apply(plan_slices(service(), pods, slices.stored.values(), {}))
        assert slices.endpoints() == sorted((f"10.1.0.{n}", port) for n, (_, port) in state.items())
        assert all(len(s["endpoints"]) <= MOST_PER_SLICE for s in slices.stored.values())
        assert slices.apply(plan_slices(service(), pods, slices.stored.values(), {})) == 0


def test_one_change_costs_one_write() -> None:
    """A pod more or less, or turning ready, writes one of three slices."""
    slices = Slices()
    pods = [pod(f"p{n:03}", f"10.1.1.{n}") for n in range(250)]
    slices.apply(plan_slices(service(), pods, [], {}))
    assert len(slices.stored) == 3
    pods[120] = pod("p120", "10.1.1.120", ready=False)
    assert slices.apply(plan_slices(service(), pods, slices.stored.values(), {})) == 1
    del pods[5]
    assert slices.apply(plan_slices(service(), pods, slices.stored.values(), {})) == 1
    pods.append(pod("new", "10.1.2.1"))
    assert slices.apply(plan_slices(service(), pods, slices.stored.values(), {})) == 1


def test_endpoints_object() -> None:
    """Ready and not ready addresses, no terminating ones, the reference controller's label; right is left alone."""
    leaving = pod("c", "10.1.0.3", deletionTimestamp="2026-01-01T00:00:00Z")
    pods = [pod("a", "10.1.0.1"), pod("b", "10.1.0.2", ready=False), leaving]
    made = plan_endpoints(service(), pods, None)
    assert made is not None
    (subset,) = made["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.1"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.2"]
    assert made["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    assert plan_endpoints(service(), pods, made) is None


def test_mirroring_of_hand_made_endpoints() -> None:
    """Endpoints of a Service without selector become slices, unless they opt out."""
    subsets = [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "ports": [{"port": 5432}]}]
    made = {"metadata": {"name": "es", "namespace": "svc", "uid": "eu"}, "subsets": subsets}
    bare = service(selector=None)
    assert is_mirrored(bare, made) and not is_mirrored(service(), made) and not is_mirrored(None, made)
    plan = plan_mirror(bare, made, [])
    assert sorted(s["addressType"] for s in plan.create) == ["IPv4", "IPv6"]
    assert plan.create[0]["metadata"]["labels"][MANAGED_BY] == "endpointslicemirroring-controller.k8s.io"
    made["metadata"]["labels"] = {SKIP_MIRROR: "true"}
    assert not is_mirrored(bare, made)
