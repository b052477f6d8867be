"""The rows of one attachment."""

from ipaddress import ip_address, ip_network

from podloom.model.cni import Attachment
from podloom.model.endpoint import Endpoint
from podloom.model.rows import Kind, index_rows
from podloom.plan.endpoint import address_result, endpoint_result, host_ifname, macs, plan_endpoint, plan_removal


def endpoint(container: str, address: str = "192.168.1.5", name: str = "web") -> Endpoint:
    return Endpoint(
        Attachment(container, "eth0"), "default", name, f"/run/netns/{container}", (ip_address(address),), 1500
    )


def test_host_name_is_the_one_of_aks() -> None:
    """azv and the first 11 hex digits of sha1("namespace.pod") (azure-behaviour.md section 2)."""
    assert host_ifname("default", "nginx") == "azvc440f455693"
    assert len(host_ifname("kube-system", "x" * 253)) == 14
    assert host_ifname("default", "nginx", "net1") != host_ifname("default", "nginx")


def test_rows_in_the_order_they_can_be_added() -> None:
    """Link, proxy ARP, host route, address, gateway route, default route, permanent neighbour."""
    rows = plan_endpoint(endpoint("c1"))
    assert [row.kind for row in rows] == [
        Kind.LINK,
        Kind.SYSCTL,
        Kind.ROUTE,
        Kind.ADDRESS,
        Kind.ROUTE,
        Kind.ROUTE,
        Kind.NEIGHBOUR,
    ]
    assert {row.owner for row in rows} == {"c1/eth0"}
    assert len(index_rows(rows)) == len(rows)
    assert rows[-1].value == macs(Attachment("c1", "eth0"))[0]


def test_incarnations_differ_in_mac_not_in_name() -> None:
    """Two containers of one pod name share the host interface's name; their links' values differ."""
    old, new = plan_endpoint(endpoint("c1")), plan_endpoint(endpoint("c2", "192.168.1.6"))
    assert old[0].id == new[0].id
    assert old[0].value != new[0].value


def test_late_del_leaves_the_newer_incarnation_alone() -> None:
    """DEL of the old container removes its route only, when the new container holds the interface already."""
    removed = plan_removal(endpoint("c1"), [endpoint("c2", "192.168.1.6")])
    assert [row.kind for row in removed] == [Kind.ROUTE]
    assert "192.168.1.5/32" in removed[0].key
    assert {row.kind for row in plan_removal(endpoint("c1"), [endpoint("c3", "192.168.1.7", "other")])} == {
        Kind.LINK,
        Kind.SYSCTL,
        Kind.ROUTE,
    }


def test_result_names_the_interface_asked_for() -> None:
    """The result's second interface is the pod's, in its sandbox, and carries the address."""
    result = endpoint_result(endpoint("c1"))
    assert (result.interfaces[1].name, result.interfaces[1].sandbox) == ("eth0", "/run/netns/c1")
    assert [(str(a.address), a.prefix_length, str(a.gateway), a.interface) for a in result.addresses] == [
        ("192.168.1.5", 32, "169.254.1.1", 1)
    ]


def test_addresses_for_another_plugin_have_a_gateway_on_the_link() -> None:
    """Delegated IPAM: a gateway inside the pod range that no pod has; link-local where there is none."""
    address, cidr = ip_address("192.168.1.9"), ip_network("192.168.0.0/16")
    (item,) = address_result([address], [ip_network("192.168.1.0/24")], [cidr]).addresses
    assert (item.prefix_length, str(item.gateway)) == (16, "192.168.1.255")
    last = ip_address("192.168.255.9")
    result = address_result([last], [ip_network("192.168.255.0/24")], [cidr])
    assert [str(x.gateway) for x in result.addresses] == ["192.168.255.0"] == [x.gateway for x in result.routes]
    for networks in ((), ([ip_network("192.168.1.0/24")], [ip_network("192.168.1.0/24")])):
        (item,) = address_result([address], *networks).addresses
        assert (item.prefix_length, str(item.gateway)) == (32, "169.254.1.1")
