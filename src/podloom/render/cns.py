"""The node agent's HTTP API on the wire (azure-behaviour.md section 3).

The problem: the clients are Go programs, which read JSON names in any case and write them in several, and which the
answers must suit as they are. So requests are read by lower-cased names, and answers have the names and nesting that
the real agent has. A request is checked whole before anything is done.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from podloom.model.cni import Attachment, IPAddress
from podloom.model.cns import AddressRequest, AddressState, HostFacts, ReturnCode
from podloom.model.errors import Rejected
from podloom.model.lease import Lease
from podloom.model.nnc import Network

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}\Z")
_NAME = re.compile(r"[a-zA-Z0-9._\-\(\) ]{0,253}\Z")
_IFNAME = re.compile(r"[^/:\s]{1,15}\Z")
_DEFAULT_IFNAME = "eth0"
_NEVER = "0001-01-01T00:00:00Z"
_ATTEMPT = "read the request"
_ENDPOINT_FIELDS = {
    name.lower(): name
    for name in ("HnsEndpointID", "HnsNetworkID", "HostVethName", "MacAddress", "NetworkContainerID", "NICType")
}


def parse_address_request(body: bytes) -> AddressRequest:
    """A request of requestipconfigs, releaseipconfigs or their older forms; raises Rejected naming the field.

    The pod's key is infraContainerID and ifname (eth0 when left out); podInterfaceID where there is no container; the
    pod's name where there is neither.
    """
    fields = _object(body)
    context = _context(fields.get("orchestratorcontext"))
    name, namespace = (_text(context, key) for key in ("podname", "podnamespace"))
    for value in (name, namespace):
        if not _NAME.match(value):
            raise Rejected(_ATTEMPT, f"orchestratorContext names {value!r}", "use letters, digits and ._-() ")
    container = _text(fields, "infracontainerid") or _text(fields, "podinterfaceid")
    container = container or (f"{namespace}.{name}" if name else "")
    if not _ID.match(container):
        raise Rejected(_ATTEMPT, f"infraContainerID and podInterfaceID give {container!r}", "name the pod's container")
    ifname = _text(fields, "ifname") or _DEFAULT_IFNAME
    if not _IFNAME.match(ifname):
        raise Rejected(_ATTEMPT, f"ifname is {ifname!r}", "set an interface name of 1 to 15 characters")
    return AddressRequest(Attachment(container, ifname), namespace, name or container, _wanted(fields))


def parse_state_filter(body: bytes) -> frozenset[AddressState]:
    """The states that /debug/ipaddresses is asked for, all when none is named; raises Rejected."""
    asked = _object(body).get("ipconfigstatefilter") if body.strip() else None
    try:
        return frozenset(map(AddressState, asked or AddressState))
    except (ValueError, TypeError):
        raise Rejected(
            _ATTEMPT, f"IPConfigStateFilter is {asked!r}", f"list some of {', '.join(AddressState)}"
        ) from None


def parse_endpoint_patch(body: bytes) -> dict[str, dict[str, str]]:
    """What a client records of its interfaces, by interface name; raises Rejected."""
    try:
        found = orjson.loads(body)
        return {
            ifname: {
                _ENDPOINT_FIELDS[key.lower()]: str(value)
                for key, value in (fields or {}).items()
                if key.lower() in _ENDPOINT_FIELDS and value
            }
            for ifname, fields in found.items()
            if _IFNAME.match(ifname)
        }
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise Rejected(_ATTEMPT, f"not endpoints by interface name: {error}", "send an object of objects") from None


def response(code: ReturnCode = ReturnCode.SUCCESS, message: str = "") -> dict[str, Any]:
    """The `response` every answer has."""
    return {"ReturnCode": int(code), "Message": message}


def address_info(address: IPAddress, network: Network, gateway: str, host: HostFacts) -> dict[str, Any]:
    """One entry of podIPInfo; `network` is what the address counts as part of (the cluster's pod range)."""
    subnet = {"IPAddress": str(address), "PrefixLength": network.prefixlen}
    return {
        "PodIPConfig": subnet,
        "NetworkContainerPrimaryIPConfig": {
            "IPSubnet": {"IPAddress": str(network.network_address), "PrefixLength": network.prefixlen},
            "DNSServers": [],
            "GatewayIPAddress": gateway,
        },
        "HostPrimaryIPInfo": {"Gateway": host.gateway, "PrimaryIP": host.address, "Subnet": host.subnet},
        "NICType": "InfraNIC",
        "MacAddress": "",
        "SkipDefaultRoutes": False,
        "Routes": [],
    }


def endpoint_info(leases: Iterable[Lease], recorded: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """`endpointInfo` of one container: the addresses of its interfaces with what was recorded of them."""
    found = sorted(leases, key=lambda lease: lease.attachment.ifname)
    empty = dict.fromkeys(_ENDPOINT_FIELDS.values(), "")
    interfaces = {
        lease.attachment.ifname: {
            "IPv4": [_go_network(item) for item in lease.addresses if item.version == 4],
            "IPv6": [_go_network(item) for item in lease.addresses if item.version == 6],
            **empty,
            **recorded.get(lease.attachment.ifname, {}),
        }
        for lease in found
    }
    return {"PodName": found[0].pod_name, "PodNamespace": found[0].pod_namespace, "IfnameToIPMap": interfaces}


def address_id(address: IPAddress) -> str:
    """The identifier of an address: a UUID that follows from it."""
    return str(uuid5(NAMESPACE_URL, f"ip:{address}"))


def pod_key(lease: Lease) -> str:
    """The real agent's interface id: eight characters of the container and the interface."""
    return f"{lease.attachment.container_id[:8]}-{lease.attachment.ifname}"


def address_status(address: IPAddress, lease: Lease | None, host: HostFacts) -> dict[str, Any]:
    """An address in the answers of /debug."""
    since = datetime.fromtimestamp(lease.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if lease else _NEVER
    pod = {
        "PodName": lease.pod_name,
        "PodNamespace": lease.pod_namespace,
        "PodInfraContainerID": lease.attachment.container_id,
        "PodInterfaceID": pod_key(lease),
    } if lease else None  # fmt: skip
    return {
        "ID": address_id(address),
        "IPAddress": str(address),
        "NCID": host.container_id,
        "LastStateTransition": since,
        "PodInfo": pod,
        "state": AddressState.ASSIGNED if lease else AddressState.AVAILABLE,
    }


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected(_ATTEMPT, f"not JSON: {error}", "send one JSON object") from None
    if not isinstance(found, dict):
        raise Rejected(_ATTEMPT, "not a JSON object", "send one JSON object")
    return {key.lower(): value for key, value in found.items()}


def _context(value: Any) -> dict[str, Any]:
    """orchestratorContext: an object, or (as some clients send it) its text."""
    if isinstance(value, str):
        return _object(value.encode()) if value else {}
    if value is not None and not isinstance(value, dict):
        raise Rejected(_ATTEMPT, "orchestratorContext is not an object", "send PodName and PodNamespace")
    return {key.lower(): item for key, item in (value or {}).items()}


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key) or ""
    if not isinstance(value, str):
        raise Rejected(_ATTEMPT, f"{key} is {value!r}", "send a text")
    return value


def _wanted(fields: Mapping[str, Any]) -> tuple[IPAddress, ...]:
    one = fields.get("desiredipaddress")
    asked = fields.get("desiredipaddresses") or ([one] if one else [])
    try:
        return tuple(ip_address(item) for item in asked if item)
    except (ValueError, TypeError) as error:
        raise Rejected(_ATTEMPT, f"desiredIPAddresses: {error}", "list addresses such as 192.168.1.9") from None


def _go_network(address: IPAddress) -> dict[str, str]:
    """Go's net.IPNet as its JSON package writes it: the mask's bytes in base 64."""
    size = 4 if isinstance(address, IPv4Address) else 16
    return {"IP": str(address), "Mask": base64.b64encode(b"\xff" * size).decode()}
