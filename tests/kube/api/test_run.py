"""Starting, listening and keeping house."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kube_api_client import Client, options

from podloom.drivers.pki import Authority
from podloom.kube.api.expiry import expire_events
from podloom.kube.api.run import ApiServer, Listen

NS = "/api/v1/namespaces/default"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:6443", Listen("127.0.0.1", 6443)),
        ("[::1]:6443", Listen("::1", 6443)),
        ("netns=inet,198.51.100.1:443", Listen("198.51.100.1", 443, "inet")),
    ],
)
def test_listen(text: str, expected: Listen) -> None:
    """An address, with the network namespace it is in."""
    assert Listen.parse(text) == expected


async def test_events_expire(api: Client) -> None:
    """Events go an hour after they were last seen, not before."""
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "R",
        "lastTimestamp": "2020-01-01T00:00:00Z",
    }
    await api.post(f"{NS}/events", event)
    now = datetime.now(UTC)
    assert await expire_events(api.server.state, now + timedelta(minutes=59)) == 0
    assert await expire_events(api.server.state, now + timedelta(minutes=61)) == 1
    assert (await api.get(f"{NS}/events/e"))[0] == 404


async def test_kubernetes_service_points_here(tmp_path: Path, authority: Authority) -> None:
    """The kubernetes service's endpoints are where the server was told it is reached, also after a move."""
    for address in ("198.51.100.7", "198.51.100.8"):
        server = ApiServer(options(tmp_path, authority, advertise=(address, 443)))
        await server.start()
        slices = server.state.table("discovery.k8s.io/endpointslices").records("default")
        endpoints = server.state.table("/endpoints").get("default", "kubernetes")
        await server.stop()
        assert [s.obj["endpoints"][0]["addresses"] for s in slices] == [[address]]
        assert endpoints is not None
        assert endpoints.obj["subsets"][0]["addresses"] == [{"ip": address}]


@pytest.mark.root
async def test_listens_inside_a_network_namespace(tmp_path: Path, authority: Authority) -> None:
    """A listener in a namespace answers there, and only there."""
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    from podloom.drivers.kernel.netns import create_netns, delete_netns, socket_in_netns

    name = f"t{os.getpid()}api"
    create_netns(name)
    try:
        server = ApiServer(options(tmp_path, authority))
        server.options = options(tmp_path, authority)
        object.__setattr__(server.options, "listen", [Listen("127.0.0.1", 0, name)])
        await server.start()
        sock = socket_in_netns(name)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", server.ports[0]))
        tls = ssl.create_default_context(cafile=str(authority.cert_path))
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname="127.0.0.1")
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.ports[0])
        await server.stop()
    finally:
        delete_netns(name)


def test_process_ends_on_sigterm(tmp_path: Path) -> None:
    """The process serves, and ends soon and cleanly when told."""
    command = [sys.executable, "-m", "podloom.kube.api", "--data", str(tmp_path), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "serving" in line:
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    process.stderr.close()
