"""Network interfaces: addresses from their subnets, a MAC address, realised as a veth pair by the fabric."""

from __future__ import annotations

import hashlib
import ipaddress

from podloom.cloud.addresses import assign_dynamic, assign_static
from podloom.cloud.rules import Rules
from podloom.cloud.state import parse_quietly, pool_key, prefixes, subnet_prefixes
from podloom.cloud.store import Row, Store
from podloom.model.arm import NETWORK_INTERFACES, ROUTING_DOMAINS, SUBNETS, ResourceId
from podloom.model.findings import Finding
from podloom.plan.address.names import normal_location
from podloom.render.arm import Json, pick

_MAC_POOL = "mac"
_MICROSOFT_OUI = "00-0D-3A"


class NetworkInterfaces(Rules):
    """Each ipConfiguration takes one address of one subnet, static or dynamic, and keeps it for its life."""

    type = NETWORK_INTERFACES
    realised_by = "fabric"
    shape = {  # noqa: RUF012
        "ipConfigurations": [
            {
                "name": str,
                "properties": {
                    "primary": bool,
                    "subnet": {"id": str},
                    "privateIPAddress": str,
                    "privateIPAddressVersion": str,
                    "privateIPAllocationMethod": str,
                },
            }
        ]
    }

    def prepare(self, id_: ResourceId, wish: Json, old: Row | None) -> tuple[Json, list[Finding]]:
        group = self.store.get(id_.group_id.key)
        location = normal_location(wish.get("location") or (group.body["location"] if group else ""))
        properties = {**wish["properties"], "macAddress": mac_of(self.store, id_)}
        configs = properties.get("ipConfigurations") or []
        findings: list[Finding] = []
        if not configs:
            message = f"Network interface {id_.name} must have one or more IP configurations."
            findings.append(Finding("NetworkInterfaceMustHaveIpConfigurations", message, "ipConfigurations"))
        findings += _repeated_names(configs)
        if findings:
            return wish, findings
        kept: set[tuple[str, str]] = {(_MAC_POOL, "")}
        prepared = [self._config(id_, config, index == 0, kept, findings) for index, config in enumerate(configs)]
        self.store.free_except(id_.key, kept)
        return {**wish, "location": location, "properties": {**properties, "ipConfigurations": prepared}}, findings

    def goes_with(self, row: Row) -> list[Row]:
        """Routes of overlay domains to it: who gets its address next must not get a node's pods (OVL-04)."""
        configs = [config["properties"] for config in row.body["properties"].get("ipConfigurations") or []]
        networks = {ResourceId.parse(config["subnet"]["id"]).parent.key for config in configs}
        addresses = {config["privateIPAddress"] for config in configs}
        routes = []
        for domain in self.store.of_type(ROUTING_DOMAINS):
            if pick(domain.body, "properties", "virtualNetwork", "id", default="").lower() in networks:
                routes += self.store.children(domain.id.key)
        return [route for route in routes if route.body["properties"].get("nextHopIpAddress") in addresses]

    def _config(
        self, id_: ResourceId, config: Json, first: bool, kept: set[tuple[str, str]], findings: list[Finding]
    ) -> Json:
        """One ipConfiguration with its address; remembers what it holds in `kept`, mistakes in `findings`."""
        name = str(config.get("name") or "ipconfig1")
        target = f"ipConfigurations.{name}"
        wanted = {"primary": first, **(config.get("properties") or {})}
        wanted.pop("provisioningState", None)
        wanted.setdefault("privateIPAddressVersion", "IPv4")
        wanted.setdefault("privateIPAllocationMethod", "Dynamic")
        subnet, ranges, finding = self._subnet(wanted, target)
        if subnet is None or finding is not None:
            findings.extend([finding] if finding else [])
            return config
        pool = pool_key(subnet)
        kept.add((pool, name))
        if str(wanted["privateIPAllocationMethod"]).lower() == "static":
            text = str(wanted.get("privateIPAddress") or "")
            finding = assign_static(self.store, pool, ranges, id_.key, name, text=text, target=target)
        else:
            address = assign_dynamic(self.store, pool, ranges, id_.key, name)
            wanted["privateIPAddress"] = address
            finding = _full(subnet, ranges, target) if address is None else None
        findings.extend([finding] if finding else [])
        return {
            "name": name,
            "id": f"{id_}/ipConfigurations/{name}",
            "properties": {**wanted, "provisioningState": "Succeeded"},
        }

    def _subnet(
        self, wanted: Json, target: str
    ) -> tuple[ResourceId | None, list[ipaddress.IPv4Network | ipaddress.IPv6Network], Finding | None]:
        """The subnet an ipConfiguration names and its ranges of the wanted family."""
        text = str(pick(wanted, "subnet", "id", default=""))
        id_ = parse_quietly(text)
        if id_ is None or id_.type != SUBNETS:
            message = f"The subnet identifier '{text}' of {target} is malformed."
            return None, [], Finding("InvalidRequestFormat", message, f"{target}.subnet")
        vnet = self.store.get(id_.parent.key)
        subnets = pick(vnet.body if vnet else {}, "properties", "subnets", default=[])
        found = next((s for s in subnets if str(s["name"]).lower() == id_.name.lower()), None)
        if found is None or vnet is None or vnet.state == "Deleting":
            message = f"Resource {id_} referenced by {target} was not found."
            fix = "create the virtual network and its subnet first"
            return None, [], Finding("InvalidResourceReference", message, f"{target}.subnet", fix=fix)
        version = 6 if str(wanted["privateIPAddressVersion"]).lower() == "ipv6" else 4
        ranges = [r for r in prefixes(subnet_prefixes(found["properties"])) if r.version == version]
        if not ranges:
            message = f"Subnet {id_.name} has no IPv{version} range, which {target} wants."
            return None, [], Finding("NicSubnetFamilyMismatch", message, f"{target}.subnet", "DUAL-01")
        wanted["subnet"] = {**wanted["subnet"], "id": str(vnet.id.child("subnets", str(found["name"])))}
        return id_, ranges, None


def mac_of(store: Store, id_: ResourceId) -> str:
    """The interface's MAC address (Azure's spelling, 00-0D-3A-...): derived from its name, unique in the cloud."""
    held = store.address_of(_MAC_POOL, id_.key, "")
    salt = 0
    while held is None:
        digest = hashlib.sha256(f"{id_.key}#{salt}".encode()).hexdigest()[:6].upper()
        mac = f"{_MICROSOFT_OUI}-{digest[:2]}-{digest[2:4]}-{digest[4:]}"
        if store.owner_of(_MAC_POOL, mac) is None:
            store.take(_MAC_POOL, mac, id_.key, "")
            held = mac
        salt += 1
    return held


def _full(subnet: ResourceId, ranges: list[ipaddress.IPv4Network | ipaddress.IPv6Network], target: str) -> Finding:
    listed = ", ".join(map(str, ranges))
    message = f"Subnet {subnet} with address prefix {listed} does not have enough capacity for 1 IP addresses."
    fix = "use a larger or another subnet, or delete what uses this one"
    return Finding("SubnetIsFull", message, target, "PLAN-01", fix)


def _repeated_names(configs: list[Json]) -> list[Finding]:
    names = [str(config.get("name") or "ipconfig1").lower() for config in configs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    return [
        Finding("DuplicateResourceName", f"IP configuration '{name}' is given more than once.", "ipConfigurations")
        for name in repeated
    ]
