"""Which public address a virtual network's default outbound traffic has.

Azure gives a network without other means of egress an address of its own. Ours come from the top of the lab's
public range, where the cloud hands out from the bottom; a network keeps what it has while nobody else owns it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Network

from podloom.model.errors import Exhausted


def assign_outbound(
    vnets: Iterable[str], held: Mapping[str, str], taken: Collection[str], range_: str
) -> dict[str, str]:
    """Address by VNet id; `held` is the former assignment, `taken` are the cloud's public addresses."""
    wanted = sorted(vnets)
    owners: dict[str, str] = {}
    for vnet in wanted:
        address = held.get(vnet)
        if address and address not in taken and address not in owners:
            owners[address] = vnet
    assigned = {vnet: address for address, vnet in owners.items()}
    network = IPv4Network(range_)
    free = (str(network[offset]) for offset in range(network.num_addresses - 2, 0, -1))
    for vnet in wanted:
        if vnet in assigned:
            continue
        address = next((a for a in free if a not in owners and a not in taken), None)
        if address is None:
            raise Exhausted(
                f"give {vnet} an outbound address", f"all of {range_} are in use", "delete public addresses"
            )
        assigned[vnet] = address
        owners[address] = vnet
    return assigned
