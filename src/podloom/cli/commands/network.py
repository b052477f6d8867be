"""`podloom network`: virtual networks, subnets, network interfaces."""

from __future__ import annotations

from typing import Any

import click

from podloom.cli.options import no_wait_option, prints
from podloom.cli.parameters import (
    AzGroup,
    group_option,
    location_option,
    name_option,
    parse_tags,
    several,
    split_commas,
    tags_option,
)
from podloom.cli.session import Lab, with_cloud
from podloom.model.arm import NETWORK_INTERFACES, VIRTUAL_NETWORKS

Json = dict[str, Any]


def _vnet_row(vnet: Json) -> Json:
    """A virtual network as `az network vnet list -o table` shows it."""
    return {
        "Name": vnet["name"],
        "ResourceGroup": vnet["resourceGroup"],
        "Location": vnet["location"],
        "NumSubnets": len(vnet.get("subnets") or []),
        "Prefixes": ", ".join((vnet.get("addressSpace") or {}).get("addressPrefixes") or []) or " ",
        "DnsServers": ", ".join((vnet.get("dhcpOptions") or {}).get("dnsServers") or []) or " ",
        "DDOSProtection": vnet.get("enableDdosProtection", False),
        "VMProtection": vnet.get("enableVmProtection", False),
    }


@click.group(cls=AzGroup)
def network() -> None:
    """Virtual networks, subnets and interfaces."""


@network.group(cls=AzGroup)
def vnet() -> None:
    """Virtual networks."""


@vnet.command()
@name_option("--name", "-n", help="The virtual network (VNet) name.")
@group_option()
@location_option()
@several("--address-prefixes", "--address-prefix", help="IP address prefixes for the VNet. Default: 10.0.0.0/16.")
@click.option("--subnet-name", help="Name of a new subnet to create within the VNet.")
@several("--subnet-prefixes", "--subnet-prefix", help="Address prefixes of the new subnet.")
@tags_option
@no_wait_option
@prints()
def create(name: str, resource_group: str, location: str | None, **given: Any) -> Json | None:
    """Create a virtual network."""
    from podloom.cli.operations import put
    from podloom.render.shapes import flattened

    prefixes = split_commas(given["address_prefixes"]) or ["10.0.0.0/16"]
    properties: Json = {"addressSpace": {"addressPrefixes": prefixes}}
    if given["subnet_name"]:
        ranges = split_commas(given["subnet_prefixes"]) or [_first_24(prefixes[0])]
        properties["subnets"] = [{"name": given["subnet_name"], "properties": _ranges(ranges)}]
    elif given["subnet_prefixes"]:
        raise click.UsageError("--subnet-prefixes needs --subnet-name")

    async def work(cloud: Any, lab: Lab) -> Json | None:
        body: Json = {"properties": properties}
        if location:
            body["location"] = location
        if given["tags"]:
            body["tags"] = parse_tags(given["tags"])
        id_ = lab.resource(resource_group, VIRTUAL_NETWORKS, name)
        found = await put(cloud, id_, body, f"create virtual network {name}", no_wait=given["no_wait"])
        return found and {"newVNet": flattened(found)}

    return with_cloud(work)


@vnet.command("list")
@group_option(required=False)
@prints(lambda items: [_vnet_row(item) for item in items])
def list_vnets(resource_group: str | None) -> list[Json]:
    """List virtual networks."""
    return _list(resource_group, VIRTUAL_NETWORKS)


@vnet.command()
@name_option("--name", "-n", help="The virtual network (VNet) name.")
@group_option()
@prints()
def show(name: str, resource_group: str) -> Json:
    """Get the details of a virtual network."""
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> Json:
        return flattened(await cloud.get(str(lab.resource(resource_group, VIRTUAL_NETWORKS, name))))

    return with_cloud(work)


@vnet.command()
@name_option("--name", "-n", help="The virtual network (VNet) name.")
@group_option()
@no_wait_option
@prints()
def delete(name: str, resource_group: str, no_wait: bool) -> None:
    """Delete a virtual network."""
    from podloom.cli.operations import delete as remove

    async def work(cloud: Any, lab: Lab) -> None:
        id_ = lab.resource(resource_group, VIRTUAL_NETWORKS, name)
        await remove(cloud, id_, f"delete virtual network {name}", no_wait=no_wait)

    with_cloud(work)


@vnet.group(cls=AzGroup)
def subnet() -> None:
    """Subnets of a virtual network."""


_vnet_name = name_option("--vnet-name", help="The virtual network (VNet) name.")
_subnet_name = name_option("--name", "-n", help="The subnet name.")


@subnet.command("create")
@_subnet_name
@_vnet_name
@group_option()
@several("--address-prefixes", "--address-prefix", help="Address prefixes in CIDR format.")
@several("--delegations", help="Services to whom the subnet should be delegated, e.g. Microsoft.Sql/managedInstances.")
@no_wait_option
@prints()
def create_subnet(name: str, vnet_name: str, resource_group: str, **given: Any) -> Json | None:
    """Create a subnet."""
    from podloom.cli.operations import put
    from podloom.render.shapes import flattened

    ranges = split_commas(given["address_prefixes"])
    if not ranges:
        raise click.UsageError("the following arguments are required: --address-prefixes")
    properties = _ranges(ranges)
    if given["delegations"]:
        properties["delegations"] = [
            {"name": str(place), "properties": {"serviceName": service}}
            for place, service in enumerate(split_commas(given["delegations"]))
        ]

    async def work(cloud: Any, lab: Lab) -> Json | None:
        id_ = lab.resource(resource_group, VIRTUAL_NETWORKS, vnet_name).child("subnets", name)
        title = f"create subnet {name}"
        found = await put(cloud, id_, {"properties": properties}, title, no_wait=given["no_wait"])
        return found and flattened(found)

    return with_cloud(work)


@subnet.command("list")
@_vnet_name
@group_option()
@prints()
def list_subnets(vnet_name: str, resource_group: str) -> list[Json]:
    """List the subnets of a virtual network."""
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> list[Json]:
        parent = lab.resource(resource_group, VIRTUAL_NETWORKS, vnet_name)
        return [flattened(item) for item in await cloud.list(f"{parent}/subnets")]

    return with_cloud(work)


@subnet.command("show")
@_subnet_name
@_vnet_name
@group_option()
@prints()
def show_subnet(name: str, vnet_name: str, resource_group: str) -> Json:
    """Show details of a subnet."""
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> Json:
        parent = lab.resource(resource_group, VIRTUAL_NETWORKS, vnet_name)
        return flattened(await cloud.get(str(parent.child("subnets", name))))

    return with_cloud(work)


@subnet.command("delete")
@_subnet_name
@_vnet_name
@group_option()
@no_wait_option
@prints()
def delete_subnet(name: str, vnet_name: str, resource_group: str, no_wait: bool) -> None:
    """Delete a subnet."""
    from podloom.cli.operations import delete as remove

    async def work(cloud: Any, lab: Lab) -> None:
        parent = lab.resource(resource_group, VIRTUAL_NETWORKS, vnet_name)
        await remove(cloud, parent.child("subnets", name), f"delete subnet {name}", no_wait=no_wait)

    with_cloud(work)


@network.group(cls=AzGroup)
def nic() -> None:
    """Network interfaces."""


@nic.command("list")
@group_option(required=False)
@prints()
def list_nics(resource_group: str | None) -> list[Json]:
    """List network interfaces."""
    return _list(resource_group, NETWORK_INTERFACES)


@nic.command("show")
@name_option("--name", "-n", help="The name of the network interface (NIC).")
@group_option()
@prints()
def show_nic(name: str, resource_group: str) -> Json:
    """Get the information of a network interface."""
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> Json:
        return flattened(await cloud.get(str(lab.resource(resource_group, NETWORK_INTERFACES, name))))

    return with_cloud(work)


def _list(resource_group: str | None, type_: str) -> list[Json]:
    from podloom.render.shapes import flattened

    async def work(cloud: Any, lab: Lab) -> list[Json]:
        place = str(lab.group(resource_group)) if resource_group else lab.subscription_path
        return [flattened(item) for item in await cloud.list(f"{place}/providers/{type_}")]

    return with_cloud(work)


def _ranges(prefixes: list[str]) -> Json:
    return {"addressPrefix": prefixes[0]} if len(prefixes) == 1 else {"addressPrefixes": prefixes}


def _first_24(prefix: str) -> str:
    """az's default for the first subnet: the VNet's first /24."""
    import ipaddress

    try:
        space = ipaddress.ip_network(prefix)
    except ValueError:
        return prefix
    return f"{space.network_address}/{max(24, space.prefixlen)}" if space.version == 4 else prefix
