"""AKS's address rules as tables of cases: each mistake gives exactly its finding, and all of them together."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.arm import MANAGED_CLUSTERS, VIRTUAL_NETWORKS, ResourceId
from podloom.model.findings import Finding, errors_of, warnings_of
from podloom.plan.address.cidrs import usable_in
from podloom.plan.address.cluster import check_cluster
from podloom.plan.address.defaults import cluster_defaults
from podloom.plan.address.view import CloudView, ClusterView, SubnetView, VNetView

Json = dict[str, Any]
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
CLUSTER = ResourceId(SUBSCRIPTION, "rg", MANAGED_CLUSTERS, ("k",))
VNET = ResourceId(SUBSCRIPTION, "rg", VIRTUAL_NETWORKS, ("net",))
OVERLAY = {"networkPlugin": "azure", "networkPluginMode": "overlay"}


def net(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


def subnet(name: str, prefix: str, nics: dict[str, int] | None = None, delegated: str = "") -> SubnetView:
    return SubnetView(VNET.child("subnets", name), (net(prefix),), nics or {}, (delegated,) if delegated else ())


def view(*subnets: SubnetView, space: str = "10.0.0.0/8", peered: str = "", **rest: Any) -> CloudView:
    peers = (net(peered),) if peered else ()
    return CloudView((VNetView(VNET, "westcentralus", (net(space),), subnets, peers),), **rest)


DOCUMENTED = view(subnet("a", "10.240.0.0/16"), subnet("b", "10.241.0.0/16"))
A = str(VNET.child("subnets", "a"))


def judge(
    network: Json | None = None,
    pool: Json | None = None,
    *,
    cloud: CloudView = DOCUMENTED,
    old: Json | None = None,
    pools: list[Json] | None = None,
    **properties: Any,
) -> list[Finding]:
    """All findings about a cluster that is right except for what is given."""
    profiles = pools if pools is not None else [{"name": "nodepool1", "count": 2, **(pool or {})}]
    wish = {"networkProfile": {**OVERLAY, **(network or {})}, "agentPoolProfiles": profiles, **properties}
    filled = cluster_defaults(wish, old, group="rg", name="k", location="westcentralus", subscription=SUBSCRIPTION)
    return check_cluster(CLUSTER, "westcentralus", filled, cloud, old)


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in errors_of(findings)]


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"podCidr": "192.168.0.0/16"},
        {"podCidr": "100.64.0.0/10"},
        {"serviceCidr": "10.2.0.0/16", "dnsServiceIP": "10.2.0.2"},
        {"serviceCidr": "10.16.0.0/13"},
        {"podCidrs": ["192.168.0.0/16"], "serviceCidrs": ["10.3.0.0/24"]},
        {"podCidr": "192.168.4.0/23"},
    ],
)
def test_good_clusters_have_no_errors(network: Json) -> None:
    assert codes(judge(network)) == []
    assert codes(judge(network, {"vnetSubnetID": A})) == []


def test_the_documents_example_puts_services_in_unused_space_of_the_vnet() -> None:
    """PLAN-07: VNet 10.0.0.0/8, subnets 10.240/16 and 10.241/16, services 10.0.0.0/16."""
    findings = judge({"podCidr": "192.168.0.0/16"}, {"vnetSubnetID": A})
    assert findings == []


def test_pods_in_unused_space_of_the_vnet_are_a_warning() -> None:
    findings = judge({"podCidr": "10.99.0.0/16"}, {"vnetSubnetID": A})
    assert codes(findings) == []
    assert [finding.code for finding in warnings_of(findings)] == ["PodCidrInsideVnetAddressSpace"]


@pytest.mark.parametrize(
    ("network", "wanted", "requirement"),
    [
        ({"podCidr": "10.240.0.0/24"}, "NetworkProfileCIDROverlapVNET", "PLAN-04"),
        ({"podCidr": "10.241.7.0/24"}, "InsufficientSubnetSize", "PLAN-03"),
        ({"podCidr": "192.168.0.0/33"}, "CidrStringParseError", "OVL-01"),
        ({"podCidr": "192.168.0.1/16"}, "CidrStringParseError", "OVL-01"),
        ({"podCidr": "pods"}, "CidrStringParseError", "OVL-01"),
        ({"serviceCidr": "10.0/16"}, "CidrStringParseError", "PLAN-06"),
        ({"podCidr": "8.8.0.0/16"}, "PodCidrNotInPrivateRange", "PLAN-10"),
        ({"podCidr": "172.30.0.0/16"}, "CidrOverlapReservedRange", "PLAN-09"),
        ({"podCidr": "172.16.0.0/12"}, "CidrOverlapReservedRange", "PLAN-09"),
        ({"serviceCidr": "169.254.0.0/24"}, "CidrOverlapReservedRange", "PLAN-09"),
        ({"serviceCidr": "192.0.2.0/25"}, "CidrOverlapReservedRange", "PLAN-09"),
        ({"serviceCidr": "10.0.0.0/12"}, "ServiceCidrTooLarge", "PLAN-06"),
        ({"serviceCidr": "10.241.0.0/24"}, "ServiceCidrOverlapExistingSubnetsCidr", "PLAN-07"),
        ({"serviceCidr": "10.244.8.0/24"}, "ServiceCidrOverlapPodCidr", "PLAN-07"),
        ({"dnsServiceIP": "10.1.0.10"}, "DnsServiceIpOutOfServiceCidr", "PLAN-08"),
        ({"dnsServiceIP": "10.0.0.1"}, "DnsServiceIpConflictsWithKubernetesService", "PLAN-08"),
        ({"dnsServiceIP": "10.0.0.0"}, "DnsServiceIpNotUsable", "PLAN-08"),
        ({"dnsServiceIP": "dns"}, "InvalidDnsServiceIP", "PLAN-08"),
        ({"podCidr": "192.168.0.0/24"}, "InsufficientSubnetSize", "PLAN-03"),
        ({"podCidrs": ["fd00::/64"]}, "CidrIpFamilyMismatch", "DUAL-05"),
        ({"networkPlugin": "kubenet"}, "UnsupportedNetworkPluginModeWithNetworkPlugin", "OVL-01"),
        (
            {"networkDataplane": "cilium", "networkPolicy": "calico"},
            "CiliumDataplaneRequiresNetworkPolicyCilium",
            "CIL-11",
        ),
        ({"networkPolicy": "cilium"}, "NetworkPolicyCiliumRequiresCiliumDataplane", "CIL-09"),
        ({"networkPolicy": "weave"}, "InvalidParameter", "CLI-01"),
        ({"ipFamilies": ["IPv6"]}, "InvalidParameter", "DUAL-04"),
        ({"networkPluginMode": None}, "NotSupported", "VNET-01"),
        ({"networkDataplane": "cilium", "networkPolicy": "cilium"}, "NotSupported", "CLI-01"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "NotSupported", "DUAL-04"),
        ({"outboundType": "userDefinedRouting"}, "NotSupported", "CLI-01"),
    ],
)
def test_each_mistake_of_the_network_is_found(network: Json, wanted: str, requirement: str) -> None:
    found = errors_of(judge(network, {"vnetSubnetID": A}))
    assert wanted in [finding.code for finding in found]
    assert requirement in [finding.requirement for finding in found if finding.code == wanted]
    assert all(finding.message and finding.target for finding in found)


@pytest.mark.parametrize(
    ("pool", "wanted", "requirement"),
    [
        ({"maxPods": 9}, "InsufficientMaxPods", "OVL-15"),
        ({"maxPods": 251}, "ExceededMaxPods", "OVL-15"),
        ({"name": "Pool"}, "InvalidParameter", ""),
        ({"name": "toolongpoolname"}, "InvalidParameter", ""),
        ({"name": "1pool"}, "InvalidParameter", ""),
        ({"count": 0}, "InvalidParameter", "OVL-09"),
        ({"count": 1001}, "InvalidParameter", "OVL-09"),
        ({"count": "many"}, "InvalidParameter", ""),
        ({"mode": "User"}, "InvalidParameter", ""),
        ({"type": "AvailabilitySet"}, "OverlayNotSupportedWithAvailabilitySet", "OVL-18"),
        ({"vmSize": "Standard_DC4s_v2"}, "OverlayNotSupportedWithVMSize", "OVL-18"),
        ({"osType": "Windows", "name": "win"}, "NotSupported", "OVL-13"),
        ({"podSubnetID": A}, "NotSupported", "VNET-11"),
        ({"enableAutoScaling": True}, "NotSupported", ""),
        ({"vnetSubnetID": "nonsense"}, "InvalidParameter", "OVL-17"),
        ({"vnetSubnetID": str(VNET)}, "InvalidParameter", "OVL-17"),
        ({"vnetSubnetID": str(VNET.child("subnets", "none"))}, "SubnetNotFound", "OVL-17"),
    ],
)
def test_each_mistake_of_a_pool_is_found(pool: Json, wanted: str, requirement: str) -> None:
    found = errors_of(judge({}, pool))
    assert (wanted, requirement) in [(finding.code, finding.requirement) for finding in found]


@pytest.mark.parametrize("pool", [{"maxPods": 10}, {"maxPods": 250}, {"name": "a"}, {"name": "abcdefghij12"}])
def test_the_edges_of_a_pool_are_allowed(pool: Json) -> None:
    assert codes(judge({}, pool)) == []


def test_dcsv2_names_the_sizes_to_use_instead() -> None:
    message = judge({}, {"vmSize": "Standard_DC2s_v2"})[0].message
    assert "DCasv5" in message
    assert "DCadsv5" in message


def test_all_mistakes_come_in_one_answer() -> None:
    found = codes(
        judge(
            {"podCidr": "8.8.0.0/24", "serviceCidr": "10.240.0.0/12", "dnsServiceIP": "1.1.1.1"},
            {"name": "BAD", "maxPods": 5, "vnetSubnetID": A},
        )
    )
    assert set(found) == {
        "InvalidParameter",
        "InsufficientMaxPods",
        "PodCidrNotInPrivateRange",
        "InsufficientSubnetSize",
        "ServiceCidrTooLarge",
        "ServiceCidrOverlapExistingSubnetsCidr",
        "DnsServiceIpOutOfServiceCidr",
    }


def test_without_a_subnet_the_services_own_network_counts() -> None:
    assert codes(judge({"podCidr": "10.224.0.0/16"})) == ["NetworkProfileCIDROverlapVNET"]
    assert codes(judge({"serviceCidr": "10.224.1.0/24"})) == ["ServiceCidrOverlapExistingSubnetsCidr"]


def test_peered_networks_count() -> None:
    """PLAN-05, PLAN-07."""
    cloud = view(subnet("a", "10.240.0.0/16"), peered="192.168.0.0/17")
    assert codes(judge({"podCidr": "192.168.0.0/16"}, {"vnetSubnetID": A}, cloud=cloud)) == [
        "NetworkProfileCIDROverlapVNET"
    ]
    assert codes(judge({"serviceCidr": "192.168.1.0/24"}, {"vnetSubnetID": A}, cloud=cloud)) == [
        "ServiceCidrOverlapPeeredVnetCidr"
    ]


def test_a_forbidden_vnet_is_found() -> None:
    cloud = view(subnet("a", "172.30.0.0/24"), space="172.30.0.0/16")
    assert "CidrOverlapReservedRange" in codes(judge({}, {"vnetSubnetID": A}, cloud=cloud))


@pytest.mark.parametrize(("count", "wanted"), [(251, []), (252, ["InsufficientSubnetSize"])])
def test_a_24_subnet_holds_251_nodes(count: int, wanted: list[str]) -> None:
    """PLAN-01."""
    cloud = view(subnet("a", "10.240.0.0/24"))
    assert codes(judge({"podCidr": "100.64.0.0/10"}, {"count": count, "vnetSubnetID": A}, cloud=cloud)) == wanted


def test_a_subnet_is_full_by_what_others_have_and_want() -> None:
    """A cluster that is still being made counts with all nodes it wants, and once only."""
    others = (ClusterView(CLUSTER.group_id.within(MANAGED_CLUSTERS, "o"), "MC_o", {A.lower(): 8}),)
    shared = subnet("a", "10.240.0.0/28", {"mc_o": 3, "vms": 1})
    cloud = view(shared, clusters=others)
    assert codes(judge({}, {"count": 2, "vnetSubnetID": A}, cloud=cloud)) == []
    assert codes(judge({}, {"count": 3, "vnetSubnetID": A}, cloud=cloud)) == ["SubnetIsFull"]


def test_pools_share_one_vnet_and_all_or_none_name_a_subnet() -> None:
    """OVL-17."""
    mixed = [{"name": "a", "count": 1, "vnetSubnetID": A}, {"name": "b", "count": 1}]
    assert codes(judge(pools=mixed)) == ["AgentPoolVNetMismatch"]
    both = [{"name": "a", "count": 1, "vnetSubnetID": A}, {"name": "b", "count": 1, "vnetSubnetID": A[:-1] + "b"}]
    assert codes(judge(pools=both)) == []


def test_pool_names_are_unique_and_pools_are_needed() -> None:
    twice = [{"name": "a", "count": 1}, {"name": "a", "count": 1}]
    assert codes(judge(pools=twice)) == ["DuplicateAgentPoolName"]
    assert codes(judge(pools=[])) == ["InvalidParameter"]


def test_delegated_subnets_are_refused() -> None:
    cloud = view(subnet("a", "10.240.0.0/16", delegated="Microsoft.Sql/managedInstances"))
    assert codes(judge({}, {"vnetSubnetID": A}, cloud=cloud)) == ["SubnetIsDelegated"]


def test_long_names_are_refused_for_own_subnets() -> None:
    """OVL-19."""
    vnet = ResourceId(SUBSCRIPTION, "g" * 64, VIRTUAL_NETWORKS, ("v" * 64,))
    long = SubnetView(vnet.child("subnets", "s" * 64), (net("10.240.0.0/16"),))
    cloud = CloudView((VNetView(vnet, "westcentralus", (net("10.240.0.0/16"),), (long,)),))
    found = judge({}, {"vnetSubnetID": str(long.id)}, cloud=cloud)
    assert [(f.code, f.requirement) for f in found] == [("InvalidSubnetNameForOverlay", "OVL-19")] * 3


def test_a_node_group_belongs_to_one_cluster() -> None:
    other = ClusterView(ResourceId(SUBSCRIPTION, "rg2", MANAGED_CLUSTERS, ("o",)), "mc_rg_k_westcentralus")
    assert codes(judge(cloud=CloudView((), (other,)))) == ["NodeResourceGroupConflict"]
    assert codes(judge(nodeResourceGroup="RG")) == ["NodeResourceGroupConflict"]


@pytest.mark.parametrize(
    ("network", "pool", "names"),
    [
        ({"podCidr": "192.168.0.0/16"}, {}, ["networkProfile.podCidr", "networkProfile.podCidrs"]),
        ({"dnsServiceIP": "10.0.0.11"}, {}, ["networkProfile.dnsServiceIP"]),
        ({}, {"maxPods": 100}, ["agentPoolProfile.nodepool1.maxPods"]),
        ({}, {"count": 5}, []),
    ],
)
def test_what_cannot_change_is_named(network: Json, pool: Json, names: list[str]) -> None:
    old = cluster_defaults(
        {"networkProfile": OVERLAY, "agentPoolProfiles": [{"name": "nodepool1", "count": 2}]},
        None,
        group="rg",
        name="k",
        location="westcentralus",
        subscription=SUBSCRIPTION,
    )
    found = judge(network, pool, old=old)
    assert [finding.target for finding in found if finding.code == "PropertyChangeNotAllowed"] == names


def test_defaults_are_the_services() -> None:
    """azure-behaviour, section 6: no plugin at all means azure with overlay; 250 pods per node."""
    filled = cluster_defaults(
        {"agentPoolProfiles": [{"name": "a"}]},
        None,
        group="myResourceGroup",
        name="myOverlayCluster",
        location="westcentralus",
        subscription=SUBSCRIPTION,
    )
    network, pool = filled["networkProfile"], filled["agentPoolProfiles"][0]
    assert (network["networkPlugin"], network["networkPluginMode"]) == ("azure", "overlay")
    assert (network["podCidr"], network["serviceCidr"], network["dnsServiceIP"]) == (
        "10.244.0.0/16",
        "10.0.0.0/16",
        "10.0.0.10",
    )
    assert (pool["maxPods"], pool["mode"], pool["type"]) == (250, "System", "VirtualMachineScaleSets")
    assert filled["nodeResourceGroup"] == "MC_myResourceGroup_myOverlayCluster_westcentralus"


def test_the_dns_address_follows_a_given_service_range() -> None:
    filled = cluster_defaults(
        {"networkProfile": {"serviceCidr": "10.9.0.0/24"}, "agentPoolProfiles": []},
        None,
        group="rg",
        name="k",
        location="westcentralus",
        subscription=SUBSCRIPTION,
    )
    assert filled["networkProfile"]["dnsServiceIP"] == "10.9.0.10"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["10.0.0.0/16", "fd00::/64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
NETWORK_KEYS = st.sampled_from(
    [
        "podCidr",
        "podCidrs",
        "serviceCidr",
        "serviceCidrs",
        "dnsServiceIP",
        "ipFamilies",
        "networkPlugin",
        "outboundType",
    ]
)
POOL_KEYS = st.sampled_from(["name", "count", "maxPods", "vmSize", "osType", "mode", "type", "vnetSubnetID"])


@given(st.dictionaries(NETWORK_KEYS, JUNK, max_size=3), st.dictionaries(POOL_KEYS, JUNK, max_size=3))
def test_junk_is_answered_with_findings_never_with_an_exception(network: Json, pool: Json) -> None:
    for finding in judge(network, pool):
        assert finding.code
        assert finding.message


@given(st.integers(8, 32), st.integers(1, 300), st.integers(20, 30))
def test_room_is_judged_exactly(pod_length: int, nodes: int, subnet_length: int) -> None:
    """Accepted if and only if there is a /24 of the pod range and an address of the subnet for every node."""
    home = net(f"10.240.0.0/{subnet_length}")
    cloud = view(subnet("a", str(home)))
    pods = ipaddress.ip_network((int(ipaddress.ip_address("100.64.0.0")), max(10, pod_length)))
    found = codes(judge({"podCidr": str(pods)}, {"count": nodes, "vnetSubnetID": A}, cloud=cloud))
    fits = pods.num_addresses >= nodes * 256 and usable_in(home) >= nodes
    assert (found == []) == fits
    assert set(found) <= {"InsufficientSubnetSize"}


@given(st.integers(0, 2**32 - 1), st.integers(9, 30))
def test_overlap_with_a_subnet_is_always_found(start: int, length: int) -> None:
    pods = ipaddress.ip_network((start, length), strict=False)
    overlaps = pods.overlaps(net("10.240.0.0/16"))  # type: ignore[arg-type]
    found = judge({"podCidr": str(pods)}, {"vnetSubnetID": A, "count": 1}, cloud=view(subnet("a", "10.240.0.0/16")))
    assert ("NetworkProfileCIDROverlapVNET" in codes(found)) == overlaps
