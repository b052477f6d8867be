"""`podloom aks get-credentials`: a cluster's kubeconfig, merged into the user's."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import click

from podloom.cli.options import prints, tell
from podloom.cli.parameters import group_option, name_option
from podloom.cli.session import Lab, with_cloud
from podloom.model.arm import MANAGED_CLUSTERS


@click.command("get-credentials")
@name_option("--name", "-n", help="Name of the managed cluster.")
@group_option()
@click.option("--admin", "-a", is_flag=True, help="Get cluster administrator credentials.")
@click.option("--file", "-f", "path", help="Kubernetes configuration file to update; '-' prints to standard output.")
@click.option("--overwrite-existing", is_flag=True, help="Overwrite any existing cluster entry with the same name.")
@click.option("--context", help="If specified, overwrite the default context name.")
@prints()
def get_credentials(
    name: str, resource_group: str, path: str | None, *, admin: bool, overwrite_existing: bool, context: str | None
) -> None:
    """Get access credentials for a managed Kubernetes cluster.

    Merged into --file, else the first file of KUBECONFIG, else ~/.kube/config.
    """
    from podloom.cli.kubeconfig import merge_into

    action = "listClusterAdminCredential" if admin else "listClusterUserCredential"

    async def work(cloud: Any, lab: Lab) -> str:
        found = await cloud.post(f"{lab.resource(resource_group, MANAGED_CLUSTERS, name)}/{action}")
        return base64.b64decode(found["kubeconfigs"][0]["value"]).decode()

    text = with_cloud(work)
    if path == "-":
        click.echo(text, nl=False)
        return
    target = Path(path or default_path()).expanduser()
    current = merge_into(target, text, overwrite=overwrite_existing, context=context)
    tell(f'Merged "{current}" as current context in {target}')


def default_path() -> str:
    """Where kubectl looks: the first file of KUBECONFIG, else ~/.kube/config."""
    listed = [item for item in os.environ.get("KUBECONFIG", "").split(os.pathsep) if item]
    return listed[0] if listed else "~/.kube/config"
