"""Requests that a kubelet answers: forwarded, and tunnelled when upgraded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from kube_api_client import Client

NS = "/api/v1/namespaces/default"


class Kubelet:
    """A stand-in that speaks HTTP and websocket, and answers an SPDY upgrade with an echo of bytes."""

    def __init__(self, client: Client) -> None:
        pair = client.authority.issue("kubelet-server", "node", hosts=["127.0.0.1"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair.cert, pair.key)
        self.context.load_verify_locations(client.authority.cert_path)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.seen: list[str] = []

    async def http(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request.path_qs)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
            await socket.prepare(request)
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    await socket.send_bytes(b"\x01" + message.data[1:].upper())
                    await socket.close()
            return socket
        return web.Response(text=f"log of {request.path}")

    async def raw(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen.append(head)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
        while data := await reader.read(1024):
            writer.write(data[::-1])
            await writer.drain()
        writer.close()


@pytest.fixture
async def kubelet(api: Client) -> AsyncIterator[Kubelet]:
    """A kubelet on which pod p runs."""
    found = Kubelet(api)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(web.Server(found.http), "127.0.0.1", 0, ssl=found.context)
    await _node(api, server.sockets[0].getsockname()[1])
    yield found
    server.close()


async def _node(api: Client, port: int) -> None:
    await api.post("/api/v1/nodes", {"metadata": {"name": "n"}})
    status: dict[str, Any] = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await api.merge("/api/v1/nodes/n/status", {"status": status})
    await api.post(f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})
    for name, containers in (("p", ["c"]), ("two", ["c", "d"])):
        spec = {"nodeName": "n", "containers": [{"name": c, "image": "i:1"} for c in containers]}
        assert (await api.post(f"{NS}/pods", {"metadata": {"name": name}, "spec": spec}))[0] == 201


async def test_log(api: Client, kubelet: Kubelet) -> None:
    """A log request reaches the node's kubelet with its options; the container is chosen or asked for."""
    assert await api.get(f"{NS}/pods/p/log?tailLines=3&follow=true") == (200, "log of /containerLogs/default/p/c")
    assert kubelet.seen == ["/containerLogs/default/p/c?tailLines=3&follow=true"]
    status, body = await api.get(f"{NS}/pods/two/log")
    assert (status, body["reason"]) == (400, "BadRequest")
    assert (await api.get(f"{NS}/pods/two/log?container=d"))[1] == "log of /containerLogs/default/two/d"
    assert (await api.get(f"{NS}/pods/none/log"))[0] == 404


async def test_exec_by_websocket(api: Client, kubelet: Kubelet) -> None:
    """A websocket exec is a tunnel to the kubelet, subprotocol included."""
    url = f"{api.url}{NS}/pods/p/exec?command=ls&command=-l&stdin=true&stdout=true&tty=false"
    async with api.session.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket:
        assert socket.protocol == "v5.channel.k8s.io"
        await socket.send_bytes(b"\x00hello")
        assert (await socket.receive()).data == b"\x01HELLO"
    assert kubelet.seen == ["/exec/default/p/c?command=ls&command=-l&input=1&output=1"]


async def test_exec_by_spdy(api: Client, authority: Any) -> None:
    """An SPDY upgrade (kubectl before 1.31) is copied byte by byte both ways."""
    found = Kubelet(api)
    server = await asyncio.start_server(found.raw, "127.0.0.1", 0, ssl=found.context)
    await _node(api, server.sockets[0].getsockname()[1])
    admin = ssl.create_default_context(cafile=str(authority.cert_path))
    pair = authority.issue("admin", "admin", groups=["system:masters"])
    admin.load_cert_chain(pair.cert, pair.key)
    port = api.server.ports[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=admin, server_hostname="127.0.0.1")
    path = f"{NS}/pods/p/exec?command=ls&stdout=true"
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        writer.write(b"abc")
        assert await reader.readexactly(3) == b"cba"
        writer.write(b"\x80\x03\x00")
        assert await reader.readexactly(3) == b"\x00\x03\x80"
    writer.close()
    server.close()
    assert "POST /exec/default/p/c?command=ls&output=1 HTTP/1.1" in found.seen[0]
    assert "Upgrade: SPDY/3.1" in found.seen[0]
    assert "Authorization" not in found.seen[0]


async def test_unreachable_kubelet(api: Client) -> None:
    """A kubelet that does not answer is 503, not a hang or a crash."""
    await _node(api, 1)
    status, body = await api.get(f"{NS}/pods/p/log")
    assert (status, body["reason"]) == (503, "ServiceUnavailable")


async def test_node_proxy(api: Client, kubelet: Kubelet) -> None:
    """nodes/proxy passes path and query on."""
    assert await api.get("/api/v1/nodes/n/proxy/stats/summary?x=1") == (200, "log of /stats/summary")
    assert kubelet.seen == ["/stats/summary?x=1"]
