"""The DNS server: datagrams and connections in, answers out; health and readiness over HTTP."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import structlog

from podloom.kube.dns.forward import Upstream
from podloom.kube.dns.wire import failure, parse, refusal, render, to_bytes
from podloom.model.errors import PodloomError
from podloom.plan.kube.dns import Answer, Source, answer

_TCP_IDLE_S = 10.0
_TCP_MOST = 200
log = structlog.get_logger()


class Responder:
    """Answers raw queries for `domain` from `source`, the rest from `upstream`."""

    def __init__(self, domain: str, source: Source, upstream: Upstream) -> None:
        self.domain, self.source, self.upstream = domain.lower().strip("."), source, upstream

    async def respond(self, data: bytes, *, udp: bool) -> bytes | None:
        """The answer's bytes, or None when there is nothing to answer."""
        query = parse(data)
        if query is None:
            return None
        rcode = refusal(query)
        if rcode is not None:
            return to_bytes(query, failure(query, rcode), udp=udp)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        found = answer(name, dns.rdatatype.to_text(question.rdtype), self.domain, self.source)
        try:
            if not found.ours:
                return await self.upstream.ask(data, udp=udp)
            extra = await self._chase(found, question.rdtype, udp=udp) if found.chase else []
        except PodloomError as e:
            log.debug("dns.upstream", name=name, error=e.message)
            return to_bytes(query, failure(query, dns.rcode.SERVFAIL), udp=udp)
        return to_bytes(query, render(query, found, self.domain, extra=extra), udp=udp)

    async def _chase(self, found: Answer, kind: dns.rdatatype.RdataType, *, udp: bool) -> list[dns.rrset.RRset]:
        """The records an ExternalName's target has, inside the cluster or outside."""
        inside = answer(found.chase, dns.rdatatype.to_text(kind), self.domain, self.source)
        query = dns.message.make_query(found.chase, kind)
        if inside.ours:
            return list(render(query, inside, self.domain, extra=[]).answer)
        response = dns.message.from_wire(await self.upstream.ask(query.to_wire(), udp=udp))
        return list(response.answer)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder, tasks: set[asyncio.Task[None]]) -> None:
        self._responder, self._tasks = responder, tasks
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: the event loops' UDP transports are no subclasses of DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, addr: object) -> None:
        try:
            response = await self._responder.respond(data, udp=True)
        except Exception:  # one bad question must not stop the server
            log.exception("dns.bug", query=data.hex()[:200])
            return
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)  # type: ignore[arg-type]


class DnsServer:
    """UDP and TCP on one address and port."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 picks one (the same for both)."""
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, host, port, backlog=128)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self.responder, self._tasks), local_addr=(host, self.port)
        )

    async def stop(self) -> None:
        """Close the sockets and drop what is under way."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection until it is silent for a while (RFC 7766)."""
        self._connections += 1
        try:
            while self._connections <= _TCP_MOST:
                async with asyncio.timeout(_TCP_IDLE_S):
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(size)
                response = await self.responder.respond(data, udp=False)
                if response is None:
                    break
                writer.write(struct.pack("!H", len(response)) + response)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except Exception:  # one bad question must not stop the server
            log.exception("dns.bug")
        finally:
            self._connections -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def serve_health(host: str, port: int, path: str, healthy: Callable[[], bool]) -> asyncio.Server:
    """Answer GET `path` with 200 while `healthy()`, else 503; everything else with 404."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5.0):
                head = await reader.readuntil(b"\r\n\r\n")
            asked = head.split(b" ", 2)[1].split(b"?")[0].decode(errors="replace")
            line = "404 Not Found" if asked != path else "200 OK" if healthy() else "503 Service Unavailable"
            body = line.split(" ", 1)[1]
            answered = f"HTTP/1.1 {line}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
            writer.write(answered.encode())
            await writer.drain()
        except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, host, port)
