"""Rows as netlink objects and back: the names of rows against the numbers of the kernel.

Pure conversions, one pair per kind, with the interface table of the namespace as an argument. A route that
names a device that does not exist yet cannot be packed: KeyError, which the driver reports for that row.
"""

from __future__ import annotations

from collections.abc import Mapping

from podloom.model.rows import AddressValue, Key, RouteValue, RuleValue
from podloom.render import netlink as nl

_FAMILIES = {4: nl.AF_INET, 6: nl.AF_INET6}
_FAMILY_NUMBERS = {nl.AF_INET: 4, nl.AF_INET6: 6}


def address_object(key: Key, value: AddressValue, index: int, protocol: int) -> nl.Address:
    """Key (netns, dev, address)."""
    address = str(key[2])
    flags = 0 if value.prefix_route else nl.IFA_F_NOPREFIXROUTE
    if ":" in address:
        flags |= nl.IFA_F_NODAD
    return nl.Address(index, address, value.scope, flags, protocol)


def address_row_of(netns: str, item: nl.Address, names: Mapping[int, str]) -> tuple[Key, AddressValue]:
    key = (netns, names.get(item.index, ""), item.address)
    return key, AddressValue(item.scope, not item.flags & nl.IFA_F_NOPREFIXROUTE)


def route_object(key: Key, value: RouteValue, index: int, protocol: int) -> nl.Route:
    """Key (netns, table, dst, metric)."""
    return nl.Route(
        dst=str(key[2]),
        table=int(key[1]),
        protocol=protocol,
        scope=value.scope,
        type=value.type,
        index=index,
        via=value.via,
        src=value.src,
        metric=int(key[3]),
        onlink=value.onlink,
        mtu=value.mtu,
    )


def route_row_of(netns: str, item: nl.Route, names: Mapping[int, str]) -> tuple[Key, RouteValue]:
    key = (netns, item.table, item.dst, item.metric)
    refuses = item.type in ("blackhole", "unreachable", "prohibit")
    dev = "" if refuses else names.get(item.index, "")
    return key, RouteValue(dev, item.via, item.src, item.scope, item.type, item.onlink, item.mtu)


def rule_object(key: Key, value: RuleValue, protocol: int) -> nl.Rule:
    """Key (netns, family, priority, iif, oif, src, dst, mark)."""
    _, family, priority, iif, oif, src, dst, mark = key
    return nl.Rule(
        family=_FAMILIES[int(family)],
        priority=int(priority),
        table=value.table,
        action=value.action,
        iif=str(iif),
        oif=str(oif),
        src=str(src),
        dst=str(dst),
        protocol=protocol,
        mark=int(mark),
    )


def rule_row_of(netns: str, item: nl.Rule) -> tuple[Key, RuleValue]:
    family = _FAMILY_NUMBERS.get(item.family, item.family)
    key = (netns, family, item.priority, item.iif, item.oif, item.src, item.dst, item.mark)
    return key, RuleValue(item.table, item.action)
