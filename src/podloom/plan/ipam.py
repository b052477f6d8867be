"""Which address a new pod gets.

The problem: an address given back must rest before it is given out again, or a peer's old connection, ARP entry or
DNS answer reaches a stranger; and the choice must not depend on how many are taken. So addresses go out round-robin:
the search starts after the last one given, and a freed address is the last to come back. The caller makes the choice
durable under a uniqueness constraint; this module only chooses.

Of a node's /24 (OVL-03) the first and the last address are left out: they look like a network and a
broadcast address and some software refuses them. 254 remain for at most 250 pods (OVL-15). The gateway of a pod is
link-local (169.254.1.1), so none is spent on one.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from podloom.model.cni import IPAddress
from podloom.model.errors import Exhausted
from podloom.model.nnc import Network


def bounds(network: Network) -> tuple[int, int]:
    """First and last address handed out from `network`, as integers."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.num_addresses <= 2:
        return first, last
    return (first + 1, last - 1) if isinstance(network, IPv4Network) else (first + 1, last)


def capacity(network: Network) -> int:
    """How many addresses `network` can hand out."""
    first, last = bounds(network)
    return last - first + 1


def choose(network: Network, used: Container[IPAddress], cursor: IPAddress | None) -> IPAddress:
    """The next free address of `network` after `cursor`; raises Exhausted when every one is used.

    `used` holds every address leased now, `cursor` the address handed out last (None: none yet, or unknown).
    """
    first, last = bounds(network)
    make = IPv4Address if isinstance(network, IPv4Network) else IPv6Address
    at = int(cursor) + 1 if cursor is not None and cursor in network else first
    size = last - first + 1
    offset = min(max(at - first, 0), size) % size
    for step in range(min(size, 1 << 16)):
        address = make(first + (offset + step) % size)
        if address not in used:
            return address
    raise Exhausted(
        f"allocate an address from {network}",
        f"all {size} addresses are in use",
        "delete pods from this node or lower its max pods",
        target=str(network),
    )


def choose_each(
    networks: Sequence[Network], used: Container[IPAddress], cursors: dict[Network, IPAddress]
) -> tuple[IPAddress, ...]:
    """One address per network (one per family), after each network's cursor; moves the cursors."""
    chosen = tuple(choose(network, used, cursors.get(network)) for network in networks)
    cursors.update(zip(networks, chosen, strict=True))
    return chosen
