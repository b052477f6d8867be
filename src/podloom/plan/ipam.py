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

from collections.abc import Container, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from podloom.model.cni import IPAddress
from podloom.model.errors import Exhausted, Rejected
from podloom.model.nnc import Network


class NotInRange(Rejected):
    """An address was asked for that this node does not hand out."""


class InUse(Exhausted):
    """An address was asked for that is leased."""


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


def every_address(network: Network) -> Iterator[IPAddress]:
    """The addresses `network` hands out, in order; of a range of more than 65,536 the first so many."""
    first, last = bounds(network)
    make = IPv4Address if isinstance(network, IPv4Network) else IPv6Address
    return (make(number) for number in range(first, min(last, first + (1 << 16) - 1) + 1))


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
    networks: Sequence[Network],
    used: Container[IPAddress],
    cursors: dict[Network, IPAddress],
    wanted: Sequence[IPAddress] = (),
) -> tuple[IPAddress, ...]:
    """One address per network (one per family): the wanted one, else the next after the cursor, which moves.

    Raises NotInRange or InUse when a wanted address cannot be given, Exhausted when none is free.
    """
    fixed: dict[Network, IPAddress] = {}
    for address in wanted:
        network = _network_of(address, networks)
        if fixed.setdefault(network, address) != address:
            raise NotInRange(
                f"allocate {address}",
                f"{fixed[network]} is wanted from {network} too",
                "ask for one address of a family",
            )
        if address in used:
            raise InUse(f"allocate {address}", "it is in use", "ask for another address or for none")
    chosen = tuple(fixed.get(network) or choose(network, used, cursors.get(network)) for network in networks)
    cursors.update({n: address for n, address in zip(networks, chosen, strict=True) if n not in fixed})
    return chosen


def _network_of(address: IPAddress, networks: Sequence[Network]) -> Network:
    for network in networks:
        if address in network and bounds(network)[0] <= int(address) <= bounds(network)[1]:
            return network
    raise NotInRange(
        f"allocate {address}",
        f"this node hands out addresses of {', '.join(map(str, networks))}",
        "ask for one of those or for none",
    )
