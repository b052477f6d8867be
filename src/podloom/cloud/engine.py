"""The life every resource shares: put, get, list, delete, report, finalize.

The problem: a wish takes time to come true and both sides may die in between. So a request only stores the wish
and an operation, in one transaction, and answers; whoever realises it reports, and the report ends the operation.
Nothing about an operation lives in memory, so a restart loses none. The same wish again is the same answer, a
different one while an exclusive resource is busy is refused, and after a failure the same wish starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from podloom.cloud import embedded, refusals
from podloom.cloud.rules import Rules
from podloom.cloud.store import Operation, Row, Store
from podloom.model.arm import RESOURCE_GROUPS, ResourceId
from podloom.model.findings import Finding, Refusal, errors_of, warnings_of
from podloom.plan.address.shape import check_shape
from podloom.render.arm import Json, is_named_list, merge_patch, named, without

_SHAPE: Json = {"location": str, "managedBy": str, "tags": {}, "identity": {}, "sku": {}}
_BUSY = frozenset({"Creating", "Updating", "Deleting"})


@dataclass(frozen=True)
class Answer:
    """What a request did: HTTP status, the document to show, the operation to watch."""

    status: int
    body: Json | None
    operation: Operation | None = None


class Engine:
    """All resources of one subscription; `clock` gives RFC 3339 times in UTC."""

    def __init__(self, store: Store, rules: Iterable[Rules], subscription: str, clock: Callable[[], str]) -> None:
        self.store = store
        self.subscription = subscription
        self.rules: Mapping[str, Rules] = {rule.type.lower(): rule for rule in rules}
        self._clock = clock

    # reading

    def get(self, id_: ResourceId) -> Json:
        """The resource's document; Refusal 404 when it, or its group, does not exist."""
        rules, outer = self._rules_of(id_)
        if outer is not None:
            return embedded.view(self._row(outer), rules, id_)
        return self._row(id_).view()

    def list_type(self, type_: str, group: ResourceId | None = None, parent: ResourceId | None = None) -> list[Json]:
        """Documents of one type: everywhere, of a group, or of a parent resource."""
        if type_.lower() not in self.rules:
            return self._list_embedded(type_, parent)
        if parent is not None:
            self._row(parent)
            rows = [row for row in self.store.children(parent.key) if row.id.type.lower() == type_.lower()]
        else:
            if group is not None:
                self._group(group)
            rows = self.store.of_type(type_, group.key if group else "")
        return [row.view() for row in rows]

    def list_group(self, group: ResourceId) -> list[Json]:
        """All resources of a group, without children kept inside others."""
        self._group(group)
        return [row.view() for row in self.store.in_group(group.key) if len(row.id.names) == 1]

    # writing

    def put(self, id_: ResourceId, wish: Json, *, only_new: bool = False) -> Answer:
        """Store the wish; 201 when new, 200 otherwise. Refusal with every mistake when it cannot be.

        With `only_new` a resource that exists and came true with another wish is refused (412), never changed.
        """
        with self.store.transaction():
            rules, outer = self._rules_of(id_)
            if outer is None:
                return self._put(id_, rules, wish, only_new=only_new)
            row = self._row(outer)
            answer = self._put(row.id, rules, embedded.with_child(row, rules, id_, wish))
            status = 200 if embedded.has_child(row, rules, id_) else 201
            return Answer(status, embedded.view(self._row(outer), rules, id_), answer.operation)

    def _put(self, id_: ResourceId, rules: Rules, wish: Json, *, only_new: bool = False) -> Answer:
        homeless = len(id_.names) == 1 and self.store.get(id_.group_id.key) is None
        old = None if homeless else self._writable(id_)
        id_ = old.id if old else id_
        wish, misshapen = check_shape(wish, {**_SHAPE, "properties": rules.shape})
        if misshapen:
            raise Refusal(misshapen)
        wish.setdefault("properties", {})
        if old is not None and only_new and old.state not in ("Failed", "Creating"):
            same = rules.prepare(id_, self._cleaned(wish, rules, old), old)[0] == old.body
            if not same:
                raise refusals.exists(id_)
        body, findings = rules.prepare(id_, self._cleaned(wish, rules, old), old)
        refused = list(errors_of(findings))
        if homeless:
            lost = refusals.group_not_found(id_.group).findings
            refused = [*lost, *(finding for finding in refused if finding.code != "LocationRequired")]
        if refused:
            raise Refusal(refused)
        if old is not None and old.body == body and old.state != "Failed":
            busy = old.state in _BUSY
            return Answer(201 if old.state == "Creating" else 200, old.view(), self._flight(old) if busy else None)
        if old is not None and rules.exclusive and (flight := self._flight(old)):
            raise refusals.in_progress(id_, flight.verb)
        generation = old.generation + 1 if old else 1
        reported = self._fresh_report(id_, rules, body, old, findings)
        row = self.store.write(Row(id_, body, reported, generation))
        rules.after_write(row)
        operation = None
        if rules.realised_by:
            verb = "create" if old is None else "update"
            operation = self.store.begin(id_.key, verb, generation, self._clock())
        return Answer(200 if old else 201, row.view(), operation)

    def delete(self, id_: ResourceId) -> Answer:
        """Ask for removal: 202 while it takes time, 200 when done, 204 when there was nothing."""
        with self.store.transaction():
            rules, outer = self._rules_of(id_)
            if outer is not None:
                return self._delete_child(id_, outer, rules)
            row = self._find(id_)
            if row is None:
                if id_.type == RESOURCE_GROUPS:
                    raise refusals.group_not_found(id_.group)
                return Answer(204, None)
            if row.state == "Deleting" and (flight := self._flight(row)):
                return Answer(202, None, flight)
            if id_.type == RESOURCE_GROUPS:
                return self._delete_group(row, rules)
            if found := errors_of(rules.check_delete(row, frozenset())):
                raise Refusal(found)
            if rules.removal_waits:
                return Answer(202, None, self._begin_removal(row))
            self._remove(row)
            return Answer(200, None)

    def tag(self, id_: ResourceId, tags: Json) -> Answer:
        """Replace the tags of a resource (PATCH with tags only)."""
        with self.store.transaction():
            row = self._row(id_)
            row = self.store.write(replace(row, body={**row.body, "tags": tags}))
            return Answer(200, row.view())

    # what became of it

    def report(self, id_: ResourceId, patch: Json, generation: int | None = None) -> Json:
        """Merge server-owned properties; a final provisioningState ends the operation in flight.

        `kubeconfigs` {name: text} is kept apart from the document. A report about an older generation does not
        change the state. What is Deleting stays so until `finalize`; that it Failed only ends the operation.
        """
        with self.store.transaction():
            rules, outer = self._rules_of(id_)
            row = self._row(outer or id_)
            patch = {key: _by_name(value) for key, value in patch.items()}
            for name, text in (patch.pop("kubeconfigs", None) or {}).items():
                self.store.keep_secret(row.id.key, name, text)
            error = patch.pop("error", None)
            if outer is not None:
                patch = {embedded.list_name(rules, id_): {id_.name: patch}}
            state = patch.pop("provisioningState", None)
            if row.state == "Deleting":
                if state == "Failed" and generation == row.generation:
                    self._end_removal(row, error)
            elif state is not None and (generation is None or generation >= row.generation):
                patch = merge_patch({**patch, "provisioningState": state}, rules.with_state(row, str(state)))
                self._end(row, str(state), error)
            reported = merge_patch(row.reported, patch)
            if reported == row.reported:
                return row.view()
            return self.store.write(replace(row, reported=reported)).view()

    def finalize(self, id_: ResourceId) -> None:
        """Remove what was Deleting and is realised no more; gone already is success."""
        with self.store.transaction():
            row = self.store.get(id_.key)
            if row is None:
                return
            if row.state != "Deleting":
                message = f"'{row.id}' is not being deleted; it is {row.state}."
                raise Refusal([Finding("OperationNotAllowed", message, str(row.id), status=409)])
            self._remove(row)
            group = self.store.get(row.id.group_id.key)
            if group is not None and group.state == "Deleting":
                self._sweep_group(group)

    def operation(self, id_: str) -> Operation | None:
        return self.store.operation(id_)

    # parts

    def _rules_of(self, id_: ResourceId) -> tuple[Rules, ResourceId | None]:
        """The rules for `id_`, and the resource it is kept inside when it is an embedded child."""
        if id_.subscription.lower() != self.subscription.lower():
            raise refusals.subscription_not_found(id_.subscription)
        if rules := self.rules.get(id_.type.lower()):
            return rules, None
        outer = self.rules.get(id_.parent.type.lower())
        if outer is None or id_.type.rsplit("/", 1)[-1].lower() not in outer.embedded:
            raise refusals.unknown_type(id_.type)
        return outer, id_.parent

    def _group(self, id_: ResourceId) -> Row:
        group = self.store.get(id_.group_id.key)
        if group is None:
            raise refusals.group_not_found(id_.group)
        return group

    def _find(self, id_: ResourceId) -> Row | None:
        if id_.type != RESOURCE_GROUPS:
            self._group(id_)
        return self.store.get(id_.key)

    def _row(self, id_: ResourceId) -> Row:
        row = self._find(id_)
        if row is None:
            raise refusals.group_not_found(id_.group) if not id_.names else refusals.not_found(id_)
        return row

    def _writable(self, id_: ResourceId) -> Row | None:
        """The row to replace, None for a new one; refuses when it, its group or its parent is going or absent."""
        if id_.type != RESOURCE_GROUPS and self._group(id_).state == "Deleting":
            raise refusals.group_deleting(id_.group)
        if len(id_.names) > 1:
            self._row(id_.parent)
        old = self.store.get(id_.key)
        if old is not None and old.state == "Deleting":
            raise refusals.in_progress(old.id, "delete")
        return old

    def _cleaned(self, wish: Json, rules: Rules, old: Row | None) -> Json:
        kept = {key: value for key, value in wish.items() if key not in ("id", "name", "type", "etag")}
        properties = {k: v for k, v in wish["properties"].items() if k not in rules.read_only}
        if old is not None:
            properties = without(properties, old.reported, old.body["properties"])
        return {**kept, "properties": properties}

    def _fresh_report(
        self, id_: ResourceId, rules: Rules, body: Json, old: Row | None, findings: list[Finding]
    ) -> Json:
        state = "Succeeded"
        if rules.realised_by:
            state = "Creating" if old is None or old.generation == 0 else "Updating"
        said = merge_patch(old.reported if old else {}, rules.first_report(id_, body, old))
        warnings = [{"code": f.code, "message": f.message} for f in warnings_of(findings)]
        own = {**said.get("podloom", {}), "warnings": warnings, "steps": []}
        own = {key: value for key, value in own.items() if value}
        return {**said, "provisioningState": state, **({"podloom": own} if own else {})}

    def _flight(self, row: Row) -> Operation | None:
        return self.store.in_flight(row.id.key)

    def _end(self, row: Row, state: str, error: Any) -> None:
        if state == "Succeeded":
            self.store.end(row.id.key, "Succeeded", None, self._clock())
        elif state == "Failed":
            unsaid = {"code": "ReconcileFailed", "message": f"'{row.id.name}' could not be realised"}
            self.store.end(row.id.key, "Failed", error if isinstance(error, dict) else unsaid, self._clock())

    def _end_removal(self, row: Row, error: Any) -> None:
        """A removal failed for now: it stays wished, its operation ends, and so does its group's."""
        self._end(row, "Failed", error)
        group = self.store.get(row.id.group_id.key)
        if group is not None and group.state == "Deleting":
            self._end(group, "Failed", error)

    def _delete_child(self, id_: ResourceId, outer: ResourceId, rules: Rules) -> Answer:
        row = self._find(outer)
        if row is None or not embedded.has_child(row, rules, id_):
            return Answer(204, None)
        answer = self._put(row.id, rules, embedded.without_child(row, rules, id_))
        return Answer(202 if answer.operation else 200, None, answer.operation)

    def _begin_removal(self, row: Row) -> Operation:
        said = {**row.reported, "provisioningState": "Deleting"}
        row = self.store.write(replace(row, reported=said, generation=row.generation + 1))
        return self.store.begin(row.id.key, "delete", row.generation, self._clock())

    def _remove(self, row: Row) -> None:
        for child in self.store.children(row.id.key):
            if child.id != row.id and len(child.id.names) > len(row.id.names):
                self._remove(child)
        self.store.end(row.id.key, "Succeeded", None, self._clock())
        self.store.remove(row)
        rules = self.rules.get(row.id.type.lower())
        if rules is not None:
            for dependent in rules.goes_with(row):
                self._remove(dependent)

    def _delete_group(self, row: Row, rules: Rules) -> Answer:
        leaving = rules.leaving(row)
        found = [
            f for item in self._inside(leaving) for f in self.rules[item.id.type.lower()].check_delete(item, leaving)
        ]
        found = [*errors_of(rules.check_delete(row, leaving)), *errors_of(found)]
        if found:
            raise Refusal(found)
        operation = self._begin_removal(row)
        group = self._group(row.id)
        self._sweep_group(group)
        return Answer(202, None, operation)

    def _inside(self, groups: Iterable[str]) -> list[Row]:
        return [row for group in groups for row in self.store.in_group(group)]

    def _sweep_group(self, group: Row) -> None:
        """Remove a Deleting group once nothing inside waits to be torn down; ask what waits to go."""
        waiting = [row for row in self.store.in_group(group.id.key) if self.rules[row.id.type.lower()].removal_waits]
        for row in waiting:
            if row.state != "Deleting" or self._flight(row) is None:
                self._begin_removal(row)
        if waiting:
            return
        for row in self.store.in_group(group.id.key):
            if self.store.get(row.id.key) is not None:
                self._remove(row)
        self._remove(group)

    def _list_embedded(self, type_: str, parent: ResourceId | None) -> list[Json]:
        outer = self.rules.get(type_.rsplit("/", 1)[0].lower())
        if outer is None or type_.rsplit("/", 1)[-1].lower() not in outer.embedded:
            raise refusals.unknown_type(type_)
        rows = [self._row(parent)] if parent is not None else self.store.of_type(outer.type)
        return [view for row in rows for view in embedded.views(row, outer, type_)]


def _by_name(value: Any) -> Any:
    return named(value) if is_named_list(value) else value
