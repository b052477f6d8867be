"""Which Kind hooks serve a resource type.

The problem: the server meets a resource type and wants its hooks. A type without special rules gets the plain
hooks, so a new built-in resource works as soon as it is in the table.
"""

from __future__ import annotations

from podloom.kube.api.contract import Kind, ResourceType


def kind_for(type_: ResourceType) -> Kind:
    """The hooks of a built-in resource type."""
    kind = Kind()
    kind.type = type_
    return kind
