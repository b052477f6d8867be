"""`podloom group`."""

from __future__ import annotations

from typing import Any

import click

from podloom.cli.options import confirm, no_wait_option, prints, yes_option
from podloom.cli.parameters import AzGroup, location_option, name_option, parse_tags, tags_option
from podloom.cli.session import Lab, with_cloud

Json = dict[str, Any]
_TABLE = "[].{Name:name, Location:location, Status:properties.provisioningState}"


@click.group(cls=AzGroup)
def group() -> None:
    """Resource groups."""


@group.command()
@name_option("--name", "--resource-group", "-n", "-g", help="Name of the new resource group.")
@location_option(required=True)
@tags_option
@prints()
def create(name: str, location: str, tags: tuple[str, ...]) -> Json:
    """Create a new resource group."""
    from podloom.render.shapes import group_shape

    body: Json = {"location": location, **({"tags": parse_tags(tags)} if tags else {})}

    async def work(cloud: Any, lab: Lab) -> Json:
        return group_shape(await cloud.put(str(lab.group(name)), body))

    return with_cloud(work)


@group.command("list")
@prints(_TABLE)
def list_groups() -> list[Json]:
    """List resource groups."""
    from podloom.render.shapes import group_shape

    async def work(cloud: Any, lab: Lab) -> list[Json]:
        return [group_shape(item) for item in await cloud.list(f"{lab.subscription_path}/resourceGroups")]

    return with_cloud(work)


@group.command()
@name_option("--name", "--resource-group", "-n", "-g", help="Name of the resource group.")
@prints()
def show(name: str) -> Json:
    """Get a resource group."""
    from podloom.render.shapes import group_shape

    async def work(cloud: Any, lab: Lab) -> Json:
        return group_shape(await cloud.get(str(lab.group(name))))

    return with_cloud(work)


@group.command()
@name_option("--name", "--resource-group", "-n", "-g", help="Name of the resource group.")
@prints()
def exists(name: str) -> bool:
    """Check if a resource group exists."""

    async def work(cloud: Any, lab: Lab) -> bool:
        return await cloud.find(str(lab.group(name))) is not None

    return with_cloud(work)


@group.command()
@name_option("--name", "--resource-group", "-n", "-g", help="Name of the resource group.")
@yes_option
@no_wait_option
@prints()
def delete(name: str, yes: bool, no_wait: bool) -> None:
    """Delete a resource group with everything in it."""
    from podloom.cli.operations import delete as remove

    confirm(yes)

    async def work(cloud: Any, lab: Lab) -> None:
        await remove(cloud, lab.group(name), f"delete group {name}", no_wait=no_wait)

    with_cloud(work)
