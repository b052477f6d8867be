"""The CEL rules of a definition, checked before any object exists: do they compile, and what can they cost?

The problem: a rule with a mistyped field must be refused when the definition is made, and a rule whose cost grows
with unbounded lists or strings must be refused too, with the words and limits of a real server. Types come from the
schema; sizes from maxItems, maxProperties and maxLength, or from what fits in a 3 MiB request
(apiextensions validation and cel-go checker/cost.go describe the model). Unknown types are left alone: what cannot be
told statically is an error only when the rule runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from podloom.kube.api.contract import Cause
from podloom.kube.api.schema.celast import CelSyntaxError, Expr, parse
from podloom.kube.api.schema.celcost import (
    CRD_LIMIT,
    EXPRESSION_LIMIT,
    Type,
    cost_of,
    excess,
    times,
    type_of_schema,
)
from podloom.kube.api.schema.celtypes import CelTypeError, Checker
from podloom.kube.api.schema.rules import RULES, program, unreadable
from podloom.kube.api.schema.structural import Schema

_TOTAL = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_SHARE = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"


@dataclass
class _Budget:
    total: float = 0
    dear: list[tuple[float, str]] = field(default_factory=list)

    def observe(self, cost: float, path: str) -> None:
        self.total += cost
        if cost > CRD_LIMIT / 100:
            self.dear.append((cost, path))


def check_rules(schema: Schema, path: str) -> Iterable[Cause]:
    """What is wrong with the rules of a whole schema: compilation, cost of each, cost of all."""
    budget = _Budget()
    yield from _walk(schema, _Place(path, 1, True, ""), budget)
    if budget.total > CRD_LIMIT:
        for _, where in sorted(budget.dear, reverse=True)[:4]:
            yield Cause("FieldValueForbidden", f"Forbidden: {_SHARE}", where)
        yield Cause("FieldValueForbidden", f"Forbidden: {excess(_TOTAL, budget.total, CRD_LIMIT)}", path)


def unenforced(schema: Schema, path: str) -> Iterable[str]:
    """Warnings for rules that are accepted but cannot be evaluated here."""
    for index, rule in enumerate(schema.get(RULES) or ()):
        if unreadable(rule.get("rule", "")):
            yield f"{path}.{RULES}[{index}].rule: uses CEL syntax that this server does not evaluate; not enforced"
    for name, part in (schema.get("properties") or {}).items():
        yield from unenforced(part, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from unenforced(schema[key], f"{path}.{key}")


@dataclass(frozen=True)
class _Place:
    """Where a schema is: its path, how many of its values there can be, and the list that hides their past, if any."""

    path: str
    copies: float
    root: bool
    uncorrelatable: str


def _walk(schema: Schema, place: _Place, budget: _Budget) -> Iterable[Cause]:
    rules = schema.get(RULES) or ()
    own = type_of_schema(schema, place.root)
    for index, rule in enumerate(rules):
        where = f"{place.path}.{RULES}[{index}]"
        yield from _check(rule, own, where, place, budget)
        yield from _check_words(rule, schema, where)
    for name, part in (schema.get("properties") or {}).items():
        inner = replace(place, path=f"{place.path}.properties[{name}]", root=False)
        yield from _walk(part, inner, budget)
    for key in ("items", "additionalProperties"):
        inside = schema.get(key)
        if isinstance(inside, dict):
            hidden = place.uncorrelatable
            if key == "items" and schema.get("x-kubernetes-list-type") != "map":
                hidden = hidden or place.path
            below = _Place(f"{place.path}.{key}", times(place.copies, own.size), False, hidden)
            yield from _walk(inside, below, budget)


def _check_words(rule: dict[str, Any], schema: Schema, where: str) -> Iterable[Cause]:
    """The parts of a rule that are no expressions."""
    reason, path = rule.get("reason"), rule.get("fieldPath", "")
    if reason is not None and reason not in _REASONS:
        allowed = ", ".join(f'"{name}"' for name in _REASONS)
        text = f'Unsupported value: "{reason}": supported values: {allowed}'
        yield Cause("FieldValueNotSupported", text, f"{where}.reason")
    if rule.get("message") and not rule["message"].strip():
        text = "Invalid value: message must be non-empty if specified"
        yield Cause("FieldValueInvalid", text, f"{where}.message")
    if path and not _leads_somewhere(schema, path):
        shown = orjson.dumps(path).decode()
        text = f"Invalid value: {shown}: fieldPath must be a valid path: does not refer to a valid field"
        yield Cause("FieldValueInvalid", text, f"{where}.fieldPath")


def _leads_somewhere(schema: Schema, path: str) -> bool:
    """Whether a fieldPath (.a.b or ['a'], no indexes) names a property below the schema."""
    for match in re.finditer(r"\.([^.\[\]]+)|\['([^']*)'\]|(.)", path):
        name = match[1] or match[2]
        if name is None:
            return False
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        inner = properties.get(name, additional if isinstance(additional, dict) else None)
        if inner is None:
            return False
        schema = inner
    return True


def _check(rule: dict[str, Any], own: Type, where: str, place: _Place, budget: _Budget) -> Iterable[Cause]:
    text = rule.get("rule", "")
    if not text.strip():
        yield Cause("FieldValueRequired", "Required value: rule is not specified", f"{where}.rule")
        return
    variables = {"self": own, "oldSelf": Type("dyn") if rule.get("optionalOldSelf") else own}
    mistake, cost = _compile(text, variables, "bool", "compilation failed: ", "cel expression must evaluate to a bool")
    if mistake:
        yield Cause("FieldValueInvalid", f"Invalid value: {rule_text(rule)}: {mistake}", f"{where}.rule")
    else:
        yield from _afford("estimated rule cost", times(cost, place.copies), f"{where}.rule", budget)
        if place.uncorrelatable and not unreadable(text) and "oldSelf" in program(text).variables():
            why = "oldSelf cannot be used on the uncorrelatable portion of the schema within "
            shown = orjson.dumps(text).decode()
            yield Cause("FieldValueInvalid", f"Invalid value: {shown}: {why}{place.uncorrelatable}", f"{where}.rule")
    yield from _check_message(rule, variables, where, budget)


def _check_message(rule: dict[str, Any], variables: dict[str, Type], where: str, budget: _Budget) -> Iterable[Cause]:
    expression = rule.get("messageExpression", "")
    if not expression.strip():
        return
    prefix, other = "messageExpression compilation failed: ", "messageExpression must evaluate to a string"
    mistake, cost = _compile(expression, variables, "string", prefix, other)
    if mistake:
        text = f"Invalid value: {rule_text(rule)}: {mistake}"
        yield Cause("FieldValueInvalid", text, f"{where}.messageExpression")
    else:
        yield from _afford("estimated messageExpression cost", cost, f"{where}.messageExpression", budget)


def _afford(name: str, cost: float, where: str, budget: _Budget) -> Iterable[Cause]:
    if cost > EXPRESSION_LIMIT:
        yield Cause("FieldValueForbidden", f"Forbidden: {excess(name, cost, EXPRESSION_LIMIT)}", where)
    budget.observe(cost, where)


def _compile(text: str, variables: dict[str, Type], wanted: str, prefix: str, other: str) -> tuple[str, float]:
    """The mistake in an expression ("" if none) and its greatest cost."""
    try:
        program(text)
    except ValueError as error:
        return ("", 0) if unreadable(text) else (prefix + _library_error(str(error)), 0)
    try:
        tree: Expr = parse(text)
    except CelSyntaxError:
        return "", 0  # the library understands more than the parser here: leave it to run time
    try:
        found = Checker(text).check(tree, variables)
    except CelTypeError as error:
        return prefix + str(error), 0
    if found.kind not in {wanted, "dyn"}:
        return other, 0
    return "", cost_of(tree, variables)


def _library_error(text: str) -> str:
    """The library's words as cel-go prints them."""
    _, found, rest = text.partition("ERROR: ")
    return f"ERROR: {rest}".replace("\n| ", "\n | ") if found else text


def rule_text(rule: dict[str, Any]) -> str:
    """A rule as Go's internal type prints it in messages."""
    shown = {
        "Rule": rule.get("rule", ""),
        "Message": rule.get("message", ""),
        "MessageExpression": rule.get("messageExpression", ""),
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath", ""),
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    text = orjson.dumps(shown).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
