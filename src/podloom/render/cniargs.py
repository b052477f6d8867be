"""What a runtime asks of one attachment beyond the configuration: CNI_ARGS, runtimeConfig, prevResult.

The problem: a request that is silently not fulfilled is a lie to whoever made it. So everything asked for is either
honoured (addresses, DNS), another plugin's work in the chain (port mappings), or refused by name: an
unknown CNI_ARGS name unless IgnoreUnknown is set (CNI conventions, "CNI_ARGS"), any other runtimeConfig with a value
(specification, error 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import orjson

from podloom.model.cni import CniInterface, InvalidEnvironment, IPAddress, UnsupportedField
from podloom.model.errors import Rejected

_KNOWN_ARGS = frozenset(
    {"IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID", "K8S_POD_INFRA_CONTAINER_ID", "IP", "MAC"}
)
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_SERVED = frozenset({"portMappings", "dns", "ips"})
_DNS = (("servers", "nameservers"), ("searches", "search"), ("options", "options"))
_INSTEAD = {
    "bandwidth": "give the capability bandwidth to the bandwidth plugin, after this one in the list",
    "mac": "leave the capability mac out: MAC addresses follow from the container's id",
}
_READ_CONFIG = "read the network configuration"


def parse_args(text: str) -> dict[str, str]:
    """CNI_ARGS (`K=V;K=V`) as a mapping, in any order; raises InvalidEnvironment on a part without `=`."""
    pairs = [part.partition("=") for part in text.split(";") if part]
    for name, separator, _ in pairs:
        if not separator:
            raise _bad_args(f"has the part {name!r}", "separate NAME=value pairs by semicolons")
    return {name: value for name, _, value in pairs}


def check_args(args: Mapping[str, str]) -> None:
    """Refuse (InvalidEnvironment) names that nobody here knows, unless IgnoreUnknown is set, and MAC."""
    flag = args.get("IgnoreUnknown", "0").lower()
    if flag not in _FLAGS:
        raise _bad_args(f"has IgnoreUnknown={flag!r}", "set it to 1 or 0")
    unknown = sorted(set(args) - _KNOWN_ARGS)
    if unknown and not _FLAGS[flag]:
        raise _bad_args(f"has {', '.join(unknown)}, which is not known here", "leave it out or add IgnoreUnknown=1")
    if args.get("MAC"):
        raise _bad_args(f"has MAC={args['MAC']!r}", "leave it out: MAC addresses follow from the container's id")


def wanted_addresses(args: Mapping[str, str], config: Mapping[str, Any]) -> tuple[IPAddress, ...]:
    """Addresses asked for, runtimeConfig.ips before IP= of CNI_ARGS. Raises Rejected, InvalidEnvironment."""
    items = runtime_config(config).get("ips") or []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Rejected(_READ_CONFIG, f"runtimeConfig.ips is {items!r}", "list addresses as texts")
    try:
        return tuple(ip_address(item.partition("/")[0]) for item in items) or tuple(
            ip_address(item.strip().partition("/")[0]) for item in args.get("IP", "").split(",") if item.strip()
        )
    except ValueError as error:
        if items:
            raise Rejected(_READ_CONFIG, f"runtimeConfig.ips: {error}", "list addresses such as 192.168.1.9") from None
        raise _bad_args(f"has IP={args['IP']!r}", "give addresses separated by commas") from None


def check_runtime_config(config: Mapping[str, Any]) -> None:
    """Refuse (UnsupportedField) each runtimeConfig with a value that is not served here."""
    for key, value in runtime_config(config).items():
        if key in _SERVED or not value or (isinstance(value, dict) and not any(value.values())):
            continue
        raise UnsupportedField(
            _READ_CONFIG,
            f"runtimeConfig.{key} is {orjson.dumps(value).decode()}, which this plugin does not serve",
            _INSTEAD.get(key, f"leave the capability {key} out of this plugin's configuration"),
        )


def wanted_dns(config: Mapping[str, Any]) -> dict[str, Any]:
    """The result's DNS: the configuration's, with what runtimeConfig.dns sets in its place. Raises Rejected."""
    dns = config.get("dns") or {}
    asked = runtime_config(config).get("dns") or {}
    if not isinstance(dns, dict) or not isinstance(asked, dict):
        raise Rejected(_READ_CONFIG, "dns is not an object", "give nameservers, domain, search, options")
    lists = {ours: asked[theirs] for theirs, ours in _DNS if asked.get(theirs)}
    if not all(isinstance(item, list) and all(isinstance(text, str) for text in item) for item in lists.values()):
        raise Rejected(_READ_CONFIG, f"runtimeConfig.dns is {asked!r}", "give servers, searches and options as lists")
    return {**dns, **lists}


def runtime_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration's runtimeConfig; raises Rejected when it is no object."""
    found = config.get("runtimeConfig") or {}
    if not isinstance(found, dict):
        raise Rejected(_READ_CONFIG, "runtimeConfig is not an object", "pass what the runtime was asked for by name")
    return found


def previous_result(config: Mapping[str, Any]) -> tuple[frozenset[str], tuple[CniInterface, ...]]:
    """Addresses (without prefix length) and interfaces of prevResult, of any version's shape. Raises Rejected."""
    previous = config.get("prevResult") or {}
    try:
        items = [item.get("address", "") for item in previous.get("ips") or ()]
        items += [(previous.get(key) or {}).get("ip", "") for key in ("ip4", "ip6")]
        addresses = frozenset(item.partition("/")[0] for item in items if item)
        interfaces = tuple(
            CniInterface(str(item["name"]), str(item.get("mac") or ""), str(item.get("sandbox") or ""))
            for item in previous.get("interfaces") or ()
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise Rejected("read prevResult", f"malformed: {error}", "pass the result of the ADD as it was") from None
    return addresses, interfaces


def _bad_args(found: str, remedy: str) -> InvalidEnvironment:
    return InvalidEnvironment("read CNI_ARGS", found, remedy, target="CNI_ARGS")
