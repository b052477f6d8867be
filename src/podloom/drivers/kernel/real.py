"""The kernel of this machine behind the `Kernel` contract.

How: per namespace one rtnetlink socket and one table of interfaces, opened when first needed and kept until
`release`; a namespace's objects are read by kernel-filtered dumps when everything is wanted and by key or by
device when only one owner's rows are (so a pod costs the same on a full node); writes go out as one batch per
kind and namespace.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from podloom.drivers.kernel import netns as ns
from podloom.drivers.kernel import rowcodec as codec
from podloom.drivers.kernel import sysctl
from podloom.drivers.kernel.errors import GONE, kernel_error
from podloom.drivers.kernel.interfaces import Interfaces
from podloom.drivers.kernel.links import delete_veths, read_veths, write_veths
from podloom.drivers.kernel.nftrows import NftRows
from podloom.drivers.kernel.rtnl import Answer, Request, Rtnl
from podloom.model.errors import PodloomError, Rejected, Stale
from podloom.model.rows import Key, Kind, Tag
from podloom.render import netlink as nl

Failures = dict[Key, PodloomError]


class RealKernel:
    """Implements `api.Kernel`; needs CAP_NET_ADMIN and CAP_SYS_ADMIN."""

    def __init__(self, tag: Tag) -> None:
        self.tag = tag
        self._fds: dict[str, int] = {}
        self._interfaces: dict[str, Interfaces] = {}
        self._nft = NftRows(tag, self._fd)
        self._readers: dict[Kind, Callable[[str, Mapping[Key, Any], bool], dict[Key, Any]]] = {
            Kind.LINK: self._read_links,
            Kind.ADDRESS: self._read_addresses,
            Kind.SYSCTL: self._read_sysctls,
            Kind.ROUTE: self._read_routes,
            Kind.RULE: self._read_rules,
            Kind.NEIGHBOUR: self._read_neighbours,
            Kind.NFT_TABLE: self._nft.read_tables,
            Kind.NFT_ELEMENT: self._nft.read_elements,
        }

    # reading ---------------------------------------------------------------------------------------------

    def namespaces(self) -> set[str]:
        return ns.list_netns(self.tag.netns_prefix) if self.tag.netns_prefix else set()

    def read(self, kind: Kind, netns: str, wanted: Mapping[Key, Any], *, whole: bool) -> dict[Key, Any]:
        if kind is Kind.NETNS:
            return {(netns,): None} if ns.netns_inode(netns) and netns in ns.list_netns() else {}
        try:
            self._fd(netns)
        except Stale:
            return {}
        return self._readers[kind](netns, wanted, whole)

    def _read_links(self, netns: str, wanted: Mapping[Key, Any], whole: bool) -> dict[Key, Any]:
        return read_veths(self.tag, netns, wanted, whole, self.interfaces)

    def _read_addresses(self, netns: str, wanted: Mapping[Key, Any], whole: bool) -> dict[Key, Any]:
        table = self.interfaces(netns)
        found: dict[Key, Any] = {}
        for index in _scopes(table, whole, (str(key[1]) for key in wanted)):
            for item in table.rtnl.addresses(index):
                key, value = codec.address_row_of(netns, item, table.names())
                if key in wanted or (whole and item.protocol == self.tag.protocol):
                    found[key] = value
        return found

    def _read_sysctls(self, netns: str, wanted: Mapping[Key, Any], whole: bool) -> dict[Key, Any]:
        found: dict[Key, Any] = {}
        with ns.in_netns(self._fd(netns)):
            for key in wanted:
                try:
                    found[key] = sysctl.read_here(str(key[1]))
                except Stale:
                    continue
        return found

    def _read_routes(self, netns: str, wanted: Mapping[Key, Any], whole: bool) -> dict[Key, Any]:
        table = self.interfaces(netns)
        whole_table = whole or not all(value.dev for value in wanted.values())
        found: dict[Key, Any] = {}
        for index in _scopes(table, whole_table, (value.dev for value in wanted.values())):
            for item in table.rtnl.routes(protocol=self.tag.protocol, index=index):
                key, value = codec.route_row_of(netns, item, table.names())
                if item.protocol == self.tag.protocol and (whole or key in wanted):
                    found[key] = value
        return found

    def _read_rules(self, netns: str, wanted: Mapping[Key, Any], whole: bool) -> dict[Key, Any]:
        found: dict[Key, Any] = {}
        for item in self.interfaces(netns).rtnl.rules():
            key, value = codec.rule_row_of(netns, item)
            if item.protocol == self.tag.protocol and (whole or key in wanted):
                found[key] = value
        return found

    def _read_neighbours(self, netns: str, wanted: Mapping[Key, Any], whole: bool) -> dict[Key, Any]:
        table = self.interfaces(netns)
        found: dict[Key, Any] = {}
        for index in _scopes(table, whole, (str(key[1]) for key in wanted)):
            for item in table.rtnl.neighbours(index):
                key = (netns, table.names().get(item.index, ""), item.address)
                permanent = bool(item.state & nl.NUD_PERMANENT)
                if permanent and (key in wanted or (whole and item.protocol == self.tag.protocol)):
                    found[key] = item.mac
        return found

    # writing ---------------------------------------------------------------------------------------------

    def write(self, kind: Kind, netns: str, upserts: Mapping[Key, Any], old: Mapping[Key, Any]) -> Failures:
        if kind is Kind.NETNS:
            return _each(upserts, ns.create_netns)
        try:
            self._fd(netns)
            if kind is Kind.LINK:
                return write_veths(self.tag, netns, upserts, old, self.interfaces, open_netns=self._fd)
            if kind is Kind.SYSCTL:
                return self._write_sysctls(netns, upserts)
            return self._batch(kind, netns, self._requests(kind, netns, upserts, old))
        except PodloomError as e:
            return dict.fromkeys(upserts, e)

    def delete(self, kind: Kind, netns: str, rows: Mapping[Key, Any]) -> Failures:
        if kind is Kind.NETNS:
            self.release()
            return _each(rows, ns.delete_netns)
        if kind is Kind.SYSCTL:
            return {}
        try:
            self._fd(netns)
            if kind is Kind.LINK:
                return delete_veths(netns, rows, self.interfaces)
            requests = [(key, Request(_DELETES[kind], 0, body)) for key, body in self._bodies(kind, netns, rows)]
            return self._batch(kind, netns, requests, gone=GONE)
        except Stale:
            return {}
        except PodloomError as e:
            return dict.fromkeys(rows, e)

    def write_nft(
        self,
        netns: str,
        tables: Mapping[Key, str],
        elements: Mapping[Key, str],
        gone: Collection[Key],
        old: Mapping[Key, str],
    ) -> Failures:
        try:
            self._nft.apply(netns, tables, elements, gone, old)
        except PodloomError as e:
            return dict.fromkeys([*tables, *elements, *gone], e)
        return {}

    def _write_sysctls(self, netns: str, upserts: Mapping[Key, Any]) -> Failures:
        failures: Failures = {}
        with ns.in_netns(self._fd(netns)):
            for key, value in upserts.items():
                try:
                    sysctl.write_here(str(key[1]), value)
                except PodloomError as e:
                    failures[key] = e
        return failures

    def _requests(
        self, kind: Kind, netns: str, upserts: Mapping[Key, Any], old: Mapping[Key, Any]
    ) -> list[tuple[Key, Request]]:
        guarded = netns in self.tag.guarded
        requests: list[tuple[Key, Request]] = []
        for key, body in self._bodies(kind, netns, upserts):
            if kind is Kind.RULE or (kind is Kind.ADDRESS and key in old):
                if key in old:
                    stale = next(iter(self._bodies(kind, netns, {key: old[key]})))[1]
                    requests.append((key, Request(_DELETES[kind], 0, stale)))
                requests.append((key, Request(_CREATES[kind], nl.NLM_F_CREATE | nl.NLM_F_EXCL, body)))
            else:
                may_replace = key in old or not guarded or kind is not Kind.ROUTE
                how = nl.NLM_F_REPLACE if may_replace else nl.NLM_F_EXCL
                requests.append((key, Request(_CREATES[kind], nl.NLM_F_CREATE | how, body)))
        return requests

    def _bodies(self, kind: Kind, netns: str, rows: Mapping[Key, Any]) -> list[tuple[Key, bytes]]:
        """Packed rows; one whose device is missing is for interface MISSING, which the kernel refuses."""
        table, protocol = self.interfaces(netns), self.tag.protocol
        if kind is Kind.ADDRESS:
            return [
                (k, nl.pack_address(codec.address_object(k, v, table.index(str(k[1])), protocol)))
                for k, v in rows.items()
            ]
        if kind is Kind.ROUTE:
            return [(k, nl.pack_route(codec.route_object(k, v, table.index(v.dev), protocol))) for k, v in rows.items()]
        if kind is Kind.NEIGHBOUR:
            return [
                (k, nl.pack_neighbour(nl.Neighbour(table.index(str(k[1])), str(k[2]), v, protocol=protocol)))
                for k, v in rows.items()
            ]
        return [(k, nl.pack_rule(codec.rule_object(k, v, protocol))) for k, v in rows.items()]

    def _batch(
        self,
        kind: Kind,
        netns: str,
        requests: list[tuple[Key, Request]],
        gone: Collection[int] = frozenset(),
    ) -> Failures:
        answers = self.interfaces(netns).rtnl.batch([request for _, request in requests])
        failures: Failures = {}
        for (key, request), answer in zip(requests, answers, strict=True):
            if answer.errno and answer.errno not in gone and not _harmless(kind, request, answer):
                what = "delete" if request.type == _DELETES[kind] else "set"
                name = " ".join(str(part) for part in key[1:] if part != "")
                attempted = f"{what} {kind!r} {name} in namespace {netns!r}"
                if answer.errno == errno.EEXIST and netns in self.tag.guarded:
                    failures[key] = Rejected(attempted, "another program has a route to it", "remove that route")
                else:
                    failures[key] = kernel_error(answer.errno, attempted, answer.words)
        return failures

    # handles ---------------------------------------------------------------------------------------------

    def interfaces(self, netns: str) -> Interfaces:
        """The namespace's interface table and socket; raises Stale when there is no such namespace."""
        table = self._interfaces.get(netns)
        if table is None:
            table = self._interfaces[netns] = Interfaces(Rtnl(self._fd(netns) if netns else ""))
        return table

    def _fd(self, netns: str) -> int | str:
        if not netns:
            return ""
        fd = self._fds.get(netns)
        if fd is None:
            fd = self._fds[netns] = ns.open_netns(netns)
        return fd

    def refresh(self) -> None:
        for netns, fd in list(self._fds.items()):
            if ns.netns_inode(netns) != ns.netns_inode(fd):
                self._drop(netns)
        for table in self._interfaces.values():
            table.forget()

    def release(self) -> None:
        for netns in list(self._fds):
            self._drop(netns)
        self._nft.release()

    def _drop(self, netns: str) -> None:
        table = self._interfaces.pop(netns, None)
        if table is not None:
            table.rtnl.close()
        self._nft.drop(netns)
        os.close(self._fds.pop(netns))


_CREATES = {
    Kind.ADDRESS: nl.RTM_NEWADDR,
    Kind.ROUTE: nl.RTM_NEWROUTE,
    Kind.RULE: nl.RTM_NEWRULE,
    Kind.NEIGHBOUR: nl.RTM_NEWNEIGH,
}
_DELETES = {
    Kind.ADDRESS: nl.RTM_DELADDR,
    Kind.ROUTE: nl.RTM_DELROUTE,
    Kind.RULE: nl.RTM_DELRULE,
    Kind.NEIGHBOUR: nl.RTM_DELNEIGH,
}


def _scopes(table: Interfaces, whole: bool, devices: Iterable[str]) -> list[int]:
    """The interface numbers to filter dumps by: 0 (all) for a whole reading, else those of the devices."""
    if whole:
        table.all()
        return [0]
    return table.worth_reading(devices)


def _harmless(kind: Kind, request: Request, answer: Answer) -> bool:
    """A rule that exists is the wanted rule (all of it is key or was deleted just before); so is an old value
    that went while we looked, before its successor is created."""
    if request.type == _DELETES[kind]:
        return answer.errno in GONE
    return kind is Kind.RULE and answer.errno == errno.EEXIST


def _each(rows: Mapping[Key, Any], act: Callable[[str], None]) -> Failures:
    failures: Failures = {}
    for key in rows:
        try:
            act(str(key[0]))
        except PodloomError as e:
            failures[key] = e
    return failures
