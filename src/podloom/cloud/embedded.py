"""Child resources kept inside their parent's document: subnets in a VNet, node pools in a cluster.

The problem: ARM shows such a child both inside the parent and as a resource of its own, and either may be written.
Two copies would disagree, so there is one, the parent's list; the child is a view of one entry, and writing the
child is writing the parent.
"""

from __future__ import annotations

from dataclasses import replace

from podloom.cloud import refusals
from podloom.cloud.rules import Rules
from podloom.cloud.store import Row
from podloom.model.arm import ResourceId
from podloom.render.arm import Json


def list_name(rules: Rules, id_: ResourceId) -> str:
    """The parent's property that holds children of this type."""
    return rules.embedded[id_.type.rsplit("/", 1)[-1].lower()]


def views(row: Row, rules: Rules, type_: str) -> list[Json]:
    """Documents of all children of `type_`."""
    segment = type_.rsplit("/", 1)[-1]
    items = row.properties.get(rules.embedded[segment.lower()]) or []
    return [_document(row, row.id.child(segment, str(item.get("name"))), item) for item in items]


def view(row: Row, rules: Rules, id_: ResourceId) -> Json:
    """One child's document; Refusal 404 when the parent has no such entry."""
    item = _entry(row.properties.get(list_name(rules, id_)), id_)
    if item is None:
        raise refusals.not_found(id_)
    return _document(row, id_, item)


def has_child(row: Row, rules: Rules, id_: ResourceId) -> bool:
    return _entry(row.body["properties"].get(list_name(rules, id_)), id_) is not None


def with_child(row: Row, rules: Rules, id_: ResourceId, wish: Json) -> Json:
    """The parent's wish with this child's wish in its place, or at the end."""
    name = list_name(rules, id_)
    items: list[Json] = list(row.body["properties"].get(name) or [])
    old = _entry(items, id_)
    properties = wish.get("properties") or {}
    if not isinstance(properties, dict):
        raise refusals.malformed("The property 'properties' must be an object.", "properties")
    entry_name = id_.name if old is None else str(old["name"])
    entry = {"name": entry_name, **(properties if rules.flat_children else {"properties": properties})}
    places = [entry if item is old else item for item in items]
    return _wish(row, name, places if old is not None else [*items, entry])


def without_child(row: Row, rules: Rules, id_: ResourceId) -> Json:
    """The parent's wish without this child."""
    name = list_name(rules, id_)
    items: list[Json] = list(row.body["properties"].get(name) or [])
    gone = _entry(items, id_)
    return _wish(row, name, [item for item in items if item is not gone])


def _wish(row: Row, name: str, items: list[Json]) -> Json:
    return {**row.body, "properties": {**row.body["properties"], name: items}}


def _entry(items: list[Json] | None, id_: ResourceId) -> Json | None:
    wanted = id_.name.lower()
    return next((item for item in items or [] if str(item.get("name")).lower() == wanted), None)


def _document(row: Row, id_: ResourceId, item: Json) -> Json:
    id_ = replace(id_, subscription=row.id.subscription, group=row.id.group, names=(*row.id.names, str(item["name"])))
    nested = item.get("properties")
    properties = nested if isinstance(nested, dict) else {k: v for k, v in item.items() if k != "name"}
    return {"id": str(id_), "name": item["name"], "type": id_.type, "properties": properties}
