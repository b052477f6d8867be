"""The parts of a cluster follow from its resource alone."""

from __future__ import annotations

from typing import Any

from podloom.plan.cluster import base_36, plan_cluster


def resource(name: str = "myOverlayCluster", count: int = 2, **pool: Any) -> dict[str, Any]:
    group = "/subscriptions/0000/resourceGroups/myResourceGroup"
    return {
        "id": f"{group}/providers/Microsoft.ContainerService/managedClusters/{name}",
        "location": "westcentralus",
        "properties": {
            "kubernetesVersion": "1.36.2",
            "agentPoolProfiles": [{"name": "nodepool1", "count": count, "maxPods": 250, "mode": "System", **pool}],
            "networkProfile": {
                "podCidr": "192.168.0.0/16",
                "podCidrs": ["192.168.0.0/16"],
                "serviceCidr": "10.0.0.0/16",
                "dnsServiceIP": "10.0.0.10",
            },
        },
    }


def test_names_are_those_of_aks() -> None:
    """Node resource group, node and VNet names have AKS's form."""
    parts = plan_cluster(resource())
    assert parts.node_group.group == "MC_myResourceGroup_myOverlayCluster_westcentralus"
    first, second = parts.nodes
    assert first.name.startswith("aks-nodepool1-") and first.name.endswith("-vmss000000")
    assert second.name.endswith("-vmss000001")
    assert parts.managed_vnet and parts.vnet.name.startswith("aks-vnet-")


def test_names_do_not_change_when_the_cluster_scales() -> None:
    """Scaling keeps the nodes there are and removes the newest."""
    small, large = plan_cluster(resource(count=1)), plan_cluster(resource(count=12))
    assert large.nodes[0] == small.nodes[0]
    assert large.nodes[10].name.endswith("vmss00000a")


def test_two_clusters_of_one_name_in_two_groups_have_no_part_in_common() -> None:
    one = resource()
    other = resource()
    other["id"] = other["id"].replace("myResourceGroup", "other")
    a, b = plan_cluster(one), plan_cluster(other)
    assert a.key != b.key and not {n.name for n in a.nodes} & {n.name for n in b.nodes}


def test_a_brought_subnet_is_used_and_not_managed() -> None:
    subnet = "/subscriptions/0000/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
    parts = plan_cluster(resource(vnetSubnetID=subnet))
    assert not parts.managed_vnet and parts.vnet.name == "v" and str(parts.nodes[0].subnet) == subnet


def test_base_36_counts_like_a_scale_set() -> None:
    assert [base_36(n) for n in (0, 35, 36, 36**6 - 1)] == ["000000", "00000z", "000010", "zzzzzz"]
