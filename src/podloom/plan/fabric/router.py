"""A virtual network as one router namespace.

Subnets are the router's gateway addresses; each NIC is a veth to its VM with one host route, and the router
answers ARP for the whole subnet (proxy_arp), so machines of one subnet talk as on one wire though every packet
passes the router's filters. What is private and not this network's is refused. Everything else leaves through
`uplink` with the network's own public address.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from podloom.model.errors import Rejected
from podloom.model.rows import (
    Row,
    address_row,
    neighbour_row,
    netns_row,
    route_row,
    sysctl_row,
    veth_row,
)
from podloom.plan.fabric import names
from podloom.plan.fabric.internet import ROUTER_SETTINGS
from podloom.plan.fabric.settings import MTU, UNROUTED, WIRE_SERVER, FabricSettings
from podloom.plan.fabric.view import Nic, VNet


def gateway(prefix: str) -> str:
    """The first address of a subnet: its router (azure-behaviour.md, section 2)."""
    return str(ip_network(prefix)[1])


def plan_router(settings: FabricSettings, vnet: VNet, outbound: str) -> list[Row]:
    """The router itself: its settings, gateways, the wire server's address, and the way out."""
    netns, owner = names.router_netns(settings.tag, vnet.id), vnet.id
    rows = [netns_row(netns, owner)]
    rows += [sysctl_row(netns, path, value, owner) for path, value in ROUTER_SETTINGS.items()]
    gateways = {gateway(p) for subnet in vnet.subnets.values() for p in subnet.prefixes if ":" not in p}
    rows += [address_row(netns, "lo", f"{g}/32", owner=owner) for g in sorted({*gateways, WIRE_SERVER})]
    rows += _uplink(settings, netns, vnet, outbound)
    refused = {p for p in vnet.prefixes if ":" not in p} | set(UNROUTED)
    rows += [route_row(netns, prefix, type="unreachable", owner=owner) for prefix in sorted(refused)]
    return rows


def _uplink(settings: FabricSettings, netns: str, vnet: VNet, outbound: str) -> list[Row]:
    internet, near, owner = names.internet_netns(settings.tag), names.uplink_link(vnet.id), vnet.id
    near_mac, far_mac = names.mac_of(vnet.id, "internet"), names.mac_of(vnet.id, "uplink")
    far = names.UPLINK
    return [
        veth_row(internet, near, netns, far, mtu=MTU, mac=near_mac, peer_mac=far_mac, owner=owner),
        route_row(internet, f"{outbound}/32", dev=near, src=settings.router, owner=owner),
        address_row(netns, far, f"{outbound}/32", owner=owner),
        route_row(netns, "0.0.0.0/0", dev=far, via=settings.router, src=outbound, onlink=True, owner=owner),
    ]


def plan_nic(settings: FabricSettings, vnet: VNet, nic: Nic) -> list[Row]:
    """A NIC: the VM's namespace with its primary address and default route, the router's end, and its routes.

    Secondary addresses are routed to the VM but, as on Azure, not configured in it. Raises Rejected when a
    configuration's subnet is not one of the network."""
    router, vm = names.router_netns(settings.tag, vnet.id), names.vm_netns(settings.tag, nic.id)
    near, far, owner = names.nic_link(nic.id), names.VM_INTERFACE, nic.id
    router_mac, mac = names.mac_of(nic.id, "router"), nic.mac or names.mac_of(nic.id, "vm")
    rows = [
        netns_row(vm, owner),
        veth_row(router, near, vm, far, mtu=MTU, mac=router_mac, peer_mac=mac, owner=owner),
        sysctl_row(router, f"ipv4/conf/{near}/proxy_arp", "1", owner),
        sysctl_row(router, f"ipv4/neigh/{near}/proxy_delay", "0", owner),
    ]
    for config in nic.configs:
        if ":" in config.address:
            continue
        prefix = home(vnet, nic, config.subnet, config.address)
        rows.append(route_row(router, f"{config.address}/32", dev=near, src=gateway(prefix), owner=owner))
        rows.append(neighbour_row(router, near, config.address, mac, owner))
        if config.primary:
            length = prefix.rsplit("/", 1)[1]
            rows.append(address_row(vm, far, f"{config.address}/{length}", owner=owner))
            rows.append(route_row(vm, "0.0.0.0/0", dev=far, via=gateway(prefix), owner=owner))
    return rows


def home(vnet: VNet, nic: Nic, subnet_id: str, address: str) -> str:
    """The subnet's range that holds the address."""
    subnet = vnet.subnets.get(subnet_id)
    for prefix in subnet.prefixes if subnet else ():
        if ip_address(address) in ip_network(prefix):
            return prefix
    found = f"{address} is in no range of it" if subnet else "the virtual network has no such subnet"
    raise Rejected(f"attach {nic.id} to {subnet_id}", found, "correct the NIC's ipConfigurations", target=nic.id)


def member_nics(nics: Iterable[Nic], vnet: VNet) -> list[Nic]:
    return [nic for nic in nics if nic.vnet == vnet.id]
