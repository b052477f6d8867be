"""From Services and EndpointSlices to frontends and map elements."""

from ipaddress import ip_address, ip_network
from typing import Any

from podloom.model.rows import Kind, index_rows
from podloom.plan.nodetable import NodeFacts, plan_kept_table, plan_node_table
from podloom.plan.services import SLOTS, Frontend, ServiceView, frontend_elements, slots, view_services

FACTS = NodeFacts((ip_network("192.168.0.0/24"),), (ip_network("192.168.0.0/16"),), (ip_address("10.224.0.4"),))


def service(name: str = "web", vip: str = "10.0.0.10", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "metadata": {"name": name, "namespace": "d"},
        "spec": {"clusterIP": vip, "clusterIPs": [vip], "type": "ClusterIP", "ports": ports, **spec},
    }


def endpoints(*addresses: str, name: str = "web", port: int = 8080, **conditions: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{name}-x",
            "namespace": "d",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": dict(conditions), "nodeName": f"n{address[-1]}"}
            for address in addresses
        ],
    }


def test_backends_of_all_slices_are_united() -> None:
    """A service's backends come from every slice, sorted and without repeats."""
    view = view_services([service()], [endpoints("192.168.0.9", "192.168.0.5"), endpoints("192.168.0.5")], "n")
    assert [(str(a), p) for a, p in view.frontends[0].backends] == [("192.168.0.5", 8080), ("192.168.0.9", 8080)]


def test_not_ready_is_no_backend_and_terminating_is_the_fallback() -> None:
    """Only ready endpoints serve; when none is ready, those that terminate but still serve."""
    ready, unready = endpoints("192.168.0.5"), endpoints("192.168.0.6", ready=False)
    leaving = endpoints("192.168.0.7", ready=False, serving=True, terminating=True)
    assert len(view_services([service()], [ready, unready, leaving], "n").frontends[0].backends) == 1
    only = view_services([service()], [unready, leaving], "n").frontends[0].backends
    assert [str(a) for a, _ in only] == ["192.168.0.7"]


def test_no_backends_leaves_the_address_to_be_refused() -> None:
    """A service without backends has no frontend, but its address stays known."""
    view = view_services([service()], [], "n")
    assert view.frontends == () and view.addresses == (ip_address("10.0.0.10"),)


def test_headless_and_external_names_have_no_address() -> None:
    """Headless and ExternalName services are DNS only."""
    headless = service(clusterIP="None", clusterIPs=["None"])
    assert view_services([headless, service(type="ExternalName")], [], "n") == ServiceView()


def test_internal_traffic_policy_local() -> None:
    """internalTrafficPolicy Local keeps this node's endpoints only."""
    view = view_services([service(internalTrafficPolicy="Local")], [endpoints("192.168.0.5", "192.168.0.6")], "n6")
    assert [str(a) for a, _ in view.frontends[0].backends] == ["192.168.0.6"]


def test_slots_are_stable() -> None:
    """When a backend goes, only the slots it held move; all backends are used."""
    backends = tuple((ip_address(f"192.168.0.{i}"), 80) for i in range(5, 9))
    before = slots(Frontend(ip_address("10.0.0.1"), 6, 80, backends, True))
    after = slots(Frontend(ip_address("10.0.0.1"), 6, 80, backends[:-1], True))
    assert len(before) == SLOTS and set(before) == set(backends)
    assert all(b == a for b, a in zip(before, after, strict=True) if b != backends[-1])


def test_elements() -> None:
    """A frontend is one verdict element and one element per index."""
    frontend = Frontend(ip_address("10.0.0.10"), 6, 80, ((ip_address("192.168.0.5"), 8080),))
    assert frontend_elements(frontend) == (
        ("10.0.0.10 . 6 . 80", "goto pick_1"),
        (("10.0.0.10 . 6 . 80 . 0", "192.168.0.5 . 8080"),),
    )


def test_table_rows() -> None:
    """One body row whatever the number of services; only local backends are hairpin candidates."""
    view = view_services([service()], [endpoints("192.168.0.5", "192.168.7.6")], "n")
    rows = plan_node_table(FACTS, view)
    assert len(index_rows(rows)) == len(rows)
    assert [row.kind for row in rows].count(Kind.NFT_TABLE) == 1
    hairpin = [row.key[-1] for row in rows if "hairpin4" in row.key]
    assert hairpin == ["192.168.0.5 . 192.168.0.5"]
    assert plan_node_table(FACTS, ServiceView())[0].value == rows[0].value
    many = tuple((ip_address(f"192.168.0.{i}"), 80) for i in range(1, 41))
    wide = ServiceView((Frontend(ip_address("10.0.0.1"), 6, 80, many),))
    assert "chain pick_64 " in plan_node_table(FACTS, wide)[0].value


def test_unknown_services_stay() -> None:
    """Before the services are known, those in the kernel are kept, with the chains they need; the rest is planned."""
    many = tuple((ip_address(f"192.168.0.{i}"), 80) for i in range(1, 41))
    view = ServiceView((Frontend(ip_address("10.0.0.1"), 6, 80, many),), (ip_address("10.0.0.1"),))
    rows = plan_node_table(FACTS, view)
    found = {row.id: row.value for row in rows if row.kind is Kind.NFT_ELEMENT}
    assert index_rows(plan_kept_table(FACTS, found)) == index_rows(rows)
    other = NodeFacts((ip_network("192.168.5.0/24"),), FACTS.untranslated, FACTS.addresses)
    kept = {row.key[3:] for row in plan_kept_table(other, found) if row.kind is Kind.NFT_ELEMENT}
    assert ("local4", "192.168.5.0/24") in kept and ("local4", "192.168.0.0/24") not in kept
