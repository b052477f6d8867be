"""Events of the kernel as one bit: something of ours may have changed.

The problem: drift must be noticed within a second or two without reading every table all the time, but an event
says too little (or too much, or was dropped) to act on. So a namespace has one netlink socket for links, addresses,
routes, rules and neighbours and one for nftables, and whatever passes the filter calls `on_dirty`; so does an
overflow. The reader then looks at the world itself. A monitor keeps its namespace alive: close it when the name
of the namespace goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Collection

from podloom.drivers.kernel.netns import netns_inode, socket_in_netns
from podloom.model.errors import PodloomError
from podloom.model.rows import Tag
from podloom.render import netlink as nl

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_NFNLGRP_NFTABLES = 7
# RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19)
_READS_PER_WAKE = 64

Filter = Callable[[nl.Message], bool]


def ours(tag: Tag, devices: Collection[str] = ()) -> Filter:
    """Passes events about what carries our tag: links by name (or one of `devices`), the rest by protocol number,
    and a route that replaced another, which may have been ours."""

    def interesting(msg: nl.Message) -> bool:
        if msg.type in (nl.RTM_NEWLINK, nl.RTM_DELLINK):
            name = nl.unpack_link(msg.body).name
            return tag.owns_link(name) or name in devices
        if msg.type in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE):
            replaced = bool(msg.flags & nl.NLM_F_REPLACE) and msg.type == nl.RTM_NEWROUTE
            return replaced or nl.unpack_route(msg.body).protocol == tag.protocol
        if msg.type in (nl.RTM_NEWADDR, nl.RTM_DELADDR):
            return nl.unpack_address(msg.body).protocol in (tag.protocol, 0)
        if msg.type in (nl.RTM_NEWNEIGH, nl.RTM_DELNEIGH):
            return nl.unpack_neighbour(msg.body).protocol == tag.protocol
        if msg.type in (nl.RTM_NEWRULE, nl.RTM_DELRULE):
            return nl.unpack_rule(msg.body).protocol == tag.protocol
        return False

    return interesting


class Monitor:
    """Calls `on_dirty` on the running loop when something in `netns` changed, until `close`."""

    def __init__(
        self,
        netns: str,
        on_dirty: Callable[[], None],
        interesting: Filter | None = None,
        *,
        nft: bool = True,
    ) -> None:
        self.inode = netns_inode(netns)
        self._on_dirty = on_dirty
        self._interesting = interesting
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        try:
            self._open(netns, socket.NETLINK_ROUTE, _GROUPS, self._rtnetlink)
            if nft:
                self._open(netns, _NETLINK_NETFILTER, (_NFNLGRP_NFTABLES,), self._nftables)
        except BaseException:
            self.close()
            raise

    def _open(
        self, netns: str, protocol: int, groups: Collection[int], reader: Callable[[socket.socket], None]
    ) -> None:
        opened = socket_in_netns(netns, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(opened)
        # An unbound socket has port 0, the sender of the kernel's own events, and gets none of them.
        opened.bind((0, 0))
        for group in groups:
            opened.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        self._loop.add_reader(opened.fileno(), reader, opened)

    def close(self) -> None:
        """Stop, and let the namespace go."""
        for opened in self._sockets:
            with contextlib.suppress(ValueError, OSError):
                self._loop.remove_reader(opened.fileno())
            opened.close()
        self._sockets.clear()

    def _rtnetlink(self, opened: socket.socket) -> None:
        for _ in range(_READS_PER_WAKE):
            data = self._receive(opened)
            if data is None:
                return
            if self._interesting is None or any(map(self._interesting, nl.messages(data))):
                self._on_dirty()

    def _nftables(self, opened: socket.socket) -> None:
        for _ in range(_READS_PER_WAKE):
            if self._receive(opened) is None:
                return
            self._on_dirty()

    def _receive(self, opened: socket.socket) -> bytes | None:
        try:
            return opened.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as e:
            if e.errno == errno.ENOBUFS:
                self._on_dirty()
            return None


class Monitors:
    """One Monitor per namespace of a changing set; a namespace made anew under its name gets a new one.

    nftables of the process's own namespace ("") are others' and not watched unless `own_nft`."""

    def __init__(
        self, on_dirty: Callable[[], None], interesting: Filter | None = None, *, own_nft: bool = True
    ) -> None:
        self._on_dirty = on_dirty
        self._interesting = interesting
        self._own_nft = own_nft
        self._open: dict[str, Monitor] = {}

    def watch(self, namespaces: Collection[str]) -> bool:
        """Watch exactly these; whether any of them is missing, new or another than before (then: look)."""
        changed = False
        for netns in list(self._open):
            if netns not in namespaces or self._open[netns].inode != netns_inode(netns):
                self._open.pop(netns).close()
                changed = True
        for netns in namespaces:
            if netns in self._open:
                continue
            changed = True
            with contextlib.suppress(PodloomError, OSError):
                self._open[netns] = Monitor(netns, self._on_dirty, self._interesting, nft=bool(netns) or self._own_nft)
        return changed

    def close(self) -> None:
        for monitor in self._open.values():
            monitor.close()
        self._open.clear()
