"""`podloom aks nodepool`."""

from __future__ import annotations

from typing import Any

import click

from podloom.cli.options import no_wait_option, prints
from podloom.cli.parameters import AzGroup, group_option, name_option
from podloom.cli.session import Lab, with_cloud
from podloom.model.arm import MANAGED_CLUSTERS

Json = dict[str, Any]

_COLUMNS = (
    "{name: name, osType: osType, kubernetesVersion: orchestratorVersion, vmSize: vmSize,"
    " osDiskSizeGB: osDiskSizeGB, count: count, maxPods: maxPods, provisioningState: provisioningState, mode: mode}"
)
_cluster = name_option("--cluster-name", help="The cluster name.")
_pool = name_option("--name", "--nodepool-name", "-n", help="The node pool name.")


@click.group(cls=AzGroup)
def nodepool() -> None:
    """Node pools of a cluster."""


@nodepool.command("list")
@_cluster
@group_option()
@prints(f"[].{_COLUMNS}")
def list_pools(cluster_name: str, resource_group: str) -> list[Json]:
    """List node pools in the managed Kubernetes cluster."""
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> list[Json]:
        cluster = lab.resource(resource_group, MANAGED_CLUSTERS, cluster_name)
        return [flattened(item) for item in await cloud.list(f"{cluster}/agentPools")]

    return with_cloud(work)


@nodepool.command()
@_pool
@_cluster
@group_option()
@prints(_COLUMNS)
def show(name: str, cluster_name: str, resource_group: str) -> Json:
    """Show the details for a node pool in the managed Kubernetes cluster."""
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> Json:
        cluster = lab.resource(resource_group, MANAGED_CLUSTERS, cluster_name)
        return flattened(await cloud.get(str(cluster.child("agentPools", name))))

    return with_cloud(work)


@nodepool.command()
@_pool
@_cluster
@group_option()
@click.option("--node-count", "-c", type=int, default=3, show_default=True, help="Number of nodes.")
@click.option("--mode", type=click.Choice(["System", "User"]), default="User", show_default=True, help="Pool mode.")
@click.option("--max-pods", "-m", type=int, help="Pods per node, 10 to 250.")
@click.option("--vnet-subnet-id", help="The ID of a subnet for the nodes, in the cluster's VNet.")
@click.option("--node-vm-size", "-s", help="Size of the nodes' virtual machines.")
@click.option("--os-type", type=click.Choice(["Linux", "Windows"]), default="Linux", help="The nodes' OS.")
@no_wait_option
@prints(_COLUMNS)
def add(name: str, cluster_name: str, resource_group: str, no_wait: bool, **given: Any) -> Json | None:
    """Add a node pool to the managed Kubernetes cluster."""
    wanted = {
        "count": given["node_count"],
        "mode": given["mode"],
        "maxPods": given["max_pods"],
        "vnetSubnetID": given["vnet_subnet_id"],
        "vmSize": given["node_vm_size"],
        "osType": given["os_type"],
    }
    properties = {key: value for key, value in wanted.items() if value is not None}

    async def work(cloud: Any, lab: Lab) -> Json | None:
        pool = lab.resource(resource_group, MANAGED_CLUSTERS, cluster_name).child("agentPools", name)
        if await cloud.find(str(pool)) is not None:
            raise click.ClickException(f"Node pool {name} already exists, please try a different name.")
        return await _put(cloud, pool, properties, f"add node pool {name}", no_wait)

    return with_cloud(work)


@nodepool.command()
@_pool
@_cluster
@group_option()
@click.option("--node-count", "-c", type=int, required=True, help="Number of nodes.")
@no_wait_option
@prints(_COLUMNS)
def scale(name: str, cluster_name: str, resource_group: str, node_count: int, no_wait: bool) -> Json | None:
    """Scale the node pool in a managed Kubernetes cluster."""

    async def work(cloud: Any, lab: Lab) -> Json | None:
        pool = lab.resource(resource_group, MANAGED_CLUSTERS, cluster_name).child("agentPools", name)
        found = await cloud.get(str(pool))
        properties = {**found["properties"], "count": node_count}
        return await _put(cloud, pool, properties, f"scale node pool {name} to {node_count}", no_wait)

    return with_cloud(work)


@nodepool.command()
@_pool
@_cluster
@group_option()
@no_wait_option
@prints()
def delete(name: str, cluster_name: str, resource_group: str, no_wait: bool) -> None:
    """Delete a node pool in the managed Kubernetes cluster."""
    from podloom.cli.operations import delete as remove

    async def work(cloud: Any, lab: Lab) -> None:
        pool = lab.resource(resource_group, MANAGED_CLUSTERS, cluster_name).child("agentPools", name)
        await cloud.get(str(pool))
        await remove(cloud, pool, f"delete node pool {name}", no_wait=no_wait)

    with_cloud(work)


async def _put(cloud: Any, pool: Any, properties: Json, title: str, no_wait: bool) -> Json | None:
    from podloom.cli.operations import put
    from podloom.render.shapes import flattened

    found = await put(cloud, pool, {"properties": properties}, title, no_wait=no_wait)
    return found and flattened(found)
