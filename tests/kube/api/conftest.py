"""A running API server in this process."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kube_api_client import Client, context, options

from podloom.drivers.pki import Authority
from podloom.kube.api.run import ApiServer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "pki", "test-ca")


@pytest.fixture
async def api(tmp_path: Path, authority: Authority) -> AsyncIterator[Client]:
    """A client of a fresh server."""
    pair = authority.issue("kubelet", "node")
    server = ApiServer(
        options(
            tmp_path,
            authority,
            kubelet_ca=authority.cert_path,
            kubelet_client_cert=pair.cert,
            kubelet_client_key=pair.key,
        )
    )
    await server.start()
    connector = aiohttp.TCPConnector(ssl=context(authority, "admin", "admin", ["system:masters"]))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(f"https://127.0.0.1:{server.ports[0]}", session, authority, server)
    await server.stop()
