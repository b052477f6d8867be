"""An API server for benches that need what an agent watches: its NodeNetworkConfig, services and their endpoints."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

from podloom.drivers.kube import KubeApi, KubeClient
from podloom.drivers.pki import Authority, kubeconfig, signing_key
from podloom.model.errors import PodloomError
from podloom.model.kube import CRDS, ENDPOINTSLICES, NNCS, SERVICES
from podloom.render.nnc import nnc_definition, render_nnc, render_status

PORT = 6443
RANGE, CIDR = (ip_network("192.168.1.0/24"),), (ip_network("192.168.0.0/16"),)


def start_api(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start one on 127.0.0.1:PORT; the process and an administrator's kubeconfig."""
    authority = Authority.open(folder / "pki", "bench")
    serving = authority.issue("apiserver", "kube-apiserver", hosts=["127.0.0.1"])
    admin = authority.issue("admin", "admin", groups=["system:masters"])
    config = folder / "kubeconfig"
    config.write_text(kubeconfig(f"https://127.0.0.1:{PORT}", authority.cert_path, admin, cluster="b", user="admin"))
    flags = {
        "--data": folder / "api",
        "--listen": f"127.0.0.1:{PORT}",
        "--client-ca": authority.cert_path,
        "--tls-cert": serving.cert,
        "--tls-key": serving.key,
        "--service-account-key": signing_key(folder / "pki" / "sa.key"),
    }
    command = [sys.executable, "-m", "podloom.kube.api", *(str(part) for pair in flags.items() for part in pair)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), config


async def fill(config: Path, node: str, services: int) -> None:
    """Give `node` its range, and the cluster `services` services of ten endpoints each."""
    async with KubeClient.from_kubeconfig(config) as client:
        await _until_served(client)
        made = await client.create(NNCS, render_nnc(node, RANGE))
        status = render_status(node, RANGE, CIDR, node_ip="10.224.0.4", subnet="overlay")
        await client.replace(NNCS, {**made, "status": status}, subresource="status")
        for number in range(services):
            await _service(client, number)


async def _until_served(client: KubeApi) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if not await _exists(client):
                await client.create(CRDS, nnc_definition())
            await client.list(NNCS)
            return
        except PodloomError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def _exists(client: KubeApi) -> bool:
    items, _ = await client.list(CRDS)
    return bool(items)


async def _service(client: KubeApi, number: int) -> None:
    name = f"service-{number}"
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    await client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [port]}})
    endpoints = [
        {"addresses": [f"192.168.{2 + number % 200}.{host}"], "conditions": {"ready": True}} for host in range(1, 11)
    ]
    meta = {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}}
    await client.create(
        ENDPOINTSLICES, {"metadata": meta, "addressType": "IPv4", "ports": [port], "endpoints": endpoints}
    )
