"""Resources in the shape az prints them.

The problem: az does not print what ARM answers: it lifts `properties` to the top, tells the resource group, and
sorts keys. Scripts with --query depend on that shape. So the documents are reshaped here, and nowhere else.
"""

from __future__ import annotations

from typing import Any

from podloom.render.arm import Json


def flattened(resource: Json) -> Json:
    """A resource with its properties on top, at every level that has an id, and `resourceGroup` told."""
    flat = {key: value for key, value in resource.items() if key != "properties"}
    flat |= resource.get("properties") or {}
    shaped = {key: _shape(value) for key, value in flat.items()}
    group = group_of(str(resource.get("id", "")))
    if group:
        shaped["resourceGroup"] = group
    return shaped


def cluster_shape(resource: Json) -> Json:
    """A managed cluster as `az aks show` prints it; its node pools are flat already."""
    flat = {key: value for key, value in resource.items() if key != "properties"}
    empty: Json = {"tags": None, "identity": None, "fqdn": None, "linuxProfile": None}
    return {**empty, **flat, **resource.get("properties", {}), "resourceGroup": group_of(resource["id"])}


def group_shape(resource: Json) -> Json:
    """A resource group as `az group show` prints it: not flattened."""
    state = resource.get("properties", {}).get("provisioningState")
    return {
        "id": resource["id"],
        "location": resource.get("location"),
        "managedBy": resource.get("managedBy"),
        "name": resource["name"],
        "properties": {"provisioningState": state},
        "tags": resource.get("tags"),
        "type": resource["type"],
    }


def group_of(id_: str) -> str:
    """The resource group in an identifier, "" when there is none."""
    parts = id_.split("/")
    lower = [part.lower() for part in parts]
    if "resourcegroups" not in lower:
        return ""
    place = lower.index("resourcegroups") + 1
    return parts[place] if place < len(parts) else ""


def _shape(value: Any) -> Any:
    if isinstance(value, list):
        return [_shape(item) for item in value]
    if isinstance(value, dict):
        if "id" in value or "properties" in value:
            return flattened(value)
        return {key: _shape(item) for key, item in value.items()}
    return value
