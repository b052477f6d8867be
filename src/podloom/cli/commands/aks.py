"""`podloom aks`: clusters and node pools."""

from __future__ import annotations

from typing import Any

import click

from podloom.cli.commands.aks_create import create
from podloom.cli.commands.aks_credentials import get_credentials
from podloom.cli.commands.aks_nodepool import nodepool
from podloom.cli.options import confirm, no_wait_option, prints, yes_option
from podloom.cli.parameters import AzGroup, group_option, location_option, name_option
from podloom.cli.session import Lab, with_cloud
from podloom.model.arm import MANAGED_CLUSTERS

Json = dict[str, Any]

_COLUMNS = (
    "{name: name, location: location, resourceGroup: resourceGroup, kubernetesVersion: kubernetesVersion,"
    " currentKubernetesVersion: currentKubernetesVersion, provisioningState: provisioningState,"
    " fqdn: fqdn || privateFqdn}"
)
SHOW_TABLE, LIST_TABLE = _COLUMNS, f"[].{_COLUMNS}"


@click.group(cls=AzGroup)
def aks() -> None:
    """Kubernetes clusters."""


aks.add_command(create)
aks.add_command(get_credentials)
aks.add_command(nodepool)


@aks.command("list")
@group_option(required=False)
@prints(LIST_TABLE)
def list_clusters(resource_group: str | None) -> list[Json]:
    """List managed Kubernetes clusters."""
    from podloom.render.shapes import cluster_shape

    async def work(cloud: Any, lab: Lab) -> list[Json]:
        place = str(lab.group(resource_group)) if resource_group else lab.subscription_path
        return [cluster_shape(item) for item in await cloud.list(f"{place}/providers/{MANAGED_CLUSTERS}")]

    return with_cloud(work)


@aks.command()
@name_option("--name", "-n", help="Name of the managed cluster.")
@group_option()
@prints(SHOW_TABLE)
def show(name: str, resource_group: str) -> Json:
    """Show the details of a managed Kubernetes cluster."""
    from podloom.render.shapes import cluster_shape

    async def work(cloud: Any, lab: Lab) -> Json:
        return cluster_shape(await cloud.get(str(lab.resource(resource_group, MANAGED_CLUSTERS, name))))

    return with_cloud(work)


def _version_rows(found: Json) -> list[Json]:
    rows = []
    for minor in found["values"]:
        plans = ", ".join(minor["capabilities"]["supportPlan"])
        for version, patch in minor["patchVersions"].items():
            upgrades = ", ".join(patch["upgrades"]) or "None available"
            rows.append({"KubernetesVersion": version, "Upgrades": upgrades, "SupportPlan": plans})
    return rows


@aks.command("get-versions")
@location_option(required=True)
@prints(_version_rows)
def get_versions(location: str) -> Json:
    """Get the versions available for creating a managed Kubernetes cluster."""

    async def work(cloud: Any, lab: Lab) -> Json:
        place = f"{lab.subscription_path}/providers/Microsoft.ContainerService/locations/{location}"
        found: Json = await cloud.get(f"{place}/kubernetesVersions")
        return found

    return with_cloud(work)


@aks.command()
@name_option("--name", "-n", help="Name of the managed cluster.")
@group_option()
@yes_option
@no_wait_option
@prints()
def delete(name: str, resource_group: str, yes: bool, no_wait: bool) -> None:
    """Delete a managed Kubernetes cluster."""
    from podloom.cli.operations import delete as remove

    confirm(yes)

    async def work(cloud: Any, lab: Lab) -> None:
        id_ = lab.resource(resource_group, MANAGED_CLUSTERS, name)
        await cloud.get(str(id_))
        await remove(cloud, id_, f"delete cluster {name}", no_wait=no_wait)

    with_cloud(work)


@aks.command()
@name_option("--name", "-n", help="Name of the managed cluster.")
@group_option()
@click.option("--node-count", "-c", type=int, required=True, help="Number of nodes in the Kubernetes node pool.")
@click.option("--nodepool-name", "--nodepool", help="Node pool name; needed when there are several.")
@no_wait_option
@prints(SHOW_TABLE)
def scale(name: str, resource_group: str, node_count: int, nodepool_name: str | None, no_wait: bool) -> Json | None:
    """Scale the node pool in a managed Kubernetes cluster."""
    from podloom.cli.operations import put
    from podloom.render.shapes import cluster_shape

    async def work(cloud: Any, lab: Lab) -> Json | None:
        id_ = lab.resource(resource_group, MANAGED_CLUSTERS, name)
        cluster = await cloud.get(str(id_))
        pools = cluster["properties"]["agentPoolProfiles"]
        if nodepool_name is None and len(pools) > 1:
            raise click.ClickException(
                "There are more than one node pool in the cluster. Please specify nodepool name."
            )
        chosen = [pool for pool in pools if nodepool_name in (None, pool["name"])]
        if not chosen:
            raise click.ClickException(f"The nodepool '{nodepool_name}' was not found.")
        chosen[0]["count"] = node_count
        found = await put(cloud, id_, cluster, f"scale {name}/{chosen[0]['name']} to {node_count}", no_wait=no_wait)
        return found and cluster_shape(found)

    return with_cloud(work)
