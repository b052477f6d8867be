"""Which address a NIC or a public address gets.

The problem: an address is given once, stays while its owner lives, and is refused with the reason when it cannot be
given. The store's UNIQUE(pool, address) is the decision; this picks the lowest free one, keeps what an owner has,
and knows the addresses Azure reserves in a subnet: the first four and the last (PLAN-01).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from podloom.cloud.store import Store
from podloom.model.findings import Finding
from podloom.plan.address.cidrs import reserved_in

PUBLIC_POOL = "public"
PUBLIC_RANGE = ipaddress.ip_network("198.51.100.0/24")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


def assign_dynamic(store: Store, pool: str, ranges: list[Prefix], owner: str, part: str) -> str | None:
    """The address `part` of `owner` has in the pool, else the lowest free one; None when the pool is full."""
    held = store.address_of(pool, owner, part)
    if held is not None and any(ipaddress.ip_address(held) in range_ for range_ in ranges):
        return held
    taken = store.taken(pool)
    for address in _usable(ranges):
        if str(address) not in taken:
            store.take(pool, str(address), owner, part)
            return str(address)
    return None


def assign_static(
    store: Store, pool: str, ranges: list[Prefix], owner: str, part: str, *, text: str, target: str
) -> Finding | None:
    """Give exactly `text`; a finding when it is no address, outside, reserved or another's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return Finding("InvalidIPAddress", f"The IP address '{text}' is malformed.", target)
    home = next((range_ for range_ in ranges if address in range_), None)
    if home is None:
        listed = ", ".join(map(str, ranges))
        message = f"Private static IP address {address} does not belong to the range of subnet prefix {listed}."
        return Finding("PrivateIPAddressNotInSubnet", message, target)
    if address in reserved_in(home):
        message = f"Private static IP address {address} falls within reserved IP range of subnet prefix {home}."
        return Finding("PrivateIPAddressInReservedRange", message, target, "PLAN-01")
    user = store.owner_of(pool, str(address))
    if user not in (None, owner) or (user == owner and store.address_of(pool, owner, part) != str(address)):
        message = f"IP address {address} is already allocated to resource {user}."
        return Finding("PrivateIPAddressIsAllocated", message, target)
    store.take(pool, str(address), owner, part)
    return None


def _usable(ranges: list[Prefix]) -> Iterator[Address]:
    for range_ in ranges:
        last = int(range_.broadcast_address)
        for number in range(int(range_.network_address) + 4, last):
            yield range_.network_address + (number - int(range_.network_address))


def assign_public(store: Store, owner: str) -> str | None:
    """A public address of the lab's range, None when all are given."""
    held = store.address_of(PUBLIC_POOL, owner, "")
    if held is not None:
        return held
    taken = store.taken(PUBLIC_POOL)
    for address in PUBLIC_RANGE.hosts():
        if str(address) not in taken:
            store.take(PUBLIC_POOL, str(address), owner, "")
            return str(address)
    return None
