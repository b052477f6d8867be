"""x-kubernetes-validations: CEL rules of a custom resource's schema, evaluated.

The problem: a rule sits anywhere in the schema, sees its own value as self (and the former one as oldSelf), and
what it says when it fails comes from message, messageExpression, reason and fieldPath. Programs are compiled once
per rule text; subtrees without rules are skipped; on updates what did not change is not held against the new rules
(ratcheting).
"""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from podloom.kube.api.contract import Cause
from podloom.kube.api.schema.celfunctions import FORMATS, FUNCTIONS, format_mistakes
from podloom.kube.api.schema.structural import INT_OR_STRING, Schema
from podloom.kube.api.schema.validation import MISSING, correlate, show

RULES = "x-kubernetes-validations"
_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REASONS = {
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
}


@cache
def library() -> Any:
    """The CEL library, imported when the first rule needs it: it takes 0.1 s, and most clusters have no rules."""
    return importlib.import_module("cel")


@cache
def program(text: str) -> Any:
    """The compiled program; raises ValueError with the compiler's words."""
    return library().compile(text)


@dataclass(frozen=True)
class Rule:
    """One validation rule, compiled."""

    text: str
    message: str
    message_expression: str
    reason: str
    field_path: str
    transition: bool
    optional_old: bool

    @classmethod
    def of(cls, rule: dict[str, Any]) -> Rule:
        """A rule from its written form; raises ValueError when it does not compile."""
        text = rule["rule"]
        return cls(
            text,
            (rule.get("message") or "").strip(),
            (rule.get("messageExpression") or "").strip(),
            rule.get("reason") or "FieldValueInvalid",
            rule.get("fieldPath") or "",
            "oldSelf" in program(text).variables(),
            bool(rule.get("optionalOldSelf")),
        )


def _compiled(written: dict[str, Any]) -> Rule | None:
    """The rule, or None for one the CEL library cannot read (see unreadable)."""
    try:
        return Rule.of(written)
    except ValueError:
        return None


def unreadable(text: str) -> bool:
    """Whether the expression uses CEL syntax the library does not have (optional selection, quoted names)."""
    try:
        program(text)
    except ValueError as error:
        return "unsupported syntax" in str(error)
    return False


class Rules:
    """The rules of a schema and of everything below it, as a tree that mirrors the schema."""

    def __init__(self, schema: Schema, root: bool = False) -> None:
        self.schema = schema
        self.root = root
        self.own = [rule for written in schema.get(RULES) or () if (rule := _compiled(written)) is not None]
        self.convert = _converted(schema)
        self.properties = {
            name: rules for name, part in (schema.get("properties") or {}).items() if (rules := Rules(part)).any
        }
        self.each = self._inner(schema.get("additionalProperties"))
        self.items = self._inner(schema.get("items"))

    @staticmethod
    def _inner(schema: Any) -> Rules | None:
        rules = Rules(schema) if isinstance(schema, dict) else None
        return rules if rules is not None and rules.any else None

    @property
    def any(self) -> bool:
        """Whether there is any rule here or below."""
        return bool(self.own or self.properties or self.each or self.items)

    def evaluate(self, value: Any, old: Any = MISSING, path: str = "") -> list[Cause]:
        """What value breaks, own rules first."""
        if value is None or (old is not MISSING and old == value):
            return []
        out: list[Cause] = []
        if self.own:
            out += self._own_rules(value, old, path)
        if isinstance(value, dict):
            out += self._parts(value, old if isinstance(old, dict) else {}, path)
        elif isinstance(value, list) and self.items is not None:
            before = correlate(self.schema, old)
            for index, part in enumerate(value):
                out += self.items.evaluate(part, before(index, part), f"{path}[{index}]")
        return out

    def _parts(self, value: dict[str, Any], old: dict[str, Any], path: str) -> Iterable[Cause]:
        for key, part in value.items():
            rules = self.properties.get(key, self.each)
            if rules is not None:
                yield from rules.evaluate(part, old.get(key, MISSING), f"{path}.{key}" if path else key)

    def _own_rules(self, value: Any, old: Any, path: str) -> Iterable[Cause]:
        context = _context()
        context.add_variable("self", self._self(value))
        has_old = old is not MISSING and old is not None
        for rule in self.own:
            if rule.transition and not has_old and not rule.optional_old:
                continue
            if rule.optional_old:
                optional = library().OptionalValue
                context.add_variable("oldSelf", optional.of(self._self(old)) if has_old else optional.none())
            elif has_old:
                context.add_variable("oldSelf", self._self(old))
            cause = _judge(rule, context, value, path)
            if cause is not None:
                yield cause

    def _self(self, value: Any) -> Any:
        if self.root:
            meta = value.get("metadata") or {}
            kept = {key: meta[key] for key in ("name", "generateName") if key in meta}
            value = {**value, "metadata": kept}
        return to_cel(self.schema, value) if self.convert else value


def _context() -> Any:
    context = library().Context()
    importlib.import_module("cel.stdlib").add_stdlib_to_context(context)
    for name, function in FUNCTIONS.items():
        context.add_function(name, function)
    _add_formats(context)
    return context


def _add_formats(context: Any) -> None:
    """The format library: format.dns1123Label().validate(x) is an optional list of mistakes."""
    optional = library().OptionalValue
    context.add_variable("format", {})
    for name in FORMATS:
        context.add_function(name, lambda _format, name=name: name)
    context.add_function("named", lambda _, name: optional.of(name) if name in FORMATS else optional.none())

    def validate(name: str, value: str) -> Any:
        mistakes = format_mistakes(name, value)
        return optional.of(mistakes) if mistakes else optional.none()

    context.add_function("validate", validate)


def _judge(rule: Rule, context: Any, value: Any, path: str) -> Cause | None:
    try:
        result = program(rule.text).execute(context)
    except Exception as error:
        return Cause("FieldValueInvalid", f"Invalid value: {_kind(value)}: {_failure(error, rule)}", path)
    if result is True:
        return None
    text = rule.message or f"failed rule: {rule.text}"
    if rule.message_expression:
        text = _message(rule.message_expression, context) or text
    where = path + _field_path(rule.field_path) if rule.field_path else path
    where = where.lstrip(".")
    prefix = _REASONS.get(rule.reason)
    if prefix in {"Required value", "Forbidden"}:
        return Cause(rule.reason, f"{prefix}: {text}", where)
    shown = "" if isinstance(value, (dict, list)) else f"{show(value)}: "
    return Cause(rule.reason, f"{prefix or 'Invalid value'}: {shown}{text}", where)


def _field_path(text: str) -> str:
    """`.spec['a-b']` as field paths print it: .spec[a-b]."""
    return re.sub(r"\['([^']*)'\]", r"[\1]", text)


def _kind(value: Any) -> str:
    names: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
    return show(names.get(type(value), "number"))


def _failure(error: Exception, rule: Rule) -> str:
    named = rule.message or rule.text
    if isinstance(error, KeyError):
        return f"no such key: {error.args[0]} evaluating rule: {named}"
    if isinstance(error, TypeError):
        words = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'no such overload': {words}: {named}"
    text = "index out of bounds" if isinstance(error, IndexError) else str(error)
    return f"{text} evaluating rule: {named}"


def _message(expression: str, context: Any) -> str:
    try:
        text = program(expression).execute(context)
    except Exception:
        return ""
    if not isinstance(text, str) or "\n" in text:
        return ""
    return text.strip()


# -- values as CEL sees them -------------------------------------------------------------------------------


def escape(name: str) -> str | None:
    """The identifier a property has in CEL; None if it has none (Kubernetes "Validation rules", escaping)."""
    if name in _RESERVED:
        return f"__{name}__"
    text = name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__")
    text = text.replace("/", "__slash__")
    return text if _IDENTIFIER.fullmatch(text) else None


def _converted(schema: Schema) -> bool:
    """Whether values of the schema differ in CEL from their JSON: times, bytes, numbers, escaped names."""
    if schema.get("type") == "number" or schema.get("format") in {"date", "date-time", "duration", "byte"}:
        return True
    parts = schema.get("properties") or {}
    inner = [*parts.values(), schema.get("items"), schema.get("additionalProperties")]
    return any(escape(name) != name for name in parts) or any(_converted(p) for p in inner if isinstance(p, dict))


def to_cel(schema: Schema, value: Any) -> Any:
    """value in CEL's types by schema."""
    if isinstance(value, dict):
        parts = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        each = additional if isinstance(additional, dict) else {}
        named = {key: (escape(key) or key) if key in parts else key for key in value}
        return {named[key]: to_cel(parts.get(key, each), part) for key, part in value.items()}
    if isinstance(value, list):
        items = schema.get("items")
        return [to_cel(items if isinstance(items, dict) else {}, part) for part in value]
    if isinstance(value, str):
        return _string(schema.get("format"), value)
    if schema.get("type") == "number" and type(value) is int and not schema.get(INT_OR_STRING):
        return float(value)
    return value


def _string(wanted: str | None, value: str) -> Any:
    if wanted == "byte":
        return value.encode()
    if wanted in {"date", "date-time"}:
        try:
            found = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return value
        return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    if wanted == "duration":
        try:
            return library().evaluate("duration(d)", {"d": value})
        except (ValueError, RuntimeError, TypeError):
            return value
    return value
