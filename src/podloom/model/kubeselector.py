"""Label and field selectors: from the query text or the LabelSelector object to a yes or no.

The problem: selectors come in three spellings (query text, `matchLabels`/`matchExpressions`, plain maps of a
Service) and must mean the same everywhere. All become a tuple of requirements that one function judges
(Kubernetes "Labels and Selectors" page).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podloom.model.errors import Rejected

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
_SET = re.compile(r"^\s*([^\s!=(),]+)\s+(in|notin)\s*\(([^()]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([^\s!=(),]+)\s*(==|=|!=)\s*([^\s!=(),]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^\s!=(),]+)\s*$")


@dataclass(frozen=True)
class Requirement:
    """One term: `operator` is in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet this term; notin and ! hold when the key is absent."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        return value is not None and _compares(value, self.operator, self.values)


def _compares(value: str, operator: str, values: tuple[str, ...]) -> bool:
    """Gt and Lt of node affinity: both sides are integers, else no match."""
    try:
        have, want = int(value), int(values[0])
    except (ValueError, IndexError):
        return False
    return have > want if operator == "gt" else have < want


@dataclass(frozen=True)
class Selector:
    """A conjunction of requirements; the empty one matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether every requirement holds."""
        labels = labels or {}
        return all(r.matches(labels) for r in self.requirements)


def from_map(labels: Mapping[str, str]) -> Selector:
    """A selector of equalities, as a Service's spec.selector."""
    return Selector(tuple(Requirement(k, "in", (v,)) for k, v in sorted(labels.items())))


def from_expressions(expressions: Iterable[Mapping[str, Any]]) -> tuple[Requirement, ...]:
    """Requirements of matchExpressions; raises Rejected for an unknown operator."""
    out = []
    for e in expressions:
        operator = _OPERATORS.get(e.get("operator", ""))
        if operator is None:
            raise Rejected("label selector", f"operator {e.get('operator')!r}", "use In, NotIn, Exists or DoesNotExist")
        out.append(Requirement(e["key"], operator, tuple(e.get("values") or ())))
    return tuple(out)


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector | None:
    """A metav1.LabelSelector; None (absent) selects nothing and is returned as None, {} selects everything."""
    if selector is None:
        return None
    equal = from_map(selector.get("matchLabels") or {}).requirements
    return Selector(equal + from_expressions(selector.get("matchExpressions") or ()))


def parse_labels(text: str) -> Selector:
    """The labelSelector query text, e.g. `a=b,c in (d,e),!f`; raises Rejected."""
    return Selector(tuple(_parse_term(term) for term in _split(text) if term.strip()))


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    return re.split(r",(?![^()]*\))", text)


def _parse_term(term: str) -> Requirement:
    if m := _SET.match(term):
        return Requirement(m[1], m[2], tuple(v.strip() for v in m[3].split(",")))
    if m := _EQUAL.match(term):
        return Requirement(m[1], "notin" if m[2] == "!=" else "in", (m[3],))
    if m := _EXISTS.match(term):
        return Requirement(m[2], "!" if m[1] else "exists")
    raise Rejected("label selector", f"unable to parse {term!r}", "write key=value, key in (a,b), key or !key")


def parse_fields(text: str) -> tuple[tuple[str, bool, str], ...]:
    """The fieldSelector query text as (path, equal?, value) terms, e.g. `spec.nodeName=n,status.phase!=Failed`."""
    out = []
    for term in filter(None, (t.strip() for t in text.split(","))):
        m = re.match(r"^([^!=]+)(==|!=|=)(.*)$", term)
        if m is None:
            raise Rejected("field selector", f"unable to parse {term!r}", "write path=value or path!=value")
        out.append((m[1], m[2] != "!=", m[3]))
    return tuple(out)


def fields_match(terms: Iterable[tuple[str, bool, str]], obj: Mapping[str, Any]) -> bool:
    """Whether the object's values at the dotted paths meet the terms; an absent value is the empty string."""
    return all((_at(obj, path) == value) is equal for path, equal, value in terms)


def _at(obj: Any, path: str) -> str:
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, Mapping) else None
    if isinstance(obj, bool):
        return str(obj).lower()
    return "" if obj is None else str(obj)
