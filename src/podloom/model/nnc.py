"""NodeNetworkConfig: what a node's agent is told about its addresses (azure-behaviour.md section 4).

The problem: operator and agent meet only in this resource (`acn.azure.com/v1alpha`, short name nnc), so both need
one reading of it. `NodeNetwork` is that reading for overlay nodes: the node's fixed /24 (OVL-02, OVL-03), the
cluster's pod range it was carved from, the node's address, and whether the cloud's route to it exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from podloom.model.cni import IPAddress
from podloom.model.errors import Rejected

GROUP = "acn.azure.com"
VERSION = "v1alpha"
NAMESPACE = "kube-system"

UPDATING = "Updating"
UPDATED = "Updated"
ERROR = "Error"

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class NodeNetwork:
    """One node's place in the overlay: `ranges` to hand out from, `pod_cidrs` not to translate within."""

    node: str
    ranges: tuple[Network, ...]
    pod_cidrs: tuple[Network, ...]
    node_addresses: tuple[IPAddress, ...] = ()
    status: str = UPDATED
    container_id: str = ""
    message: str = ""

    @property
    def ready(self) -> bool:
        """Whether the cloud carries the range's traffic to this node, so pods may use it."""
        return self.status == UPDATED and bool(self.ranges)


def parse_nnc(obj: Mapping[str, Any]) -> NodeNetwork | None:
    """Read an NNC object; None while it has no network container.

    AKS's own controller writes the overlay's without `status.status`, once the range is routed: that is Updated.
    Raises Rejected naming the malformed field, or what is not a node range (a pool of a pod subnet).
    """
    name = obj["metadata"]["name"]
    status = obj.get("status") or {}
    containers = status.get("networkContainers") or []
    if not containers:
        return None
    container = containers[0]
    pools = [item for item in containers if item.get("assignmentMode") == "dynamic" or item.get("ipAssignments")]
    if pools:
        kind = f"{pools[0].get('assignmentMode', '')} {pools[0].get('type', '')}".strip()
        raise Rejected(
            f"read NodeNetworkConfig {name}",
            f"network container {pools[0].get('id', '')} is a pool of single addresses or blocks ({kind})",
            "use an overlay cluster: pod subnets are not served by this agent",
        )
    try:
        ranges = tuple(ip_network(item["primaryIP"]) for item in containers)
        spaces = [item.get("subnetAddressSpace") or item["primaryIP"] for item in containers]
        node_ip = container.get("nodeIP")
        return NodeNetwork(
            node=name,
            ranges=ranges,
            pod_cidrs=tuple(ip_network(space) for space in spaces),
            node_addresses=(ip_address(node_ip),) if node_ip else (),
            status=status.get("status") or UPDATED,
            container_id=container.get("id", ""),
            message=status.get("message", ""),
        )
    except (KeyError, ValueError) as error:
        raise Rejected(f"read NodeNetworkConfig {name}", f"{error}", "mend status.networkContainers") from error


def is_node_range(network: Network) -> bool:
    """OVL-03: an IPv4 node range is exactly a /24; an IPv6 one a /120 or shorter."""
    return network.prefixlen == 24 if isinstance(network.network_address, IPv4Address) else network.prefixlen <= 120
