"""log, exec, attach, port-forward and proxy: requests that a kubelet, pod or service answers.

The problem: kubectl talks only to the API server, the streams come from the node. The request is forwarded to the
node's kubelet over TLS with our client certificate, opened inside a network namespace when one is given (the lab's
nodes are not reachable from here otherwise). Upgraded connections (websocket, SPDY) are a raw byte tunnel: the
kubelet speaks the protocols (Kubernetes "Communication between Nodes and the Control Plane").
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict

from podloom.kube.api import errors
from podloom.kube.api.contract import Object
from podloom.kube.api.core import Api
from podloom.kube.api.registry import Served
from podloom.kube.api.requestinfo import RequestInfo
from podloom.kube.api.tunnel import hijack, pump

log = structlog.get_logger()

CONNECT = ("log", "exec", "attach", "portforward", "proxy")
_HOP = (
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "content-length",
    "content-encoding",
    "authorization",
    "host",
)
_KUBELET_PORT = 10250
_CONNECT_S = 10.0


@dataclass(frozen=True)
class Target:
    """Where to forward: an address, a path with query, TLS or not."""

    host: str
    port: int
    path: str
    tls: bool = True


class KubeletProxy:
    """Forwards to kubelets, pods and services."""

    def __init__(
        self, *, netns: str = "", ca: Path | None = None, cert: Path | None = None, key: Path | None = None
    ) -> None:
        self._netns = netns
        self._ca, self._cert, self._key = ca, cert, key
        self._session: ClientSession | None = None
        self._ssl: ssl.SSLContext | None = None

    def _tls(self) -> ssl.SSLContext:
        """TLS towards kubelets: their serving certificate is checked against the CA, names are not (node IPs)."""
        if self._ssl is None:
            context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
            context.check_hostname = False
            if self._ca is None:
                context.verify_mode = ssl.CERT_NONE
            if self._cert and self._key:
                context.load_cert_chain(self._cert, self._key)
            self._ssl = context
        return self._ssl

    def _socket(self, family: int, kind: int, proto: int) -> socket.socket:
        if not self._netns:
            return socket.socket(family, kind, proto)
        from podloom.drivers.kernel.netns import socket_in_netns

        return socket_in_netns(self._netns, socket.AddressFamily(family), socket.SocketKind(kind), proto)

    def _client(self) -> ClientSession:
        if self._session is None:
            connector = TCPConnector(
                ssl=self._tls(),
                socket_factory=lambda addr: self._socket(addr[0], addr[1], addr[2]),
                limit=0,
                keepalive_timeout=15,
            )
            timeout = ClientTimeout(total=None, sock_connect=_CONNECT_S)
            self._session = ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def handle(self, api: Api, http: web.BaseRequest, info: RequestInfo, served: Served) -> web.StreamResponse:
        """Forward one request; raises StatusErrors when there is nowhere to forward to."""
        target = find_target(api, http, info, served)
        if target is None:
            empty = web.Response(status=204)
            empty.headers.popall("Content-Type", None)
            return empty
        if "upgrade" in http.headers.get("Connection", "").lower():
            return await self._tunnel(http, target)
        return await self._forward(http, target)

    async def _forward(self, http: web.BaseRequest, target: Target) -> web.StreamResponse:
        scheme = "https" if target.tls else "http"
        host = f"[{target.host}]" if ":" in target.host else target.host
        from yarl import URL

        url = URL(f"{scheme}://{host}:{target.port}{target.path}", encoded=True)
        headers = CIMultiDict((k, v) for k, v in http.headers.items() if k.lower() not in _HOP)
        body = http.content if http.can_read_body else None
        try:
            upstream = await self._client().request(http.method, url, headers=headers, data=body, allow_redirects=False)
        except (ClientError, OSError, TimeoutError) as exc:
            raise errors.unavailable(f"error trying to reach service: {exc}") from exc
        async with upstream:
            kept = CIMultiDict((k, v) for k, v in upstream.headers.items() if k.lower() not in _HOP)
            response = web.StreamResponse(status=upstream.status, headers=kept)
            await response.prepare(http)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response

    async def _tunnel(self, http: web.BaseRequest, target: Target) -> web.StreamResponse:
        reader, writer = await self._open(target)
        head = [f"{http.method} {target.path} HTTP/1.1", f"Host: {target.host}:{target.port}"]
        upgrade = http.headers.get("X-Podloom-Upgrade", "")
        for key, value in http.headers.items():
            if key.lower() in ("host", "authorization", "x-podloom-upgrade"):
                continue
            shown = upgrade if upgrade and key.lower() == "upgrade" else value
            head.append(f"{key}: {shown}")
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        client = hijack(http)
        await pump(client, reader, writer)
        return client.response

    async def _open(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        sock = self._socket(family, socket.SOCK_STREAM, 0)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await loop.sock_connect(sock, (target.host, target.port))
                context = self._tls() if target.tls else None
                name = target.host if target.tls else None
                return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        except (OSError, TimeoutError) as exc:
            sock.close()
            raise errors.unavailable(f"error dialing backend: {exc}") from exc


def find_target(api: Api, http: web.BaseRequest, info: RequestInfo, served: Served) -> Target | None:
    """Where a connect request goes; None for the log of a pod that is on no node."""
    record = api.state.table(served.storage_key).get(info.namespace if served.type.namespaced else "", _name(info)[1])
    if record is None:
        raise errors.not_found(served.type, _name(info)[1])
    query = http.rel_url.raw_query_string
    tail = f"?{query}" if query else ""
    if served.type.plural == "nodes":
        host, port = node_address(record.obj)
        return Target(host, port, (quote(info.rest) or "/") + tail)
    if served.type.plural == "services":
        return _service_target(api, record.obj, info, tail)
    if info.subresource == "proxy":
        return _pod_proxy_target(record.obj, info, tail)
    return _pod_target(api, record.obj, http.rel_url.query, info)


def _name(info: RequestInfo) -> tuple[str, str, str]:
    """scheme, name, port of a proxy name such as https:web:8443; plain names otherwise."""
    parts = info.name.split(":")
    if info.subresource != "proxy" or len(parts) == 1:
        return "", info.name, ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    return parts[0], parts[1], parts[2]


def node_address(node: Object) -> tuple[str, int]:
    """Address and port of a node's kubelet."""
    status = node.get("status") or {}
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    host = addresses.get("InternalIP") or addresses.get("ExternalIP") or addresses.get("Hostname")
    if not host:
        raise errors.unavailable(f"no preferred addresses found; known addresses: {list(addresses)}")
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or _KUBELET_PORT
    return host, port


def _container(pod: Object, query: Mapping[str, str]) -> str:
    spec = pod["spec"]
    names = [c["name"] for c in spec.get("containers") or []]
    others = [c["name"] for key in ("initContainers", "ephemeralContainers") for c in spec.get(key) or []]
    wanted = query.get("container", "")
    pod_name = pod["metadata"]["name"]
    if wanted:
        if wanted not in names + others:
            raise errors.bad_request(f"container {wanted} is not valid for pod {pod_name}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    if default in names:
        return str(default)
    listed = " ".join(names)
    message = f"a container name must be specified for pod {pod_name}, choose one of: [{listed}]"
    init = [c["name"] for c in spec.get("initContainers") or []]
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise errors.bad_request(message)


def _pod_target(api: Api, pod: Object, query: Any, info: RequestInfo) -> Target | None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    node_name = pod["spec"].get("nodeName", "")
    container = _container(pod, query) if info.subresource != "portforward" else ""
    if not node_name:
        if info.subresource == "log":
            return None
        raise errors.bad_request(f"pod {name} does not have a host assigned")
    node = api.state.table("/nodes").get("", node_name)
    if node is None:
        raise errors.internal(f'nodes "{node_name}" not found')
    host, port = node_address(node.obj)
    pairs = [(k, v) for k, v in query.items() if k != "container"]
    if info.subresource == "log":
        path = f"/containerLogs/{namespace}/{name}/{container}"
    elif info.subresource == "portforward":
        path = f"/portForward/{namespace}/{name}"
    else:
        path = f"/{info.subresource}/{namespace}/{name}/{container}"
        names = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
        pairs = [
            (names.get(k, k), "1" if k in names and v.lower() in ("true", "1") else v)
            for k, v in pairs
            if not (k in names and v.lower() in ("false", "0", ""))
        ]
    return Target(host, port, path + (f"?{urlencode(pairs)}" if pairs else ""))


def _pod_proxy_target(pod: Object, info: RequestInfo, tail: str) -> Target:
    scheme, name, port = _name(info)
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise errors.unavailable(f"address not allowed or pod {name} has no address yet")
    number = int(port) if port.isdigit() else _named_port(pod, port)
    return Target(address, number, (quote(info.rest) or "/") + tail, scheme == "https")


def _named_port(pod: Object, name: str) -> int:
    ports = [p for c in pod["spec"].get("containers") or [] for p in c.get("ports") or []]
    for port in ports:
        if not name or port.get("name") == name:
            return int(port["containerPort"])
    return 80


def _service_target(api: Api, service: Object, info: RequestInfo, tail: str) -> Target:
    scheme, name, port = _name(info)
    wanted = [p for p in service["spec"].get("ports") or [] if port in ("", p.get("name", ""), str(p["port"]))]
    if not wanted:
        raise errors.unavailable(f'no service port "{port}" found for service "{name}"')
    choices = []
    for record in api.state.table("discovery.k8s.io/endpointslices").records(info.namespace):
        if (record.obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
            continue
        numbers = [p["port"] for p in record.obj.get("ports") or [] if p.get("name", "") == wanted[0].get("name", "")]
        for endpoint in record.obj.get("endpoints") or []:
            if numbers and (endpoint.get("conditions") or {}).get("ready", True):
                choices.append((endpoint["addresses"][0], numbers[0]))
    if not choices:
        raise errors.unavailable(f'no endpoints available for service "{name}"')
    host, number = random.choice(choices)
    return Target(host, number, (quote(info.rest) or "/") + tail, scheme == "https")
