"""A cloud as a real process over TLS on loopback, for tests; and the CLI as a real command against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podloom.drivers.arm import CloudClient
from podloom.drivers.pki import Authority
from podloom.model.arm import MANAGED_CLUSTERS, NETWORK_INTERFACES, VIRTUAL_NETWORKS, ResourceId
from podloom.model.errors import Unavailable

Json = dict[str, Any]
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
OVERLAY = {"networkPlugin": "azure", "networkPluginMode": "overlay"}
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: x, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: y, user: {token: secret}}]
contexts: [{name: z, context: {cluster: x, user: y}}]
current-context: z
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class CloudProcess:
    """One cloud; `kill` and `start` again keep its address and its data."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return Authority.open(self.folder / "pki", "test").cert_path

    def start(self) -> None:
        pair = Authority.open(self.folder / "pki", "test").issue("cloud", "localhost", hosts=["127.0.0.1", "localhost"])
        flags = ["--listen", f"127.0.0.1:{self.port}", "--data", str(self.folder / "data")]
        tls = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--subscription", SUBSCRIPTION]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "podloom.cloud", *flags, *tls], stderr=log)
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None:
                break
            self.process.poll()
            _nap()
        raise AssertionError((self.folder / "log").read_text())

    def ensure_started(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """As the machine would: without warning."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def client(self) -> CloudClient:
        return CloudClient(self.url, self.ca)

    def state(self) -> Path:
        """A PODLOOM_STATE folder whose lab.json names this cloud."""
        lab = {"cloudUrl": self.url, "caFile": str(self.ca), "subscriptionId": SUBSCRIPTION, "tag": "test"}
        (self.folder / "lab.json").write_text(json.dumps(lab))
        return self.folder

    def cli(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `podloom` as a user would, with no terminal."""
        own = {"PODLOOM_STATE": str(self.state()), "HOME": str(self.folder), "KUBECONFIG": ""}
        return subprocess.run(
            [sys.executable, "-m", "podloom.cli.main", *arguments],
            env={**os.environ, **own, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _nap() -> None:
    import time

    time.sleep(0.02)


async def empty(client: CloudClient) -> None:
    """Delete every group; clusters go at once, as if there were a lab."""
    for cluster in await client.list(MANAGED_CLUSTERS):
        await client.delete(cluster["id"])
        await client.finalize(cluster["id"])
    for found in await client.list("Microsoft.Resources/resourceGroups"):
        await client.delete(found["id"])
    assert await client.list("Microsoft.Resources/resourceGroups") == []


def group(name: str = "rg") -> ResourceId:
    return ResourceId(SUBSCRIPTION, name)


def vnet_body(*subnets: tuple[str, str], space: str = "10.1.0.0/16") -> Json:
    listed = [{"name": name, "properties": {"addressPrefix": prefix}} for name, prefix in subnets]
    return {"properties": {"addressSpace": {"addressPrefixes": [space]}, "subnets": listed}}


def cluster_body(count: int = 1, subnet: str = "", **network: Any) -> Json:
    pool: Json = {"name": "nodepool1", "count": count, "mode": "System"}
    if subnet:
        pool["vnetSubnetID"] = subnet
    return {
        "location": "westcentralus",
        "properties": {"networkProfile": {**OVERLAY, **network}, "agentPoolProfiles": [pool]},
    }


def nic_body(subnet: str, address: str = "") -> Json:
    properties: Json = {"subnet": {"id": subnet}}
    if address:
        properties |= {"privateIPAllocationMethod": "Static", "privateIPAddress": address}
    return {"properties": {"ipConfigurations": [{"name": "ipconfig1", "properties": properties}]}}


def nic_address(nic: Json) -> str:
    return str(nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"])


@contextlib.asynccontextmanager
async def realiser(client: CloudClient, *, lab: bool = True) -> AsyncIterator[None]:
    """Does what fabric and lab do towards the cloud: reports what was wished, finalizes what goes."""
    fabric = (VIRTUAL_NETWORKS, NETWORK_INTERFACES, "Podloom.Network/routingDomains")

    async def run() -> None:
        async for change in client.changes():
            if change.resource is None:
                continue
            while True:
                try:
                    await _realise(client, change.resource, fabric, lab=lab)
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _realise(client: CloudClient, resource: Json, fabric: tuple[str, ...], *, lab: bool) -> None:
    state, type_ = resource["properties"]["provisioningState"], resource["type"]
    generation = resource["properties"]["podloom"]["generation"]
    if type_ in fabric and state in ("Creating", "Updating"):
        await client.report(resource["id"], {"provisioningState": "Succeeded"}, generation=generation)
    elif lab and type_ == MANAGED_CLUSTERS and state == "Deleting":
        await client.finalize(resource["id"])
    elif lab and type_ == MANAGED_CLUSTERS and state in ("Creating", "Updating"):
        steps = [{"name": "control plane", "state": "done"}, {"name": "1 nodes", "state": "done"}]
        name = resource["name"]
        told = {
            "fqdn": f"{name}.test",
            "podloom": {"steps": steps},
            "kubeconfigs": {"user": KUBECONFIG, "admin": KUBECONFIG},
        }
        await client.report(resource["id"], {"provisioningState": "Succeeded", **told}, generation=generation)
