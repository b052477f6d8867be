"""A whole API server from its settings: parts put together, sockets opened, stopped in order.

The problem: the server must be up within a second, survive any end, and stop without losing what it acknowledged.
Start: store, types, bootstrap objects, then the listeners. Stop: no new connections, watches ended, requests
finished, store committed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from podloom.kube.api.auth.authn import Tokens
from podloom.kube.api.auth.jwt import TokenKey
from podloom.kube.api.auth.powers import ServerPowers
from podloom.kube.api.auth.rbac import Rbac, check_escalation
from podloom.kube.api.bootstrap import Aggregation, advertise, ensure
from podloom.kube.api.contract import Settings
from podloom.kube.api.core import Api, HeadReader
from podloom.kube.api.crds import Definitions
from podloom.kube.api.expiry import expire_events
from podloom.kube.api.kinds import TYPES, bootstrap_objects, kind_for
from podloom.kube.api.proxy import KubeletProxy
from podloom.kube.api.registry import Registry, Served
from podloom.kube.api.schema import Schemas
from podloom.kube.api.server import Server
from podloom.kube.api.state import State
from podloom.kube.api.store import Store
from podloom.kube.api.tunnel import Protocol

log = structlog.get_logger()

_COMPACT_EVERY_S = 10.0
_STOP_S = 3.0


@dataclass(frozen=True)
class Listen:
    """An address to listen on, in a network namespace if one is named."""

    host: str
    port: int
    netns: str = ""

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`HOST:PORT` or `netns=NAME,HOST:PORT`."""
        netns = ""
        if text.startswith("netns="):
            netns, _, text = text.removeprefix("netns=").partition(",")
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port), netns)


@dataclass(frozen=True)
class Options:
    """What a server is started with."""

    data: Path
    listen: Sequence[Listen]
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    service_account_key: Path | None = None
    node_netns: str = ""
    kubelet_ca: Path | None = None
    kubelet_client_cert: Path | None = None
    kubelet_client_key: Path | None = None
    advertise: tuple[str, int] | None = None
    settings: Settings = field(default_factory=Settings)


class _WebServer(web.Server):
    """The framework's server with our protocol (SPDY upgrades)."""

    def __call__(self) -> RequestHandler:
        return Protocol(self, loop=self._loop, **self._kwargs)


def tls_context(options: Options) -> ssl.SSLContext | None:
    """TLS with optional client certificates; None without a certificate (tests)."""
    if options.tls_cert is None or options.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    if options.client_ca is not None:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def open_socket(listen: Listen) -> socket.socket:
    """A listening socket, made inside the named network namespace."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    if listen.netns:
        from podloom.drivers.kernel.netns import socket_in_netns

        sock = socket_in_netns(listen.netns, family, socket.SOCK_STREAM)
    else:
        sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((listen.host, listen.port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


class ApiServer:
    """Start, serve, stop. `ports` are the bound ports in the order of Options.listen."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ports: list[int] = []
        self._listeners: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._web: _WebServer | None = None

    async def start(self) -> None:
        """Everything up; returns when requests are answered."""
        options = self.options
        self.state = State(Store(options.data / "store.db"), on_fatal=_die)
        self.state.open()
        self.api = self._assemble()
        self.definitions = Definitions(self.api, self._end_watches)
        self.definitions.load()
        await ensure(self.api, bootstrap_objects(options.settings))
        aggregation = Aggregation(self.api)
        await aggregation.once()
        if options.advertise is not None:
            await advertise(self.api, *options.advertise)
        first = options.listen[0] if options.listen else Listen("127.0.0.1", 0)
        proxy = KubeletProxy(
            netns=options.node_netns,
            ca=options.kubelet_ca,
            cert=options.kubelet_client_cert,
            key=options.kubelet_client_key,
        )
        self._proxy = proxy
        self.server = Server(self.api, self.powers, proxy, address=f"{first.host}:{first.port}")
        for run in (self.definitions.run, aggregation.run, self._compact):
            self._tasks.append(asyncio.create_task(run()))
        await self._open_listeners()

    def _assemble(self) -> Api:
        options = self.options
        registry = Registry()
        registry.add_builtin(Served(t, kind_for(t)) for t in TYPES)
        schemas = Schemas()
        registry.replace_kind("apiextensions.k8s.io", "customresourcedefinitions", schemas.crd_kind())
        schemas.set_types([s.type for s in registry.all()])
        key = TokenKey.load(options.service_account_key) if options.service_account_key else TokenKey.generate()
        reader = HeadReader(self.state)
        rbac = Rbac(self.state)
        tokens = Tokens(key, options.settings.service_account_issuer, reader)
        self.powers = ServerPowers(key, tokens, rbac)
        api = Api(self.state, registry, schemas, options.settings, self.powers)
        api.guard = lambda type_, obj, ctx: check_escalation(rbac, type_, obj, ctx)
        return api

    async def _open_listeners(self) -> None:
        loop = asyncio.get_running_loop()
        self._web = _WebServer(self.server.handle, handler_cancellation=True, access_log=None, keepalive_timeout=120.0)
        context = tls_context(self.options)
        for listen in self.options.listen:
            sock = open_socket(listen)
            self.ports.append(sock.getsockname()[1])
            self._listeners.append(await loop.create_server(self._web, sock=sock, ssl=context))

    async def _compact(self) -> None:
        while True:
            await asyncio.sleep(_COMPACT_EVERY_S)
            self.state.compact()
            self.state.slim()
            await expire_events(self.state)

    def _end_watches(self, storage_key: str) -> None:
        self.server.end_watches(storage_key)

    async def stop(self) -> None:
        """End in order; what was acknowledged is in the store."""
        for listener in self._listeners:
            listener.close()
        if hasattr(self, "server"):
            self.server.stop()
            await self._proxy.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._web is not None:
            self._web.pre_shutdown()  # idle connections end at once
            await self._web.shutdown(_STOP_S)
        self.state.close()


def _die(error: BaseException) -> None:
    """A store that cannot commit leaves decided but lost writes in memory: start over from the file."""
    log.error("the store failed; ending", error=repr(error))
    os._exit(70)


async def serve(options: Options) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = ApiServer(options)
    try:
        await server.start()
        log.info("serving", ports=server.ports, data=str(options.data))
        await stopping.wait()
        log.info("stopping")
    finally:
        await server.stop()
