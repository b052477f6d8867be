"""kill -9 of the server in the middle of writes: what it acknowledged is there, and revisions go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
from kube_api_client import context

from podloom.drivers.pki import Authority, signing_key

CMS = "/api/v1/namespaces/default/configmaps"
ROUNDS = 3


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _start(folder: Path, authority: Authority, port: int) -> subprocess.Popen[bytes]:
    pair = authority.issue("server", "kube-apiserver", hosts=["127.0.0.1"])
    flags = {
        "--data": folder / "data",
        "--listen": f"127.0.0.1:{port}",
        "--tls-cert": pair.cert,
        "--tls-key": pair.key,
        "--client-ca": authority.cert_path,
        "--service-account-key": signing_key(folder / "sa.key"),
    }
    arguments = [str(part) for flag in flags.items() for part in flag]
    return subprocess.Popen([sys.executable, "-m", "podloom.kube.api", *arguments], stderr=subprocess.DEVNULL)


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)


async def _write(session: aiohttp.ClientSession, url: str, prefix: str, acknowledged: dict[str, int]) -> None:
    """Create objects one after another until the server is gone."""
    with contextlib.suppress(aiohttp.ClientError):
        for n in range(10_000):
            name = f"{prefix}-{n}"
            async with session.post(url + CMS, json={"metadata": {"name": name}, "data": {"n": str(n)}}) as answer:
                body = await answer.json()
                assert answer.status == 201, body
                acknowledged[name] = int(body["metadata"]["resourceVersion"])


async def test_acknowledged_writes_survive(tmp_path: Path, authority: Authority) -> None:
    """After several kills under load every acknowledged object is there, at its revision."""
    port = _free_port()
    url = f"https://127.0.0.1:{port}"
    acknowledged: dict[str, int] = {}
    connector = aiohttp.TCPConnector(ssl=context(authority, "admin", "admin", ["system:masters"]), force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        for turn in range(ROUNDS):
            process = _start(tmp_path, authority, port)
            await _ready(session, url)
            before = len(acknowledged)
            writers = [asyncio.create_task(_write(session, url, f"t{turn}w{w}", acknowledged)) for w in range(4)]
            async with asyncio.timeout(20):
                while len(acknowledged) < before + 40:
                    await asyncio.sleep(0.01)
            process.kill()
            process.wait()
            await asyncio.gather(*writers)
        process = _start(tmp_path, authority, port)
        try:
            await _ready(session, url)
            async with session.get(url + CMS) as answer:
                listed = await answer.json()
        finally:
            process.kill()
            process.wait()
    found = {i["metadata"]["name"]: int(i["metadata"]["resourceVersion"]) for i in listed["items"]}
    assert acknowledged.items() <= found.items()
    assert len(set(found.values())) == len(found)
    assert int(listed["metadata"]["resourceVersion"]) >= max(found.values())
