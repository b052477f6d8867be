"""veth rows: the one kind of row that lives in two namespaces.

The problem: a pair is named at its near end, but its far end can be renamed, taken down or given another MAC
in a namespace that is not ours to trust. So reading a wanted pair looks at both ends and checks that they are
each other's peer; what does not fit shows up as a differing value, and a pair whose ends do not belong
together is made anew. The far end is created directly in its namespace, then brought up there (one batch per
namespace).
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Mapping

from podloom.drivers.kernel.errors import GONE, kernel_error
from podloom.drivers.kernel.interfaces import Interfaces
from podloom.drivers.kernel.rtnl import Request
from podloom.model.errors import PodloomError, Stale
from podloom.model.rows import Key, Tag, Veth
from podloom.render import netlink as nl

Failures = dict[Key, PodloomError]
Tables = Callable[[str], Interfaces]


def read_veths(tag: Tag, netns: str, wanted: Mapping[Key, Veth], whole: bool, tables: Tables) -> dict[Key, Veth]:
    """Near ends in `netns`: the wanted ones, and with `whole` all whose name carries our prefix."""
    table = tables(netns)
    found: dict[Key, Veth] = {}
    if whole:
        for link in table.all():
            if tag.owns_link(link.name):
                found[(netns, link.name)] = Veth("", "", link.mtu, link.mac, "", link.group, link.up)
    for key, want in wanted.items():
        near = table.get(str(key[1]))
        if near is not None:
            found[key] = _as_it_is(near, want, tables)
    return found


def _as_it_is(link: nl.Link, want: Veth, tables: Tables) -> Veth:
    """The pair's value; MACs that may be any read as "", so that equal means nothing to do."""
    peer = _peer(want, tables)
    mine = want.mac and link.mac
    if link.kind != "veth" or peer is None or (peer.index, peer.peer_index) != (link.peer_index, link.index):
        return Veth("", "", link.mtu, mine, "", link.group, link.up)
    return Veth(
        peer_netns=want.peer_netns,
        peer_name=want.peer_name,
        mtu=link.mtu if link.mtu != want.mtu else peer.mtu,
        mac=mine,
        peer_mac=want.peer_mac and peer.mac,
        group=link.group,
        up=link.up and peer.up,
    )


def _peer(want: Veth, tables: Tables) -> nl.Link | None:
    try:
        return tables(want.peer_netns).get(want.peer_name)
    except Stale:
        return None


def write_veths(
    tag: Tag,
    netns: str,
    upserts: Mapping[Key, Veth],
    old: Mapping[Key, Veth],
    tables: Tables,
    *,
    open_netns: Callable[[str], int | str],
) -> Failures:
    """Create missing pairs, mend differing ones, replace pairs whose ends do not belong together.

    In a namespace of ours a far end without its near end is a leftover (the kernel clears a deleted namespace some
    time later) and makes way."""
    broken = {key: value for key, value in old.items() if not value.peer_name}
    failures = delete_veths(netns, broken, tables) if broken else {}
    create = {k: v for k, v in upserts.items() if (k not in old or k in broken) and k not in failures}
    mend = {k: v for k, v in upserts.items() if k in old and k not in broken}
    failures |= _clear_far_ends(tag, create, tables)
    create = {key: value for key, value in create.items() if key not in failures}
    failures |= _create(netns, create, tables, open_netns)
    made = {key: value for key, value in (create | mend).items() if key not in failures}
    near = {key: value for key, value in mend.items() if _near_differs(value, old[key])}
    failures |= _configure_near(netns, near, tables)
    for key, value in made.items():
        for table, name in ((tables(netns), str(key[1])), (tables(value.peer_netns), value.peer_name)):
            table.forget_name(name)
            if key in create:
                table.fresh.add(name)
    return failures | _configure_peers(made, tables)


def _clear_far_ends(tag: Tag, rows: Mapping[Key, Veth], tables: Tables) -> Failures:
    failures: Failures = {}
    for key, value in rows.items():
        if not tag.owns_netns(value.peer_netns):
            continue
        try:
            table = tables(value.peer_netns)
            if table.get(value.peer_name) is not None:
                far = (value.peer_netns, value.peer_name)
                for error in delete_veths(value.peer_netns, {far: value}, tables).values():
                    failures[key] = error
        except PodloomError as e:
            failures[key] = e
    return failures


def _near_differs(want: Veth, found: Veth) -> bool:
    return (want.mtu, want.mac, want.group, want.up) != (found.mtu, found.mac, found.group, found.up)


def _create(netns: str, rows: Mapping[Key, Veth], tables: Tables, open_netns: Callable[[str], int | str]) -> Failures:
    failures: Failures = {}
    requests: list[tuple[Key, Request]] = []
    for key, value in rows.items():
        try:
            fd = open_netns(value.peer_netns) if value.peer_netns != netns else ""
            if fd == "" and value.peer_netns != netns:
                fd = open_netns("/proc/thread-self/ns/net")
        except PodloomError as e:
            failures[key] = e
            continue
        body = nl.pack_veth(
            str(key[1]),
            value.peer_name,
            mtu=value.mtu,
            mac=value.mac,
            peer_mac=value.peer_mac,
            group=value.group,
            queues=value.queues,
            peer_netns_fd=fd if isinstance(fd, int) else -1,
        )
        requests.append((key, Request(nl.RTM_NEWLINK, nl.NLM_F_CREATE | nl.NLM_F_EXCL, body)))
    return failures | _send(netns, requests, tables, "create")


def _configure_near(netns: str, rows: Mapping[Key, Veth], tables: Tables) -> Failures:
    requests = []
    for key, value in rows.items():
        index = tables(netns).index(str(key[1]))
        body = nl.pack_set_link(index, up=True, mtu=value.mtu, mac=value.mac, group=value.group)
        requests.append((key, Request(nl.RTM_NEWLINK, 0, body)))
    return _send(netns, requests, tables, "set")


def _configure_peers(rows: Mapping[Key, Veth], tables: Tables) -> Failures:
    """Bring far ends up (a new pair's cannot be made up), with their MTU and MAC."""
    by_netns: dict[str, list[tuple[Key, Request]]] = defaultdict(list)
    for key, value in rows.items():
        body = nl.pack_set_link(0, up=True, mtu=value.mtu, mac=value.peer_mac, name=value.peer_name)
        by_netns[value.peer_netns].append((key, Request(nl.RTM_NEWLINK, 0, body)))
    failures: Failures = {}
    for netns, requests in by_netns.items():
        failures |= _send(netns, requests, tables, "set the peer of")
    return failures


def delete_veths(netns: str, rows: Mapping[Key, Veth], tables: Tables) -> Failures:
    """Delete pairs by their near ends, several at once; gone is success."""
    table = tables(netns)
    present = [(key, link.index) for key in rows if (link := table.get(str(key[1])))]
    answers = table.rtnl.delete_links([index for _, index in present])
    failures: Failures = {}
    for (key, _), answer in zip(present, answers, strict=True):
        table.forget_name(str(key[1]))
        if answer.errno and answer.errno not in GONE:
            failures[key] = kernel_error(answer.errno, f"delete link {key[1]} in namespace {netns!r}", answer.words)
    return failures


def _send(netns: str, requests: list[tuple[Key, Request]], tables: Tables, what: str) -> Failures:
    failures: Failures = {}
    answers = tables(netns).rtnl.batch([request for _, request in requests]) if requests else []
    for (key, _), answer in zip(requests, answers, strict=True):
        if answer.errno:
            words = answer.words
            if answer.errno == errno.EEXIST:
                words = words or "an interface of that name is at one of the ends"
            attempted = f"{what} link {key[1]} of namespace {key[0]!r} (in {netns!r})"
            failures[key] = kernel_error(answer.errno, attempted, words)
    return failures
