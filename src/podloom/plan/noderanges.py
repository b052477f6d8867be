"""Which pod range each node has (OVL-02, OVL-03, PLAN-03).

The problem: every node gets one fixed /24 of the pod CIDR, the lowest free one; it must be the same one after any
crash or restart, no two nodes may have the same, and a range must not go to another node while pods of its old node may
still live. So what is claimed is read from the objects (`Claim`s), never remembered, and the plan only
adds claims for nodes that have none and names those that may end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from podloom.model.nnc import Network

IPV4_PREFIX, IPV6_PREFIX = 24, 120


@dataclass(frozen=True)
class RangePlan:
    """New ranges by node (one per pod CIDR), and the nodes there is no range left for."""

    assigned: Mapping[str, tuple[Network, ...]]
    exhausted: tuple[str, ...]


def plan_ranges(
    pod_cidrs: Sequence[Network], nodes: Iterable[str], claims: Mapping[str, tuple[Network, ...]]
) -> RangePlan:
    """Ranges for the `nodes` that have none in `claims`; every claim keeps its range from others, its node gone or not.

    Nodes are served in the order given (oldest first makes exhaustion fair).
    """
    taken = {network for ranges in claims.values() for network in ranges}
    assigned: dict[str, tuple[Network, ...]] = {}
    exhausted: list[str] = []
    cursors = [_subnets(cidr) for cidr in pod_cidrs]
    for node in nodes:
        if node in claims:
            continue
        ranges: list[Network] = []
        for cursor in cursors:
            found = next((network for network in cursor if not _overlaps(network, taken)), None)
            if found is not None:
                ranges.append(found)
        if len(ranges) == len(pod_cidrs):
            assigned[node] = tuple(ranges)
            taken.update(ranges)
        else:
            exhausted.append(node)
    return RangePlan(assigned, tuple(exhausted))


def node_capacity(cidr: Network) -> int:
    """How many nodes a pod CIDR is enough for (PLAN-03)."""
    prefix = _node_prefix(cidr)
    return 1 << (prefix - cidr.prefixlen) if cidr.prefixlen <= prefix else 0


def _subnets(cidr: Network) -> Iterator[Network]:
    """The node ranges of a pod CIDR, lowest first; one iterator serves all nodes, so each is looked at once."""
    prefix = _node_prefix(cidr)
    if cidr.prefixlen <= prefix:
        yield from cidr.subnets(new_prefix=prefix)


def _node_prefix(cidr: Network) -> int:
    return IPV4_PREFIX if isinstance(cidr, IPv4Network) else IPV6_PREFIX


def _overlaps(network: Network, taken: set[Network]) -> bool:
    """Claims are node ranges, so equality suffices; a claim of another size is compared in full."""
    if network in taken:
        return True
    odd = (other for other in taken if other.prefixlen != network.prefixlen and other.version == network.version)
    return any(_overlap(network, other) for other in odd)


def _overlap(a: Network, b: Network) -> bool:
    if isinstance(a, IPv4Network) and isinstance(b, IPv4Network):
        return a.overlaps(b)
    if isinstance(a, IPv6Network) and isinstance(b, IPv6Network):
        return a.overlaps(b)
    return False
