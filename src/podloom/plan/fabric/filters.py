"""What a virtual network's router lets pass, as one nftables table.

Source validation: a NIC may send from its own addresses; from the pod ranges assigned to it only to pods of its
domain, and to nodes of the domain only as answers (a node reaches pods; a pod that opens a connection to a node
is masqueraded by its own node). Anything else is dropped and counted, so pod addresses never leave their domain.
Connections from outside find no way in. What leaves through the uplink has the network's public address.
All of it is sets and maps: the chains are the same for 1 and for 5,000 nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

from podloom.model.rows import Row, nft_element_row, nft_table_row
from podloom.plan.fabric import names
from podloom.plan.fabric.domains import Membership
from podloom.plan.fabric.settings import NFT_FAMILY, NFT_TABLE, FabricSettings
from podloom.plan.fabric.view import Nic, VNet
from podloom.render import nft

SPOOFED, INBOUND = "spoofed", "inbound"


def table_body(outbound: str) -> str:
    """The table; only the outbound address varies."""
    from_pods = "iifname . ip saddr @pod_ranges"
    parts = [
        nft.named_set("own", "ifname . ipv4_addr"),
        nft.named_set("pod_ranges", "ifname . ipv4_addr", flags="interval"),
        nft.named_map("domains", "ifname", "mark"),
        nft.named_set("domain_pods", "mark . ipv4_addr", flags="interval"),
        nft.named_set("domain_nodes", "mark . ipv4_addr"),
        nft.block(f"counter {SPOOFED}", []),
        nft.block(f"counter {INBOUND}", []),
        nft.base_chain(
            "validate",
            "prerouting",
            "filter",
            -150,
            [
                f'iifname != "{names.NIC_PREFIX}*" accept',
                "meta nfproto ipv6 drop",
                "iifname . ip saddr @own accept",
                "meta mark set iifname map @domains",
                f"{from_pods} meta mark . ip daddr @domain_pods accept",
                f"{from_pods} ct state established,related meta mark . ip daddr @domain_nodes accept",
                f"counter name {SPOOFED} drop",
            ],
        ),
        nft.base_chain(
            "forward",
            "forward",
            "filter",
            0,
            [f'iifname "{names.UPLINK}" ct state != {{ established, related }} counter name {INBOUND} drop'],
        ),
        nft.base_chain("outbound", "postrouting", "nat", 100, [f'oifname "{names.UPLINK}" snat ip to {outbound}']),
    ]
    return "\n".join(parts)


def plan_filters(
    settings: FabricSettings, vnet: VNet, nics: Iterable[Nic], members: Iterable[Membership], outbound: str
) -> list[Row]:
    """The network's table and its elements, each owned by the NIC or domain it is there for."""
    netns = names.router_netns(settings.tag, vnet.id)
    rows = [nft_table_row(netns, NFT_FAMILY, NFT_TABLE, table_body(outbound), vnet.id)]

    def element(container: str, key: str, owner: str, data: str = "") -> None:
        rows.append(nft_element_row(netns, NFT_FAMILY, NFT_TABLE, container, key, data, owner))

    for nic in nics:
        for address in nic.addresses:
            if ":" not in address:
                element("own", f"{names.nic_link(nic.id)} . {address}", nic.id)
    for member in members:
        owner, mark = member.domain.id, str(member.number)
        for cidr in member.domain.pod_cidrs:
            if ":" not in cidr:
                element("domain_pods", f"{mark} . {cidr}", owner)
        for nic, prefix in member.ranges:
            element("pod_ranges", f"{names.nic_link(nic.id)} . {prefix}", owner)
        for nic in member.nics:
            element("domains", names.nic_link(nic.id), owner, mark)
            for address in nic.addresses:
                if ":" not in address:
                    element("domain_nodes", f"{mark} . {address}", owner)
    return rows
