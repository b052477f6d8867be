"""What one pod's attachment is made of in transparent mode (azure-behaviour.md section 2, steps 3 to 7).

The problem: a pod's packets must leave by the node's routing with no bridge, and two incarnations of a pod share a
host interface name, so name alone must never decide what is deleted. Every row follows from the endpoint: names
from the pod, MAC addresses from the container id. A link with the right name and another incarnation's MAC is
a leftover to be replaced by an ADD and left alone by the older incarnation's DEL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from podloom.model.cni import Attachment, CniAddress, CniInterface, CniResult, CniRoute, IPAddress
from podloom.model.endpoint import Endpoint
from podloom.model.nnc import Network
from podloom.model.rows import Row, address_row, neighbour_row, route_row, sysctl_row, veth_row

HOST_PREFIX = "azv"
GATEWAY_4 = "169.254.1.1"
GATEWAY_6 = "fe80::1234:5678:9abc"
DEFAULT_IFNAME = "eth0"


def host_ifname(pod_namespace: str, pod_name: str, ifname: str = DEFAULT_IFNAME) -> str:
    """The host end's name: azv and 11 hex digits of sha1("namespace.pod"), as on AKS.

    A further attachment of the same pod (another ifname) has ".ifname" added before hashing.
    """
    text = f"{pod_namespace}.{pod_name}" if ifname == DEFAULT_IFNAME else f"{pod_namespace}.{pod_name}.{ifname}"
    return HOST_PREFIX + hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:11]


def macs(attachment: Attachment) -> tuple[str, str]:
    """Host and pod MAC address: locally administered, from the container id, so they name the incarnation."""
    digest = hashlib.sha1(f"{attachment.container_id}/{attachment.ifname}".encode(), usedforsecurity=False).digest()
    tail = ":".join(f"{byte:02x}" for byte in digest[:5])
    return f"aa:{tail}", f"ae:{tail}"


def plan_endpoint(endpoint: Endpoint) -> tuple[Row, ...]:
    """The rows of one attachment, in the order in which they can be added."""
    owner, netns = endpoint.owner, endpoint.netns
    dev = endpoint.attachment.ifname
    host = host_ifname(endpoint.pod_namespace, endpoint.pod_name, dev)
    host_mac, pod_mac = macs(endpoint.attachment)
    link = veth_row("", host, netns, dev, mtu=endpoint.mtu, mac=host_mac, peer_mac=pod_mac, owner=owner)
    rows = [link]
    if any(address.version == 4 for address in endpoint.addresses):
        rows.append(sysctl_row("", f"ipv4/conf/{host}/proxy_arp", 1, owner))
    for address in endpoint.addresses:
        gateway, default = _gateway(address)
        width = address.max_prefixlen
        rows += (
            route_row("", f"{address}/{width}", dev=host, owner=owner),
            address_row(netns, dev, f"{address}/{width}", owner=owner),
            route_row(netns, f"{gateway}/{width}", dev=dev, owner=owner),
            route_row(netns, default, dev=dev, via=gateway, owner=owner),
            neighbour_row(netns, dev, gateway, host_mac, owner),
        )
    return tuple(rows)


def plan_removal(endpoint: Endpoint, newer: Iterable[Endpoint]) -> tuple[Row, ...]:
    """The host-side rows a DEL of `endpoint` removes: none that a newer incarnation (`newer`) now holds.

    The pod side goes with the link; a namespace that is already gone needs nothing.
    """
    kept = {row.id for other in newer for row in plan_endpoint(other)}
    return tuple(row for row in plan_endpoint(endpoint) if row.key[0] == "" and row.id not in kept)


def endpoint_result(endpoint: Endpoint) -> CniResult:
    """What ADD answers for an endpoint whose rows are in place: the host end first, then the pod's interface."""
    dev = endpoint.attachment.ifname
    host_mac, pod_mac = macs(endpoint.attachment)
    host = host_ifname(endpoint.pod_namespace, endpoint.pod_name, dev)
    return CniResult(
        interfaces=(
            CniInterface(host, host_mac, mtu=endpoint.mtu),
            CniInterface(dev, pod_mac, endpoint.netns, endpoint.mtu),
        ),
        addresses=tuple(
            CniAddress(address, address.max_prefixlen, _gateway_address(address), 1) for address in endpoint.addresses
        ),
        routes=tuple(CniRoute(default, gateway) for gateway, default in map(_gateway, endpoint.addresses)),
    )


def address_result(
    addresses: Iterable[IPAddress], ranges: Iterable[Network] = (), pod_cidrs: Iterable[Network] = ()
) -> CniResult:
    """What delegated IPAM answers: addresses and routes, for an interface that another plugin makes.

    Such a plugin wants a gateway it finds on its link. So the address has the pod range's prefix, and the gateway is
    the end of the node's range that is never handed out and is not the pod range's own end. Where there is none (or
    the ranges are not known), the address stands by itself and the gateway is link-local, as in azure-vnet's result.
    """
    given = []
    for item in addresses:
        cidr = next((network for network in pod_cidrs if item in network), None)
        ends = [(network[-1], network[0]) for network in ranges if item in network]
        inner = [end for pair in ends for end in pair if cidr and end not in (cidr[0], cidr[-1])]
        if cidr and inner:
            given.append(CniAddress(item, cidr.prefixlen, inner[0], None))
        else:
            given.append(CniAddress(item, item.max_prefixlen, _gateway_address(item), None))
    routes = tuple(CniRoute(_gateway(item.address)[1], str(item.gateway)) for item in given)
    return CniResult((), tuple(given), routes)


def _gateway(address: IPAddress) -> tuple[str, str]:
    return (GATEWAY_4, "0.0.0.0/0") if address.version == 4 else (GATEWAY_6, "::/0")


def _gateway_address(address: IPAddress) -> IPAddress:
    return type(address)(_gateway(address)[0])
