"""Which address a NIC or a public address gets.

The problem: an address is given once, stays while its owner lives, and is refused with the reason when it cannot be
given. The store's UNIQUE(pool, address) is the decision; this picks the lowest free one, keeps what an owner has,
and knows the addresses Azure reserves in a subnet: the first four and the last (PLAN-01).
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Sequence

from podloom.cloud.store import Store
from podloom.model.findings import Finding
from podloom.plan.address.cidrs import reserved_in

_RESERVED_FIRST = 4  # PLAN-01: a subnet's first four addresses are Azure's, and its last
PUBLIC_POOL = "public"
PUBLIC_RANGE = ipaddress.ip_network("198.19.1.0/24")

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


def assign_dynamic(store: Store, pool: str, ranges: list[Prefix], owner: str, part: str) -> str | None:
    """The address `part` of `owner` has in the pool, else the lowest free one; None when the pool is full."""
    held = store.address_of(pool, owner, part)
    if held is not None and any(ipaddress.ip_address(held) in range_ for range_ in ranges):
        return held
    for range_ in ranges:
        first, last = int(range_.network_address), int(range_.broadcast_address)
        number = first_free(store.numbers(pool), first + _RESERVED_FIRST, last - 1)
        if number is not None:
            address = str(range_.network_address + (number - first))
            store.take(pool, address, owner, part)
            return address
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


def assign_public(store: Store, owner: str) -> str | None:
    """A public address of the lab's range, None when all are given."""
    held = store.address_of(PUBLIC_POOL, owner, "")
    if held is not None:
        return held
    first, last = int(PUBLIC_RANGE.network_address), int(PUBLIC_RANGE.broadcast_address)
    number = first_free(store.numbers(PUBLIC_POOL), first + 1, last - 1)
    if number is None:
        return None
    address = str(ipaddress.ip_address(number))
    store.take(PUBLIC_POOL, address, owner, "")
    return address


def first_free(taken: Sequence[int], first: int, last: int) -> int | None:
    """The lowest number of first..last that is not in the sorted `taken`; logarithmic."""
    start = bisect_left(taken, first)
    low, high = 0, len(taken) - start
    while low < high:
        middle = (low + high) // 2
        if taken[start + middle] == first + middle:
            low = middle + 1
        else:
            high = middle
    return first + low if first + low <= last else None
