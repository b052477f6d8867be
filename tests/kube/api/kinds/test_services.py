"""Services: nobody shares an address or port, whatever the order of changes; what an update keeps and drops."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podloom.kube.api.contract import Settings


def _service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "delete", "type", "policy"]),
        st.sampled_from("abcdef"),
        st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
        st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"]),
    ),
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=_STEPS)
def test_addresses_and_ports_are_never_shared(world: Any, steps: list[tuple[str, str, str, str]]) -> None:
    """After any history, addresses and node ports are unique, and IPAddress objects are exactly those held."""
    world.objects.clear()
    world.settings = Settings(service_cidrs=("10.0.0.0/28", "fd00::/124"), node_port_range=(30000, 30007))
    kind = world.kind("services")
    for deed, name, type_, policy in steps:
        old = world.get("", "services", "ns", name)
        if deed == "delete" and old is not None:
            del world.objects["", "services", "ns", name]
            for write in kind.after_delete(old, world.context("delete")):
                world._write(write)
        elif deed == "create" and old is None:
            world.create(kind, _service(name, type=type_, ipFamilyPolicy=policy, externalName="x.y"))
        elif old is not None:
            body = copy.deepcopy(old)
            body["spec"] |= {"type": type_} if deed == "type" else {"ipFamilyPolicy": policy}
            world.update(kind, body, old)
        _check(world)


def _check(world: Any) -> None:
    services = world.list("", "services")
    held = [ip for s in services for ip in s["spec"].get("clusterIPs") or []]
    assert len(held) == len(set(held))
    ports = [p["nodePort"] for s in services for p in s["spec"].get("ports") or [] if p.get("nodePort")]
    assert len(ports) == len(set(ports))
    assert {a["metadata"]["name"] for a in world.list("networking.k8s.io", "ipaddresses")} == set(held)
    for service in services:
        spec = service["spec"]
        if spec["type"] == "ExternalName":
            assert not spec.get("clusterIPs")
        else:
            assert spec["clusterIP"] == spec["clusterIPs"][0]
            assert [f"IPv{6 if ':' in ip else 4}" for ip in spec["clusterIPs"]] == spec["ipFamilies"]


def test_a_full_range_is_said(world: Any) -> None:
    """The fourteenth Service of a /28 gets an address, the next is refused with the range."""
    world.settings = Settings(service_cidrs=("10.0.0.0/28",))
    kind = world.kind("services")
    for i in range(14):
        assert isinstance(world.create(kind, _service(f"s{i}")), dict)
    (cause,) = world.create(kind, _service("last"))
    assert "range is full (10.0.0.0/28)" in cause.message


def test_one_number_for_tcp_and_udp(world: Any) -> None:
    """A port of two protocols gets one node port number."""
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]
    made = world.create(world.kind("services"), _service("dns", type="NodePort", ports=ports))
    first, second = (port["nodePort"] for port in made["spec"]["ports"])
    assert first == second


def test_a_dry_run_reserves_nothing(world: Any) -> None:
    """A dry run is answered with the range's base address and leaves nothing behind."""
    made = world.create(world.kind("services"), _service("dry", type="NodePort"), dry_run=True)
    assert made["spec"]["clusterIP"] == "10.96.0.0"
    assert world.objects.keys() == {("", "serviceaccounts", "ns", "default")}


def test_a_put_without_allocated_values_keeps_them(world: Any) -> None:
    """`kubectl replace` of the original manifest changes neither address nor node port."""
    kind = world.kind("services")
    body = _service("keep", type="NodePort")
    old = world.create(kind, copy.deepcopy(body))
    new = world.update(kind, copy.deepcopy(body), old)
    assert new["spec"]["clusterIPs"] == old["spec"]["clusterIPs"]
    assert new["spec"]["ports"] == old["spec"]["ports"]
