"""Do the CEL rules of a schema compile?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from podloom.kube.api.contract import Cause
from podloom.kube.api.schema.rules import RULES, program
from podloom.kube.api.schema.structural import Schema


def check_rules(schema: Schema, path: str) -> Iterable[Cause]:
    """What is wrong with the rules of schema and of everything below it."""
    for index, rule in enumerate(schema.get(RULES) or ()):
        where = f"{path}.{RULES}[{index}]"
        try:
            program(rule.get("rule", ""))
        except ValueError as error:
            text = f"Invalid value: {rule_text(rule)}: compilation failed: {error}"
            yield Cause("FieldValueInvalid", text, f"{where}.rule")
    for name, part in (schema.get("properties") or {}).items():
        yield from check_rules(part, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from check_rules(schema[key], f"{path}.{key}")


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
