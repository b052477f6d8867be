"""Is there room: /24s in the pod range for every node, addresses in the subnets for every node (PLAN-01, PLAN-03)."""

from __future__ import annotations

from podloom.model.findings import Finding
from podloom.plan.address.cidrs import usable_in
from podloom.plan.address.pools import Pool
from podloom.plan.address.ranges import POD
from podloom.plan.address.view import CloudView, Prefix, SubnetView

NODE_PREFIX = 24  # OVL-02, OVL-03
NODE_ADDRESSES = 256


def check_pod_capacity(pod: Prefix, pools: list[Pool]) -> list[Finding]:
    """Every node takes one /24 of the pod range."""
    nodes = sum(max(0, pool.count) for pool in pools)
    needed = nodes * NODE_ADDRESSES
    if pod.version != 4 or needed <= pod.num_addresses:
        return []
    message = _insufficient(needed, pod.num_addresses, str(pod), "podCIDR")
    room = pod.num_addresses // NODE_ADDRESSES
    fix = f"{nodes} nodes need {nodes} /24 ranges and {pod} has {room}: use a larger --pod-cidr, or fewer nodes"
    return [Finding("InsufficientSubnetSize", message, POD, "PLAN-03", fix)]


def check_subnet_capacity(subnet: SubnetView, nodes: int, view: CloudView) -> list[Finding]:
    """Every node takes one address of its subnet; what others have or have asked for counts as used."""
    ranges = [prefix for prefix in subnet.prefixes if prefix.version == 4]
    listed = ", ".join(map(str, ranges))
    usable = sum(usable_in(prefix) for prefix in ranges)
    target = "agentPoolProfile.vnetSubnetID"
    if nodes > usable:
        message = _insufficient(nodes, usable, listed, subnet.id.name)
        fix = "use a larger subnet or fewer nodes; Azure reserves five addresses of each subnet"
        return [Finding("InsufficientSubnetSize", message, target, "PLAN-01", fix)]
    used = view.used_by_others(subnet)
    if nodes > usable - used:
        message = (
            f"Subnet {subnet.id} with address prefix {listed} does not have enough capacity for {nodes} IP addresses"
            f" ({used} of {usable} are in use)."
        )
        fix = "use another subnet, fewer nodes, or delete what uses this one"
        return [Finding("SubnetIsFull", message, target, "PLAN-02", fix)]
    return []


def _insufficient(needed: int, available: int, cidr: str, name: str) -> str:
    return f"Pre-allocated IPs {needed} exceeds IPs available {available} in Subnet Cidr {cidr}, Subnet Name {name}"
