"""The internet of the lab: one namespace with a router, a host that answers, and all public addresses.

It routes only public addresses: there is no default route, so a private destination that leaks out of a virtual
network is refused here. The user's shell hangs on it by one veth whose routes cover the lab's public prefixes and
nothing else of the user's machine; it opens connections into the lab, and machines and pods of the lab open none
to it, for the user's services are not theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

from podloom.model.rows import Row, address_row, netns_row, nft_table_row, route_row, sysctl_row, veth_row
from podloom.plan.fabric import names
from podloom.plan.fabric.settings import MTU, NFT_FAMILY, NFT_TABLE, FabricSettings
from podloom.plan.fabric.view import PublicAddress
from podloom.render import nft

OWNER = "internet"
ROUTER_SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/fwmark_reflect": "1",
}


def plan_internet(settings: FabricSettings, publics: Iterable[PublicAddress]) -> list[Row]:
    """The namespace, its hosts, the public addresses, and the user's shell."""
    netns = names.internet_netns(settings.tag)
    rows = [netns_row(netns, OWNER)]
    rows += [sysctl_row(netns, path, value, OWNER) for path, value in ROUTER_SETTINGS.items()]
    rows += [address_row(netns, "lo", f"{host}/32", owner=OWNER) for host in (settings.router, settings.host)]
    rows += [
        address_row(netns, "lo", f"{public.address}/32", owner=public.id)
        for public in publics
        if ":" not in public.address
    ]
    if settings.with_shell:
        rows += _shell(settings, netns)
    return rows


def _shell(settings: FabricSettings, netns: str) -> list[Row]:
    near, far, owner = names.shell_near_link(), names.shell_link(settings.tag), f"{OWNER}/shell"
    rows = [
        veth_row(netns, near, "", far, mtu=MTU, mac="02:70:6c:00:00:01", peer_mac="02:70:6c:00:00:02", owner=owner),
        route_row(netns, f"{settings.shell}/32", dev=near, src=settings.router, owner=owner),
        address_row("", far, f"{settings.shell}/32", prefix_route=False, owner=owner),
    ]
    rows += [
        route_row("", prefix, dev=far, via=settings.router, src=settings.shell, onlink=True, owner=owner)
        for prefix in settings.public_prefixes
    ]
    inward = [f'oifname "{near}" ct state != {{ established, related }} counter reject']
    body = nft.base_chain("forward", "forward", "filter", 0, inward)
    rows.append(nft_table_row(netns, NFT_FAMILY, NFT_TABLE, body, owner))
    return rows
