"""One rtnetlink socket in one namespace: batches with acknowledgements, dumps, single reads.

The problem: a request per system call, each waiting for its answer, is most of the time of an interface's
set-up. Several messages go into one sendmsg; the kernel works them off in order, independent of each other's
failure, and acknowledges each by its sequence number. The socket keeps its namespace alive: close it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from podloom.drivers.kernel.errors import kernel_error
from podloom.drivers.kernel.netns import socket_in_netns
from podloom.model.errors import Unavailable
from podloom.render import netlink as nl

_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_BATCH_MESSAGES = 128
_BUFFER = 1 << 16
_TIMEOUT_S = 10
_DUMP_TRIES = 5


class Request(NamedTuple):
    """One message to send; `flags` without REQUEST and ACK."""

    type: int
    flags: int
    body: bytes


class Answer(NamedTuple):
    """What the kernel said: errno 0 is success; words are its extended error, when it had any."""

    errno: int
    words: str


class Rtnl:
    """A NETLINK_ROUTE socket in `netns` (name, path, "" or fd). Not for several threads at once."""

    def __init__(self, netns: int | str = "") -> None:
        self._socket = socket_in_netns(netns, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._seq = 0
        option = self._socket.setsockopt
        option(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _TIMEOUT_S, 0))
        option(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for name in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            option(_SOL_NETLINK, name, 1)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batch(self, requests: Sequence[Request]) -> list[Answer]:
        """Send all, in order; one answer per request. Raises Unavailable when the kernel does not answer."""
        answers: list[Answer] = []
        for start in range(0, len(requests), _BATCH_MESSAGES):
            answers += self._batch(requests[start : start + _BATCH_MESSAGES])
        return answers

    def _batch(self, requests: Sequence[Request]) -> list[Answer]:
        first = self._seq + 1
        parts = []
        for request in requests:
            self._seq += 1
            body = nl.message(request.type, request.flags | nl.NLM_F_ACK, self._seq, request.body)
            parts.append(body + b"\0" * (-len(body) & 3))
        self._send(b"".join(parts))
        answers: dict[int, Answer] = {}
        while len(answers) < len(requests):
            for msg in nl.messages(self._receive()):
                if msg.type == nl.NLMSG_ERROR and first <= msg.seq <= self._seq:
                    answers[msg.seq] = Answer(*nl.unpack_error(msg))
        return [answers[first + i] for i in range(len(requests))]

    def dump(self, mtype: int, body: bytes) -> list[bytes]:
        """Bodies of a whole dump; repeated when the kernel says that it changed under the reader."""
        for _ in range(_DUMP_TRIES):
            found, interrupted = self._dump(mtype, body)
            if not interrupted:
                return found
        raise Unavailable(f"dump netlink type {mtype}", "the table keeps changing while it is read", "repeat later")

    def _dump(self, mtype: int, body: bytes) -> tuple[list[bytes], bool]:
        self._seq += 1
        self._send(nl.message(mtype, nl.NLM_F_DUMP, self._seq, body))
        found: list[bytes] = []
        interrupted = False
        while True:
            for msg in nl.messages(self._receive()):
                if msg.seq != self._seq:
                    continue
                interrupted = interrupted or bool(msg.flags & nl.NLM_F_DUMP_INTR)
                if msg.type in (nl.NLMSG_DONE, nl.NLMSG_ERROR):
                    code = -struct.unpack_from("=i", msg.body)[0] if len(msg.body) >= 4 else 0
                    if code and code not in (errno.ENOENT, errno.ENODEV):
                        raise kernel_error(code, f"dump netlink type {mtype}")
                    return found, interrupted
                found.append(msg.body)

    def get(self, mtype: int, body: bytes) -> bytes | None:
        """The one object that matches, or None when there is none."""
        self._seq += 1
        self._send(nl.message(mtype, 0, self._seq, body))
        while True:
            for msg in nl.messages(self._receive()):
                if msg.seq != self._seq:
                    continue
                if msg.type != nl.NLMSG_ERROR:
                    return msg.body
                code, words = nl.unpack_error(msg)
                if code in (errno.ENODEV, errno.ENOENT, errno.ESRCH):
                    return None
                raise kernel_error(code, f"read netlink type {mtype}", words)

    def link(self, name: str) -> nl.Link | None:
        """The interface of that name."""
        body = self.get(nl.RTM_GETLINK, nl.pack_link_name(name))
        return nl.unpack_link(body) if body else None

    def links(self) -> list[nl.Link]:
        return [nl.unpack_link(b) for b in self.dump(nl.RTM_GETLINK, nl.pack_dump(nl.RTM_GETLINK))]

    def addresses(self, index: int = 0) -> list[nl.Address]:
        """Addresses of both families, of one interface when its index is given."""
        body = nl.pack_dump(nl.RTM_GETADDR, index=index)
        return [nl.unpack_address(b) for b in self.dump(nl.RTM_GETADDR, body)]

    def routes(self, *, protocol: int = 0, index: int = 0) -> list[nl.Route]:
        """Routes of all tables and both families, filtered by the kernel; not the cached clones of IPv6."""
        body = nl.pack_dump(nl.RTM_GETROUTE, protocol=protocol, index=index)
        return [nl.unpack_route(b) for b in self.dump(nl.RTM_GETROUTE, body)]

    def neighbours(self, index: int = 0) -> list[nl.Neighbour]:
        body = nl.pack_dump(nl.RTM_GETNEIGH, index=index)
        return [nl.unpack_neighbour(b) for b in self.dump(nl.RTM_GETNEIGH, body)]

    def rules(self) -> list[nl.Rule]:
        body = nl.pack_dump(nl.RTM_GETRULE)
        return [nl.unpack_rule(b) for b in self.dump(nl.RTM_GETRULE, body)]

    def delete_group(self, group: int) -> Answer:
        """Delete every link of an interface group in this namespace at once."""
        return self.batch([Request(nl.RTM_DELLINK, 0, nl.pack_link_group(group))])[0]

    def delete_links(self, indexes: Iterable[int], scratch_group: int = 0x706F6421) -> list[Answer]:
        """Delete links; several are first gathered in one group, so the kernel pays its grace period once."""
        each = list(indexes)
        if len(each) <= 1:
            return self.batch([Request(nl.RTM_DELLINK, 0, nl.pack_link_index(i)) for i in each])
        grouped = self.batch([Request(nl.RTM_NEWLINK, 0, nl.pack_set_link(i, group=scratch_group)) for i in each])
        if any(not answer.errno for answer in grouped):
            outcome = self.delete_group(scratch_group)
            if outcome.errno and outcome.errno != errno.ENODEV:
                return [outcome] * len(each)
        return grouped

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as e:
            raise kernel_error(e.errno or errno.EIO, "send to rtnetlink") from e

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_BUFFER)
        except OSError as e:
            raise kernel_error(e.errno or errno.EIO, "receive from rtnetlink") from e
