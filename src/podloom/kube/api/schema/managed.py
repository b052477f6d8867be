"""Who owns which field: metadata.managedFields kept as kube-apiserver keeps it.

The problem: every write changes ownership, and clients read it: kubectl apply --server-side, diff and conflict
messages depend on it. The rules are those of the field managers of apimachinery (util/managedfields) and of
structured-merge-diff (merge/update.go): an update owns what it changed and takes it from all others; an apply
owns what it applied, conflicts where another manager's field changes, and removes what it no longer applies and
nobody else owns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podloom.kube.api.contract import Cause, Object, StatusError
from podloom.kube.api.schema.decode import zero
from podloom.kube.api.schema.fieldset import (
    Trie,
    is_member,
    path_text,
    paths,
    recursive_difference,
    root_difference,
    root_intersection,
    root_union,
    with_named_fields,
)
from podloom.kube.api.schema.nodes import Node
from podloom.kube.api.schema.typed import check, compare, field_set, merge, remove

MAX_UPDATE_MANAGERS = 10
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_STRIP: Trie = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        **{
            f"f:{name}": {}
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
                "managedFields", "resourceVersion",
            )
        },
    },
}  # fmt: skip
_STRIPPED_META = frozenset(key[2:] for key in _STRIP["f:metadata"] if key != ".")


@dataclass(frozen=True)
class Manager:
    """The identity of an entry; an applier's does not include its apiVersion."""

    name: str
    operation: str
    version: str = ""
    subresource: str = ""

    def text(self) -> str:
        """How conflicts name it."""
        out = f'"{self.name}"'
        if self.subresource:
            out += f' with subresource "{self.subresource}"'
        return f"{out} using {self.version}" if self.operation == "Update" else out


@dataclass(frozen=True)
class Entry:
    """What a manager owns (version: the apiVersion of its paths) and when it last took something."""

    fields: Trie
    version: str
    time: str = ""


Managers = dict[Manager, Entry]


@dataclass(frozen=True)
class Writer:
    """Who writes, through which version and subresource of the type, and when."""

    name: str
    operation: str
    version: str
    subresource: str = ""
    now: str = ""

    @property
    def manager(self) -> Manager:
        version = self.version if self.operation == "Update" else ""
        return Manager(self.name or "unknown", self.operation, version, self.subresource)


# -- metadata.managedFields ------------------------------------------------------------------------------


def read(entries: Iterable[Mapping[str, Any]] | None) -> Managers:
    """Managers from their written form; raises ValueError for entries that are not well formed."""
    out: Managers = {}
    for index, entry in enumerate(entries or ()):
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        if operation not in {"Apply", "Update"}:
            raise ValueError("operation must be `Apply` or `Update`")
        if not version:
            raise ValueError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            raise ValueError(f"missing or invalid fieldsType in managed fields entry {index}")
        identity = "" if operation == "Apply" else version
        manager = Manager(entry.get("manager", ""), operation, identity, entry.get("subresource", ""))
        out[manager] = Entry(entry.get("fieldsV1") or {}, version, entry.get("time") or "")
    return out


def write(managers: Managers) -> list[Object]:
    """The entries, sorted as kube-apiserver sorts them: operation, time, manager, version, subresource."""
    order = sorted(managers, key=lambda m: (m.operation, managers[m].time, m.name, managers[m].version, m.subresource))
    out: list[Object] = []
    for manager in order:
        entry = managers[manager]
        item: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": entry.version}
        if entry.time:
            item["time"] = entry.time
        item["fieldsType"] = "FieldsV1"
        item["fieldsV1"] = entry.fields
        if manager.subresource:
            item["subresource"] = manager.subresource
        out.append(item)
    return out


def live_or_new(new: Object, old: Object | None, subresource: str) -> Managers:
    """The managers an update starts from: those the client sent on the main resource, else the stored ones."""
    sent = (new.get("metadata") or {}).get("managedFields")
    stored = ((old or {}).get("metadata") or {}).get("managedFields")
    if not subresource:
        if sent == [{}]:
            return {}
        if sent and sent != stored:
            try:
                return read(sent)
            except ValueError:
                pass
    return _read_or_none(stored)


def _read_or_none(entries: Iterable[Mapping[str, Any]] | None) -> Managers:
    try:
        return read(entries)
    except ValueError:
        return {}


def put(obj: Object, managers: Managers) -> None:
    """Write the managers into obj (or remove the field when there are none)."""
    if managers:
        obj["metadata"]["managedFields"] = write(managers)
    else:
        obj["metadata"].pop("managedFields", None)


# -- update ------------------------------------------------------------------------------------------------


def update(node: Node, new: Object, old: Object | None, writer: Writer, ignored: Trie) -> None:
    """Track an update of old (None: create) to new; sets new.metadata.managedFields."""
    managers = live_or_new(new, old, writer.subresource)
    if old is not None and not managers:
        put(new, {})
        return
    removed, changed = _changes(node, _empty(node, new) if old is None else old, new, ignored)
    own = root_difference(changed, _STRIP)
    out = _others_lose(managers, root_union(removed, changed))
    if own:
        before = out.get(writer.manager)
        fields = root_union(before.fields, own) if before else own
        out[writer.manager] = Entry(fields, writer.version, writer.now)
    put(new, _capped(out))


def _empty(node: Node, like: Object) -> Object:
    """The object a create is compared with: what the Go type writes when nothing is set."""
    if node.extra or node.kind != "struct" or node.go == "":
        return {"apiVersion": like.get("apiVersion"), "kind": like.get("kind")}
    if node.zero is None:
        node.zero = zero(node)
    empty: Object = node.zero
    return empty


def _changes(node: Node, old: Object, new: Object, ignored: Trie) -> tuple[Trie, Trie]:
    """compare of whole objects, leaving out what never has an owner and what the writer may not change."""
    removed, changed = compare(node, _tracked(old), _tracked(new))
    return recursive_difference(removed or {}, ignored), recursive_difference(changed or {}, ignored)


def _tracked(obj: Object) -> Object:
    out = {key: part for key, part in obj.items() if key not in {"apiVersion", "kind"}}
    meta = out.get("metadata") or {}
    out["metadata"] = {key: part for key, part in meta.items() if key not in _STRIPPED_META}
    return out


def _others_lose(managers: Managers, lost: Trie) -> Managers:
    out: Managers = {}
    for manager, entry in managers.items():
        rest = root_difference(entry.fields, lost)
        if rest:
            out[manager] = entry if rest is entry.fields else Entry(rest, entry.version, entry.time)
    return out


def _capped(managers: Managers) -> Managers:
    """At most ten Update managers: the oldest of one version merge into "ancient-changes"."""
    updaters = [m for m in managers if m.operation == "Update"]
    if len(updaters) <= MAX_UPDATE_MANAGERS:
        return managers
    updaters.sort(key=lambda m: (managers[m].time, m.name, m.version, m.subresource))
    left = len(updaters)
    first: dict[str, Manager] = {}
    for manager in updaters:
        if left <= MAX_UPDATE_MANAGERS:
            break
        entry = managers[manager]
        if entry.version not in first:
            first[entry.version] = manager
            continue
        bucket = Manager("ancient-changes", "Update", entry.version)
        kept = managers.get(bucket) or managers.pop(first[entry.version])
        fields = root_union(entry.fields, kept.fields)
        del managers[manager]
        managers[bucket] = Entry(fields, entry.version, entry.time)
        left -= 1
    return managers


# -- apply -------------------------------------------------------------------------------------------------


@dataclass
class Conflict:
    """A field of another manager that an apply would change."""

    manager: Manager
    path: tuple[str, ...]


class Conflicts(Exception):
    """The conflicts of an apply that was not forced."""

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__(f"{len(conflicts)} conflicts")
        self.conflicts = conflicts

    def status(self) -> StatusError:
        """409 with a cause per field."""
        causes = [
            Cause("FieldManagerConflict", f"conflict with {c.manager.text()}", path_text(c.path))
            for c in self.conflicts
        ]
        return StatusError(409, "Conflict", self._message(), causes=causes)

    def _message(self) -> str:
        if len(self.conflicts) == 1:
            one = self.conflicts[0]
            return f"Apply failed with 1 conflict: conflict with {one.manager.text()}: {path_text(one.path)}"
        lines = []
        for manager in dict.fromkeys(c.manager for c in self.conflicts):
            lines.append(f"conflicts with {manager.text()}:")
            lines += [f"- {path_text(c.path)}" for c in self.conflicts if c.manager == manager]
        return f"Apply failed with {len(self.conflicts)} conflicts: " + "\n".join(lines)


def apply(
    node: Node, live: Object, config: Object, writer: Writer, *, force: bool, ignored: Trie
) -> tuple[Object | None, Managers]:
    """The object after applying config to live (None: no change), and the managers then.

    Raises Conflicts unless forced. live's managedFields are read, the result has none.
    """
    managers = _read_or_none(live["metadata"].get("managedFields"))
    if not managers:
        managers = _before_first_apply(node, live, writer)
    me = writer.manager
    last = managers.get(me)
    live = _without_managed_fields(live)
    merged = merge(node, live, config)
    applied = recursive_difference(field_set(node, config), ignored)
    own = root_difference(applied, _STRIP)
    claims = {**managers, me: Entry(own, writer.version, last.time if last else "")}
    if last is not None and last.fields:
        everyone = [applied, *(entry.fields for entry in claims.values())]
        merged = _pruned(node, merged, everyone, last.fields)
    out = _taken(_changes(node, live, merged, ignored), claims, me, force)
    if not own:
        out.pop(me, None)
    if merged == live:
        return None, out
    if me in out:
        out[me] = Entry(own, writer.version, writer.now)
    return merged, out


def migrating_apply(
    node: Node, live: Object, config: Object, writer: Writer, *, force: bool, ignored: Trie
) -> tuple[Object | None, Managers]:
    """`apply` for the manager kubectl, which takes over from its own client-side apply.

    Conflicts on fields that still have the value of the last-applied annotation are no conflicts; the annotation, where
    there is one, follows the applied configuration, so that either way of applying can go on.
    """
    try:
        result, managers = apply(node, live, config, writer, force=force, ignored=ignored)
    except Conflicts as found:
        own = _last_applied(node, live)
        left = [c for c in found.conflicts if not _has(own, c.path)]
        if left:
            raise Conflicts(left) from found
        result, managers = apply(node, live, config, writer, force=True, ignored=ignored)
    merged = result if result is not None else live
    annotations = merged["metadata"].get("annotations") or {}
    if annotations.get(LAST_APPLIED):
        text = _configuration_text(config)
        if annotations[LAST_APPLIED] != text:
            meta = {**merged["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}
            result = {**merged, "metadata": meta}
    return result, managers


def _last_applied(node: Node, live: Object) -> Trie:
    """The fields of the last-applied annotation that the live object still has as they were applied."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        config = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(config, dict) or config.get("apiVersion") != live.get("apiVersion") or check(node, config):
        return {}
    removed, changed = compare(node, config, live)
    return root_difference(field_set(node, config), root_union(removed or {}, changed or {}))


def _has(trie: Trie, path: tuple[str, ...]) -> bool:
    for element in path:
        if element not in trie:
            return False
        trie = trie[element]
    return is_member(trie)


def _configuration_text(config: Object) -> str:
    """The configuration as the annotation holds it, without the annotation itself."""
    meta = config.get("metadata") or {}
    if LAST_APPLIED in (meta.get("annotations") or {}):
        kept = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
        config = {**config, "metadata": {**meta, "annotations": kept}}
    return orjson.dumps(config, option=orjson.OPT_SORT_KEYS).decode() + "\n"


def _without_managed_fields(obj: Object) -> Object:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def _before_first_apply(node: Node, live: Object, writer: Writer) -> Managers:
    """Owners of an object that has none: all its fields belong to "before-first-apply"."""
    if not live["metadata"].get("uid"):
        return {}
    _, changed = _changes(node, _empty(node, live), live, {})
    own = root_difference(changed, _STRIP)
    before = Writer("before-first-apply", "Update", writer.version, writer.subresource)
    return {before.manager: Entry(own, writer.version, writer.now)} if own else {}


def _taken(changes: tuple[Trie, Trie], claims: Managers, me: Manager, force: bool) -> Managers:
    removed, changed = changes
    conflicts = []
    for manager in sorted(claims, key=lambda m: (m.name, m.operation, m.version, m.subresource)):
        if manager != me:
            hit = root_intersection(claims[manager].fields, changed)
            conflicts += [Conflict(manager, path) for path in paths(hit)]
    if conflicts and not force:
        raise Conflicts(conflicts)
    others = {m: e for m, e in claims.items() if m != me}
    return {**_others_lose(others, root_union(removed, changed)), me: claims[me]}


def _pruned(node: Node, merged: Object, claims: Iterable[Trie], last: Trie) -> Object:
    """merged without what `last` owned and nobody claims now (structured-merge-diff merge.Updater.prune)."""
    last = with_named_fields(last, node)
    pruned = remove(node, merged, last) or {}
    all_merged = with_named_fields(field_set(node, merged), node)
    claimed: Trie = {}
    for fields in claims:
        claimed = root_union(claimed, fields)
    keep = root_union(with_named_fields(field_set(node, pruned), node), with_named_fields(claimed, node))
    pruned = remove(node, merged, root_difference(all_merged, keep)) or {}
    left = with_named_fields(field_set(node, pruned), node)
    gone = root_intersection(root_difference(all_merged, left), last)
    out: Object = remove(node, merged, gone) or {}
    return out


def typed_error(node: Node, config: Object, gvk: str, name: str, namespace: str) -> StatusError | None:
    """The 500 that answers a configuration which does not fit the schema; None if it does."""
    mistakes = check(node, config)
    if not mistakes:
        return None
    text = mistakes[0] if len(mistakes) == 1 else "errors:\n" + "\n".join(f"  {m}" for m in mistakes)
    return StatusError(500, "", f"failed to create typed patch object ({namespace}/{name}; {gvk}): {text}")


# -- scale -------------------------------------------------------------------------------------------------


def update_scale(new: Object, old: Object, writer: Writer, path: Sequence[str], force: bool) -> None:
    """Track a write of replicas through the scale subresource in the parent's managedFields.

    Entries of the scale subresource carry no time. A Scale with 0 replicas has no replicas field (it is left out
    when zero), so setting 0 removes the field from its owners and gives it to nobody.
    """
    managers = _read_or_none(old["metadata"].get("managedFields"))
    before, after = _at(old, path) or 0, _at(new, path) or 0
    own = _trie(path)
    me = writer.manager
    taken = [m for m, e in managers.items() if m != me and root_intersection(e.fields, own)]
    if writer.operation == "Apply" and before != after and taken and not force:
        raise Conflicts([Conflict(m, tuple(f"f:{part}" for part in path)) for m in taken])
    if before != after:
        managers = _others_lose(managers, own)
    if after and (before != after or writer.operation == "Apply"):
        mine = managers.get(me)
        managers[me] = Entry(root_union(mine.fields, own) if mine else own, writer.version)
    put(new, managers)


def _at(obj: Any, path: Sequence[str]) -> Any:
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _trie(path: Sequence[str]) -> Trie:
    out: Trie = {}
    for part in reversed(path):
        out = {f"f:{part}": out}
    return out
