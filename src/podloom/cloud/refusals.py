"""The refusals every type shares, in the words users of Azure know."""

from __future__ import annotations

from podloom.model.arm import MANAGED_CLUSTERS, ResourceId
from podloom.model.findings import Finding, Refusal


def not_found(id_: ResourceId) -> Refusal:
    """404 for a resource whose group exists."""
    kind = f"{id_.type}/{'/'.join(id_.names)}" if id_.names else id_.type
    message = f"The Resource '{kind}' under resource group '{id_.group}' was not found."
    return Refusal([Finding("ResourceNotFound", message, str(id_), fix="check the name and the group", status=404)])


def group_not_found(group: str) -> Refusal:
    message = f"Resource group '{group}' could not be found."
    fix = f"podloom group create --name {group} --location westcentralus"
    return Refusal([Finding("ResourceGroupNotFound", message, "resourceGroup", fix=fix, status=404)])


def group_deleting(group: str) -> Refusal:
    message = f"The resource group '{group}' is in deprovisioning state and cannot perform this operation."
    fix = "wait until it is gone, or use another group"
    return Refusal([Finding("ResourceGroupBeingDeleted", message, "resourceGroup", fix=fix, status=409)])


def subscription_not_found(subscription: str) -> Refusal:
    message = f"The subscription '{subscription}' could not be found."
    return Refusal([Finding("SubscriptionNotFound", message, fix="`podloom account show` names it", status=404)])


def in_progress(id_: ResourceId, verb: str) -> Refusal:
    """409: one operation at a time on one resource."""
    message = (
        f"Operation is not allowed because there's an in progress {verb} operation on the resource"
        f" '{id_.name}' in resource group '{id_.group}'."
    )
    fix = "wait until it has ended (`show` tells), or delete the resource"
    return Refusal([Finding("OperationNotAllowed", message, str(id_), fix=fix, status=409)])


def exists(id_: ResourceId) -> Refusal:
    """412: a create meets another resource of that name."""
    kind = "cluster" if id_.type == MANAGED_CLUSTERS else "resource"
    message = f"The {kind} '{id_.name}' under resource group '{id_.group}' already exists with other settings."
    fix = "use another name, or change or delete the one that exists"
    return Refusal([Finding("ResourceAlreadyExists", message, str(id_), fix=fix, status=412)])


def unknown_type(type_: str) -> Refusal:
    message = f"The resource type '{type_}' could not be found in the namespaces this cloud serves."
    return Refusal([Finding("InvalidResourceType", message, type_, status=404)])


def malformed(message: str, target: str = "") -> Refusal:
    return Refusal([Finding("InvalidRequestContent", message, target)])
