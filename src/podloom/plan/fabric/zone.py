"""The names a virtual network's DNS server (168.63.129.16) answers: its machines, and the lab's internet.

As on Azure, machines of one network know each other by name and under internal.cloudapp.net; public names are
those of public addresses with a DNS name, and the answering host of the internet.
"""

from __future__ import annotations

from podloom.plan.fabric.settings import FabricSettings
from podloom.plan.fabric.view import View, VNet

INTERNAL_SUFFIX = "internal.cloudapp.net"
ECHO_NAME = "echo.podloom.test"


def zone_of(settings: FabricSettings, view: View, vnet: VNet) -> dict[str, tuple[str, ...]]:
    """Addresses of both families by lower-case name without the final dot."""
    names: dict[str, tuple[str, ...]] = {ECHO_NAME: (settings.host,)}
    names.update({public.fqdn: (public.address,) for public in view.publics.values() if public.fqdn})
    for nic in view.nics.values():
        if nic.vnet == vnet.id:
            host = nic.vm or nic.id.rsplit("/", 1)[-1]
            addresses = tuple(config.address for config in nic.configs if config.primary)
            names[host] = names[f"{host}.{INTERNAL_SUFFIX}"] = addresses
    return names
