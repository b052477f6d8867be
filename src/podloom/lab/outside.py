"""The hosts around a cluster of the lab, for `connectivity`: a machine of its VNet and one on the internet.

The VNet's machine is a NIC made for the check and removed after it, so that it is realised as any user's would
be; the internet's is the host that always answers there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from podloom.drivers.arm import CloudClient
from podloom.drivers.kernel.netns import list_netns
from podloom.lab.processes import ProcessSpec, adopt, spawn, stop
from podloom.lab.state import LabFile, LabPaths
from podloom.model.arm import NETWORK_INTERFACES
from podloom.model.errors import Unavailable
from podloom.native import native_path
from podloom.observe.connectivity import Outside, OutsideHost, Run
from podloom.plan.cluster import ClusterParts
from podloom.plan.connectivity import INTERNET_HTTP, OUTSIDE_HTTP, Endpoint
from podloom.plan.fabric.names import internet_netns, vm_netns

INTERNET_HOST = "198.19.0.80"
INTERNET_NAME = "echo.podloom.test"
PUBLIC_PREFIX = "198.19.1.0/24"
PROBE_TIMEOUT_S = 30.0
PAUSE_S = 0.02


@asynccontextmanager
async def around(
    lab: LabFile, paths: LabPaths, cloud: CloudClient, parts: ClusterParts, *, keep: bool = False
) -> AsyncIterator[Outside]:
    """The cluster's surroundings while the body runs; with `keep` the VNet's machine stays for the next run."""
    nic = parts.node_group.within(NETWORK_INTERFACES, f"{parts.name}-connectivity-nic")
    ipconfig = {"subnet": {"id": str(parts.nodes[0].subnet)}, "primary": True}
    properties = {"ipConfigurations": [{"name": "ipconfig1", "properties": ipconfig}]}
    made = await cloud.find(str(nic))
    if made is None or made["properties"]["provisioningState"] != "Succeeded":
        made = await cloud.put(str(nic), {"location": parts.location, "properties": properties}, wait=True)
    netns = vm_netns(lab.tag, str(nic))
    while netns not in list_netns(netns):
        await asyncio.sleep(PAUSE_S)
    spec = ProcessSpec(
        f"outside/{parts.key}",
        (str(native_path("echo")), "--http", str(OUTSIDE_HTTP), "--name", "vnet-host"),
        paths.logs / "outside.log",
        ("--netns", f"/run/netns/{netns}"),
    )
    pid = adopt(lab.tag, spec) or spawn(lab.tag, spec)
    try:
        address = made["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
        vnet = Endpoint("VNet host", "vnet", address, http_port=OUTSIDE_HTTP)
        internet = Endpoint("internet host", "internet", INTERNET_HOST, http_port=INTERNET_HTTP)
        hosts = (
            OutsideHost(vnet, _runner(netns)),
            OutsideHost(internet, _runner(internet_netns(lab.tag))),
        )
        yield Outside(hosts, (PUBLIC_PREFIX,), INTERNET_NAME, INTERNET_HOST)
    finally:
        if not keep:
            await stop(pid)
            await cloud.delete(str(nic), wait=True)


def _runner(netns: str) -> Run:
    async def run(arguments: Sequence[str]) -> bytes:
        command = ["nsenter", f"--net=/run/netns/{netns}", str(native_path("probe")), *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            raise Unavailable(f"probe from {netns}", f"no answer in {PROBE_TIMEOUT_S:.0f} s") from None
        return output

    return run
