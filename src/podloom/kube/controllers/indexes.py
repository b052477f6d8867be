"""The indexes controllers share: by controlling owner, by namespace, by node, by any owner."""

from __future__ import annotations

from podloom.drivers.kube import View
from podloom.model.kube import Object, owner_of


def index_by_owner(view: View) -> None:
    """`owner`: uid of the controlling owner; `orphan`: namespace of objects without one."""
    view.index("owner", _owner)
    view.index("orphan", lambda obj: () if owner_of(obj) else (obj["metadata"].get("namespace", ""),))


def index_by_namespace(view: View) -> None:
    """`namespace`: the namespace."""
    view.index("namespace", lambda obj: (obj["metadata"].get("namespace", ""),))


def index_by_node(view: View) -> None:
    """`node`: spec.nodeName of bound pods; `` for unbound ones."""
    view.index("node", lambda obj: (obj["spec"].get("nodeName") or "",))


def _owner(obj: Object) -> tuple[str, ...]:
    ref = owner_of(obj)
    return (ref["uid"],) if ref else ()
