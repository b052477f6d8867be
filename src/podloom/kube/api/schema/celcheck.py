"""The CEL rules of a definition, checked before any object exists: do they compile, and what can they cost?

The problem: a rule with a mistyped field must be refused when the definition is made, and a rule whose cost grows
with unbounded lists or strings must be refused too, with the words and limits of a real server. Types come from the
schema; sizes from maxItems, maxProperties and maxLength, or from what fits in a 3 MiB request
(apiextensions validation and cel-go checker/cost.go describe the model). Unknown types are left alone: what cannot be
told statically is an error only when the rule runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
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
    yield from _walk(schema, path, 1, True, budget)
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


def _walk(schema: Schema, path: str, copies: float, root: bool, budget: _Budget) -> Iterable[Cause]:
    rules = schema.get(RULES) or ()
    if rules:
        own = type_of_schema(schema, root)
        for index, rule in enumerate(rules):
            yield from _check(rule, own, f"{path}.{RULES}[{index}]", copies, budget)
    for name, part in (schema.get("properties") or {}).items():
        yield from _walk(part, f"{path}.properties[{name}]", copies, False, budget)
    for key in ("items", "additionalProperties"):
        inner = schema.get(key)
        if isinstance(inner, dict):
            many = times(copies, type_of_schema(schema, False).size)
            yield from _walk(inner, f"{path}.{key}", many, False, budget)


def _check(rule: dict[str, Any], own: Type, where: str, copies: float, budget: _Budget) -> Iterable[Cause]:
    text = rule.get("rule", "")
    if not text.strip():
        yield Cause("FieldValueRequired", "Required value: rule is not specified", f"{where}.rule")
        return
    variables = {"self": own, "oldSelf": Type("dyn") if rule.get("optionalOldSelf") else own}
    mistake, cost = _compile(text, variables, "bool", "compilation failed: ", "cel expression must evaluate to a bool")
    if mistake:
        yield Cause("FieldValueInvalid", f"Invalid value: {rule_text(rule)}: {mistake}", f"{where}.rule")
    elif cost:
        yield from _afford("estimated rule cost", times(cost, copies), f"{where}.rule", budget)
    expression = rule.get("messageExpression", "")
    if expression.strip():
        mistake, cost = _compile(
            expression, variables, "string", "messageExpression compilation failed: ",
            "messageExpression must evaluate to a string",
        )  # fmt: skip
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
