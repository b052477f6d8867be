"""A kernel in memory that keeps the `Kernel` contract: for tests of plans, engine and doors without root.

It models what rows depend on: namespaces hold interfaces, a veth has two ends, what hangs on an interface or
in a namespace goes with it, a route needs its device. It does not move packets.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from typing import Any

from podloom.drivers.kernel.errors import kernel_error
from podloom.model.errors import PodloomError
from podloom.model.rows import Key, Kind, Tag

Failures = dict[Key, PodloomError]


def _device_of(setting: str) -> str:
    """The interface whose setting it is, e.g. of "ipv4/conf/eth0/proxy_arp"; "" for a namespace's."""
    parts = setting.split("/")
    return parts[2] if len(parts) == 4 and parts[2] not in ("all", "default") else ""


class FakeKernel:
    """Implements `api.Kernel`. Share one `world` between several to play several users."""

    def __init__(self, tag: Tag, world: dict[Kind, dict[Key, Any]] | None = None) -> None:
        self.tag = tag
        self.world = world if world is not None else {kind: {} for kind in Kind}
        self.writes = 0

    def namespaces(self) -> set[str]:
        names = {str(key[0]) for key in self.world[Kind.NETNS]}
        return {name for name in names if self.tag.owns_netns(name)}

    def read(self, kind: Kind, netns: str, wanted: Mapping[Key, Any], *, whole: bool) -> dict[Key, Any]:
        rows = {key: value for key, value in self.world[kind].items() if key[0] == netns}
        if whole and kind not in (Kind.SYSCTL, Kind.NETNS):
            return {k: v for k, v in rows.items() if k in wanted or kind is not Kind.LINK or self._ours(k)}
        return {key: value for key, value in rows.items() if key in wanted}

    def _ours(self, key: Key) -> bool:
        return self.tag.owns_link(str(key[1]))

    def write(self, kind: Kind, netns: str, upserts: Mapping[Key, Any], old: Mapping[Key, Any]) -> Failures:
        failures: Failures = {}
        for key, value in upserts.items():
            self.writes += 1
            missing = self._missing(kind, key, value)
            if missing:
                failures[key] = kernel_error(missing, f"set {kind!r} {key[1:]} in namespace {netns!r}")
            else:
                self._replaced(kind, netns, key, value)
                self.world[kind][key] = value
        return failures

    def _replaced(self, kind: Kind, netns: str, key: Key, value: Any) -> None:
        """A pair between other ends is another pair: what hung on the old one goes with it."""
        old = self.world[kind].get(key)
        if kind is Kind.LINK and old and (old.peer_netns, old.peer_name) != (value.peer_netns, value.peer_name):
            self.delete(kind, netns, {key: old})

    def _missing(self, kind: Kind, key: Key, value: Any) -> int:
        if kind is Kind.NETNS:
            return 0
        if not self._exists(str(key[0])):
            return errno.ENOENT
        if kind is Kind.LINK and not self._exists(value.peer_netns):
            return errno.ENOENT
        dev = ""
        if kind is Kind.ROUTE:
            dev = value.dev
        elif kind in (Kind.ADDRESS, Kind.NEIGHBOUR):
            dev = str(key[1])
        elif kind is Kind.SYSCTL:
            dev = _device_of(str(key[1]))
        return errno.ENODEV if dev and not self._has_device(str(key[0]), dev) else 0

    def _exists(self, netns: str) -> bool:
        return not netns or (netns,) in self.world[Kind.NETNS]

    def _has_device(self, netns: str, dev: str) -> bool:
        links = self.world[Kind.LINK]
        peers = {(value.peer_netns, value.peer_name) for value in links.values()}
        return dev == "lo" or (netns, dev) in links or (netns, dev) in peers

    def delete(self, kind: Kind, netns: str, rows: Mapping[Key, Any]) -> Failures:
        for key in rows:
            self.writes += 1
            value = self.world[kind].pop(key, None)
            if kind is Kind.LINK and value is not None:
                self._device_gone(netns, str(key[1]))
                self._device_gone(value.peer_netns, value.peer_name)
            if kind is Kind.NETNS:
                self._netns_gone(str(key[0]))
        return {}

    def _device_gone(self, netns: str, dev: str) -> None:
        for kind in (Kind.ADDRESS, Kind.NEIGHBOUR):
            for key in [key for key in self.world[kind] if key[:2] == (netns, dev)]:
                del self.world[kind][key]
        routes = self.world[Kind.ROUTE]
        for key in [key for key, value in routes.items() if key[0] == netns and value.dev == dev]:
            del routes[key]
        sysctls = self.world[Kind.SYSCTL]
        for key in [key for key in sysctls if key[0] == netns and f"/{dev}/" in str(key[1])]:
            del sysctls[key]

    def _netns_gone(self, netns: str) -> None:
        for key, value in list(self.world[Kind.LINK].items()):
            if netns in (key[0], value.peer_netns):
                self.delete(Kind.LINK, str(key[0]), {key: value})
        for rows in self.world.values():
            for key in [key for key in rows if key[0] == netns]:
                del rows[key]

    def write_nft(
        self,
        netns: str,
        tables: Mapping[Key, str],
        elements: Mapping[Key, str],
        gone: Collection[Key],
        old: Mapping[Key, str],
    ) -> Failures:
        self.writes += 1
        everything = [*tables, *elements, *gone]
        if not self._exists(netns):
            return dict.fromkeys(everything, kernel_error(errno.ENOENT, f"nftables of namespace {netns!r}"))
        known = {**self.world[Kind.NFT_TABLE], **tables}
        for key in elements:
            if key[:3] not in known:
                return dict.fromkeys(everything, kernel_error(errno.ENOENT, f"nft element {key}"))
        for key in gone:
            self.world[Kind.NFT_TABLE].pop(key, None)
            for element in [e for e in self.world[Kind.NFT_ELEMENT] if e == key or e[:3] == key]:
                del self.world[Kind.NFT_ELEMENT][element]
        self.world[Kind.NFT_TABLE].update(tables)
        self.world[Kind.NFT_ELEMENT].update(elements)
        return {}

    def refresh(self) -> None:
        """Nothing is remembered."""

    def release(self) -> None:
        """Nothing is open."""
