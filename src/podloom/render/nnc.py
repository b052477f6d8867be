"""NodeNetworkConfig objects and their definition (azure-behaviour.md section 4), as the operator writes them.

The claim of a range is an annotation of the object, because it must exist from the moment the object does, while a
status can only be written afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from podloom.model.nnc import ERROR, GROUP, NAMESPACE, UPDATED, UPDATING, VERSION, Network

RANGES_ANNOTATION = "podloom.io/ranges"
_SPACE = uuid.UUID("8f2c1f0e-7a57-4b0e-9d0c-706f646c6f6d")


def render_nnc(node: str, ranges: Sequence[Network]) -> dict[str, Any]:
    """A new object that claims `ranges` for `node`; without ranges it claims nothing (exhaustion)."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "NodeNetworkConfig",
        "metadata": {
            "name": node,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.azure.com/podnetwork-type": "overlay"},
            "annotations": {RANGES_ANNOTATION: ",".join(map(str, ranges))} if ranges else {},
        },
        "spec": {"requestedIPCount": 0, "ipsNotInUse": []},
    }


def claimed_ranges(obj: Mapping[str, Any]) -> tuple[Network, ...]:
    """The ranges an object claims; of one without the annotation, those its status gives."""
    text = (obj["metadata"].get("annotations") or {}).get(RANGES_ANNOTATION, "")
    if text:
        return tuple(ip_network(part) for part in text.split(","))
    containers = (obj.get("status") or {}).get("networkContainers") or []
    return tuple(ip_network(item["primaryIP"]) for item in containers if item.get("primaryIP"))


def render_status(
    node: str,
    ranges: Sequence[Network],
    pod_cidrs: Sequence[Network],
    *,
    node_ip: str,
    subnet: str,
    trouble: str = "",
) -> dict[str, Any]:
    """The status: Error without ranges, Updating while there is `trouble`, else Updated."""
    state = ERROR if not ranges else UPDATING if trouble else UPDATED
    containers: list[dict[str, Any]] = [
        {
            "id": str(uuid.uuid5(_SPACE, f"{node}/{network}")),
            "assignmentMode": "static",
            "type": "overlay",
            "primaryIP": str(network),
            "subnetName": subnet,
            "subnetAddressSpace": str(cidr),
            "defaultGateway": "",
            "nodeIP": node_ip,
            "ipAssignments": [],
            "version": 0,
            "status": "Available" if state == UPDATED else "Pending",
        }
        for network, cidr in zip(ranges, pod_cidrs, strict=False)
    ]
    return {
        "assignedIPCount": sum(network.num_addresses for network in ranges),
        "status": state,
        "message": trouble,
        "scaler": {"batchSize": 0, "requestThresholdPercent": 0, "releaseThresholdPercent": 0, "maxIPCount": 250},
        "networkContainers": containers,
    }


def nnc_definition() -> dict[str, Any]:
    """The CustomResourceDefinition nodenetworkconfigs.acn.azure.com."""
    text, number = {"type": "string"}, {"type": "integer"}
    container = {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": text,
            "assignmentMode": {"type": "string", "enum": ["dynamic", "static"]},
            "type": {"type": "string", "enum": ["vnet", "vnetblock", "overlay"]},
            **dict.fromkeys(("primaryIP", "subnetName", "subnetAddressSpace", "defaultGateway", "nodeIP"), text),
            "defaultGatewayV6": text,
            "ipAssignments": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": text, "ip": text}},
            },
            "version": {"type": "integer", "format": "int64"},
            "status": text,
        },
    }
    status = {
        "type": "object",
        "properties": {
            "assignedIPCount": number,
            "status": {"type": "string", "enum": [UPDATING, UPDATED, ERROR]},
            "message": text,
            "scaler": {
                "type": "object",
                "properties": dict.fromkeys(
                    ("batchSize", "requestThresholdPercent", "releaseThresholdPercent", "maxIPCount"), number
                ),
            },
            "networkContainers": {"type": "array", "items": container},
        },
    }
    spec = {
        "type": "object",
        "properties": {
            "requestedIPCount": {"type": "integer", "format": "int64", "default": 0, "minimum": 0},
            "ipsNotInUse": {"type": "array", "items": text},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"nodenetworkconfigs.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "NodeNetworkConfig",
                "listKind": "NodeNetworkConfigList",
                "plural": "nodenetworkconfigs",
                "singular": "nodenetworkconfig",
                "shortNames": ["nnc"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "apiVersion": text,
                                "kind": text,
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


def _columns() -> list[dict[str, Any]]:
    first = ".status.networkContainers[0]"
    return [
        {"name": "Range", "type": "string", "jsonPath": f"{first}.primaryIP"},
        {"name": "Node IP", "type": "string", "jsonPath": f"{first}.nodeIP"},
        {"name": "Type", "type": "string", "jsonPath": f"{first}.type", "priority": 1},
        {"name": "Status", "type": "string", "jsonPath": ".status.status"},
        {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
