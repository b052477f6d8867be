"""One running node: NIC, holder, containerd, node runtime, agent; kept alive together.

The problem: four processes that depend on each other, any of which may die, and a crash of the node itself, after
which its network namespace is made anew as it would be on a machine that rebooted. While PID 1 lives, each of
the others is restarted by itself; when PID 1 dies, everything is rebuilt from the NIC up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from podloom.drivers.arm import CloudClient
from podloom.drivers.files import write_if_changed
from podloom.drivers.kernel.netns import delete_netns, list_netns, socket_in_netns
from podloom.drivers.pki import Authority, kubeconfig
from podloom.lab.hosts import Host
from podloom.lab.processes import Keeper, stop_below
from podloom.lab.state import python
from podloom.model.errors import PodloomError
from podloom.plan.cluster import ClusterParts, NodeParts, node_labels
from podloom.plan.fabric.names import vm_netns

log = structlog.get_logger()
KUBELET_PORT = 10250
NETNS_PAUSE_S = 0.02
AZURE_DNS = "168.63.129.16"


@dataclass(frozen=True)
class NodeContext:
    """What a node needs to know of its cluster and lab."""

    tag: str
    folder: Path
    cloud: CloudClient
    authority: Authority
    parts: ClusterParts
    api_url: str  # as nodes reach it
    registry: str
    proxy: str


class Node:
    """A node of a cluster; `run` brings it up and keeps it up until cancelled."""

    def __init__(self, parts: NodeParts, context: NodeContext) -> None:
        self.parts = parts
        self.context = context
        self.up = asyncio.Event()
        self.host = Host(
            tag=context.tag,
            name=parts.name,
            root=context.folder / parts.name,
            netns=vm_netns(context.tag, str(parts.nic)),
            name_server=AZURE_DNS,
            registry=context.registry,
            proxy=context.proxy,
        )

    async def run(self) -> None:
        pause_s = 0.1
        while True:
            try:
                await self._live()
                pause_s = 0.1
            except (PodloomError, OSError) as error:
                log.warning("node does not come up", node=self.parts.name, error=str(error))
                pause_s = min(pause_s * 2, 5.0)
            self.up.clear()
            await asyncio.sleep(pause_s)
            await self._clear()

    async def _live(self) -> None:
        """One life of the node, from its NIC to the death of PID 1."""
        address = await self._attach()
        self.host.prepare()
        self._credentials(address)
        holder = Keeper(self.context.tag, self.host.holder, once=True)
        life = asyncio.create_task(holder.run())
        began = asyncio.create_task(holder.started.wait())
        await asyncio.wait([life, began], return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
        if life.done():
            return life.result()
        pid = holder.pid
        inside = [asyncio.create_task(keeper.run()) for keeper in self._inside(pid, address)]
        self.up.set()
        try:
            await asyncio.wait([life, *inside], return_when=asyncio.FIRST_COMPLETED)
            for task in inside:
                if task.done():
                    task.result()
        finally:
            for task in [life, *inside]:
                task.cancel()
            await asyncio.gather(life, *inside, return_exceptions=True)

    def _inside(self, pid: int, address: str) -> list[Keeper]:
        specs = [
            lambda: self.host.containerd(pid),
            lambda: self.host.process("kubelet", self._kubelet(address), pid),
            lambda: self.host.process("agent", self._agent(), pid),
        ]
        return [Keeper(self.context.tag, spec) for spec in specs]

    async def _attach(self) -> str:
        """Have the cloud give this node a NIC and the fabric realise it; returns the node's address."""
        ipconfig = {"subnet": {"id": str(self.parts.subnet)}, "primary": True, "privateIPAllocationMethod": "Dynamic"}
        existing = await self.context.cloud.find(str(self.parts.nic))
        if existing is None or existing["properties"].get("provisioningState") != "Succeeded":
            virtual_machine = self.parts.nic.within("Microsoft.Compute/virtualMachines", self.parts.name)
            body = {
                "location": self.context.parts.location,
                "properties": {
                    "ipConfigurations": [{"name": "ipconfig1", "properties": ipconfig}],
                    "virtualMachine": {"id": str(virtual_machine)},
                },
            }
            existing = await self.context.cloud.put(str(self.parts.nic), body, wait=True)
        address: str = existing["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
        while not self._has_address(address):  # after a crash of the node the fabric is making the namespace anew
            await asyncio.sleep(NETNS_PAUSE_S)
        return address

    def _has_address(self, address: str) -> bool:
        """Whether the namespace exists and its NIC is configured: one can bind what is there."""
        if self.host.netns not in list_netns(self.host.netns):
            return False
        with socket_in_netns(self.host.netns) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
        return True

    def _credentials(self, address: str) -> None:
        folder, authority, name = self.host.folder("etc-kubernetes"), self.context.authority, self.parts.name
        client = authority.issue(f"kubelet-{name}", f"system:node:{name}", groups=["system:nodes", "system:masters"])
        serving = authority.issue(f"serving-{name}", f"system:node:{name}", hosts=[name, address])
        agent = authority.issue("agent", "podloom-agent", groups=["podloom:agents"])
        texts = {
            "kubelet.conf": kubeconfig(
                self.context.api_url, authority.cert_path, client, cluster="lab", user="kubelet"
            ),
            "agent.conf": kubeconfig(self.context.api_url, authority.cert_path, agent, cluster="lab", user="agent"),
            "ca.crt": authority.cert_path.read_text(),
            "kubelet.crt": serving.cert.read_text(),
            "kubelet.key": serving.key.read_text(),
        }
        for file, text in texts.items():
            write_if_changed(folder / file, text, mode=0o600)

    def _kubelet(self, address: str) -> list[str]:
        labels = ",".join(f"{k}={v}" for k, v in node_labels(self.parts, self.context.parts).items())
        flags = {
            "--kubeconfig": "/etc/kubernetes/kubelet.conf",
            "--node-name": self.parts.name,
            "--node-ip": address,
            "--port": str(KUBELET_PORT),
            "--tls-cert": "/etc/kubernetes/kubelet.crt",
            "--tls-key": "/etc/kubernetes/kubelet.key",
            "--client-ca": "/etc/kubernetes/ca.crt",
            "--cluster-dns": self.context.parts.dns_service_ip,
            "--max-pods": str(self.parts.max_pods),
            "--labels": labels,
        }
        return [python(), "-m", "podloom.kube.kubelet", *(part for pair in flags.items() for part in pair)]

    def _agent(self) -> list[str]:
        flags = ["--kubeconfig", "/etc/kubernetes/agent.conf", "--node-name", self.parts.name]
        return [python(), "-m", "podloom.agent", *flags]

    async def _clear(self) -> None:
        """What a reboot of the machine would clear: its processes, its network, its cgroups."""
        await self._end_processes()
        self.host.remove_cgroups()
        delete_netns(self.host.netns)

    async def _end_processes(self) -> None:
        await stop_below(self.context.tag, f"node/{self.parts.name}/", timeout_s=1.0)

    async def end(self) -> None:
        """End what runs on the node; its NIC and files stay."""
        await self._end_processes()

    async def remove(self) -> None:
        """End the node for good: processes, folders, NIC."""
        await self.end()
        self.host.remove()
        await self.context.cloud.delete(str(self.parts.nic), wait=True)
