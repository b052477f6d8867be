"""ARM documents for tests of the fabric, as short as they can be while being the cloud's shape."""

from __future__ import annotations

from typing import Any

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers"
NETWORK = f"{GROUP}/Microsoft.Network"
Json = dict[str, Any]


def _document(kind: str, resource_id: str, properties: Json) -> Json:
    said = {"provisioningState": "Creating", "podloom": {"generation": 1}}
    return {"id": resource_id, "type": kind, "name": resource_id.rsplit("/", 1)[-1], "properties": properties | said}


def vnet(name: str, prefix: str, **subnets: str) -> Json:
    resource_id = f"{NETWORK}/virtualNetworks/{name}"
    children = [{"name": n, "properties": {"addressPrefixes": [p]}} for n, p in subnets.items()]
    properties = {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": children}
    return _document("Microsoft.Network/virtualNetworks", resource_id, properties)


def nic(name: str, vnet_name: str, subnet: str, address: str, mac: str = "") -> Json:
    subnet_id = f"{NETWORK}/virtualNetworks/{vnet_name}/subnets/{subnet}"
    config = {"primary": True, "privateIPAddress": address, "subnet": {"id": subnet_id}}
    properties = {
        "macAddress": mac,
        "ipConfigurations": [{"name": "ipconfig1", "properties": config}],
        "virtualMachine": {"id": f"{GROUP}/Microsoft.Compute/virtualMachines/{name}-vm"},
    }
    return _document("Microsoft.Network/networkInterfaces", nic_id(name), properties)


def nic_id(name: str) -> str:
    return f"{NETWORK}/networkInterfaces/{name}"


def vnet_id(name: str) -> str:
    return f"{NETWORK}/virtualNetworks/{name}"


def domain_id(name: str) -> str:
    return f"{GROUP}/Podloom.Network/routingDomains/{name}"


def domain(name: str, vnet_name: str, *cidrs: str) -> Json:
    properties = {"virtualNetwork": {"id": vnet_id(vnet_name)}, "podCidrs": list(cidrs)}
    return _document("Podloom.Network/routingDomains", domain_id(name), properties)


def route(domain_name: str, name: str, prefix: str, hop: str) -> Json:
    properties = {"addressPrefixes": [prefix], "nextHopIpAddress": hop}
    return _document("Podloom.Network/routingDomains/routes", f"{domain_id(domain_name)}/routes/{name}", properties)


def public(name: str, address: str, fqdn: str = "") -> Json:
    properties: Json = {"ipAddress": address, "dnsSettings": {"fqdn": fqdn}}
    return _document("Microsoft.Network/publicIPAddresses", f"{NETWORK}/publicIPAddresses/{name}", properties)


def two_overlays() -> list[Json]:
    """Two networks of equal ranges; in the first two overlay clusters of equal pod ranges, and one more machine."""
    return [
        vnet("v1", "10.224.0.0/12", aks="10.224.0.0/16", other="10.225.0.0/16"),
        vnet("v2", "10.224.0.0/12", aks="10.224.0.0/16"),
        nic("a1", "v1", "aks", "10.224.0.4", "00-0D-3A-00-00-01"),
        nic("a2", "v1", "aks", "10.224.0.5"),
        nic("b1", "v1", "other", "10.225.0.4"),
        nic("b2", "v1", "aks", "10.224.0.6"),
        nic("c", "v1", "aks", "10.224.0.7"),
        nic("z", "v2", "aks", "10.224.0.4"),
        domain("da", "v1", "192.168.0.0/16"),
        domain("db", "v1", "192.168.0.0/16"),
        route("da", "a1", "192.168.0.0/24", "10.224.0.4"),
        route("da", "a2", "192.168.1.0/24", "10.224.0.5"),
        route("db", "b1", "192.168.0.0/24", "10.225.0.4"),
        route("db", "b2", "192.168.1.0/24", "10.224.0.6"),
        public("api", "198.19.1.1", "api.example.test"),
    ]
