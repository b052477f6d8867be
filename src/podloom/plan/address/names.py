"""Names and places: what Azure accepts as the name of a group, a cluster, a pool, and as a location."""

from __future__ import annotations

import re
from collections.abc import Iterable

from podloom.model.arm import ResourceId
from podloom.model.findings import Finding

_GROUP = re.compile(r"^[-\w._()]{0,89}[-\w_()]$")
_CLUSTER = re.compile(r"^[a-zA-Z0-9]$|^[a-zA-Z0-9][-_a-zA-Z0-9]{0,61}[a-zA-Z0-9]$")
_NETWORK = re.compile(r"^[a-zA-Z0-9]([-\w.]{0,78}\w)?$", re.ASCII)
_LABEL_VALUE = re.compile(r"^[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$")
_POOL = re.compile(r"^[a-z][a-z0-9]{0,11}$")

_LOCATIONS = """
    australiacentral australiacentral2 australiaeast australiasoutheast austriaeast belgiumcentral brazilsouth
    brazilsoutheast canadacentral canadaeast centralindia centralus chilecentral eastasia eastus eastus2
    francecentral francesouth germanynorth germanywestcentral indonesiacentral israelcentral italynorth japaneast
    japanwest jioindiacentral jioindiawest koreacentral koreasouth malaysiawest mexicocentral newzealandnorth
    northcentralus northeurope norwayeast norwaywest polandcentral qatarcentral southafricanorth southafricawest
    southcentralus southeastasia southindia spaincentral swedencentral swedensouth switzerlandnorth switzerlandwest
    uaecentral uaenorth uksouth ukwest westcentralus westeurope westindia westus westus2 westus3
"""
LOCATIONS = frozenset(_LOCATIONS.split())


def normal_location(text: str) -> str:
    """A location as Azure stores it: "West Central US" is westcentralus."""
    return "".join(str(text).split()).lower()


def check_location(location: str) -> list[Finding]:
    """LocationRequired or LocationNotAvailable for what is no Azure region."""
    if location in LOCATIONS:
        return []
    if not location:
        message = "The location property is required for this definition."
        return [Finding("LocationRequired", message, "location", fix="give --location, e.g. westcentralus")]
    near = sorted(name for name in LOCATIONS if location in name or name in location)[:5]
    fix = f"did you mean {', '.join(near)}?" if near else "use an Azure region, e.g. westcentralus or westeurope"
    message = f"The provided location '{location}' is not available for resource groups and resources."
    return [Finding("LocationNotAvailableForResourceGroup", message, "location", fix=fix)]


def check_group_name(name: str) -> list[Finding]:
    if _GROUP.match(name):
        return []
    message = (
        f"The resource group name '{name}' is invalid: 1 to 90 letters, digits, '-', '_', '.', '(' and ')', not"
        " ending with a dot."
    )
    return [Finding("InvalidResourceGroup", message, "resourceGroup")]


def check_cluster_name(name: str) -> list[Finding]:
    if _CLUSTER.match(name):
        return []
    message = (
        f"The value of parameter resourceName '{name}' is invalid: 1 to 63 letters, digits, '-' and '_', starting"
        " and ending with a letter or digit."
    )
    return [Finding("InvalidParameter", message, "name")]


def check_network_name(name: str, target: str) -> list[Finding]:
    if _NETWORK.match(name):
        return []
    message = (
        f"Resource name '{name}' is invalid: up to 80 letters, digits, '-', '_' and '.', starting with a letter or"
        " digit."
    )
    return [Finding("InvalidResourceName", message, target)]


def check_pool_name(name: str, windows: bool, target: str) -> list[Finding]:
    """Pool names: ^[a-z][a-z0-9]{0,11}$, on Windows at most 6 characters."""
    longest = 6 if windows else 12
    if _POOL.match(name) and len(name) <= longest:
        return []
    message = (
        f"The value of parameter agentPoolProfile.name '{name}' is invalid: a lower-case letter followed by lower-case"
        f" letters and digits, at most {longest} characters."
    )
    return [Finding("InvalidParameter", message, target)]


def check_overlay_subnet_names(subnet: ResourceId) -> list[Finding]:
    """OVL-19: with own subnets their names become label values of nodes."""
    parts: Iterable[tuple[str, str]] = (
        ("subnet", subnet.name),
        ("virtual network", subnet.parent.name),
        ("virtual network's resource group", subnet.group),
    )
    return [
        Finding(
            "InvalidSubnetNameForOverlay",
            f"The {what} name '{name}' cannot be used with overlay: at most 63 characters, and a valid label value.",
            "agentPoolProfile.vnetSubnetID",
            "OVL-19",
            f"use a {what} whose name has at most 63 letters, digits, '-', '_' and '.'",
        )
        for what, name in parts
        if not _LABEL_VALUE.match(name)
    ]
