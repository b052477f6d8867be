"""Label and field selectors of list, watch and deletecollection queries.

The problem: the grammar is small but its mistakes are part of the interface: clients show the server's words.
So this is a scanner and a recursive parser in the shape of the documented grammar (Kubernetes "Labels and
Selectors" and "Field Selectors" pages), with the reference server's error texts (checked by tests/parity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podloom.kube.api.contract import Object
from podloom.kube.api.errors import bad_request

_SPECIAL = "=!(),><"
_OPERATORS = ("=", "==", "!=", ">", "<", "in", "notin")
_END = ""


@dataclass(frozen=True)
class Requirement:
    """One term of a label selector; operator is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet the term; notin holds when the key is absent."""
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        if self.operator == "in":
            return value in self.values
        if self.operator == "notin":
            return value not in self.values
        return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            have, want = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return have > want if self.operator == "gt" else have < want


@dataclass(frozen=True)
class LabelSelector:
    """A conjunction; empty matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(r.matches(labels) for r in self.requirements)


def _scan(text: str) -> list[str]:
    """Split into tokens: operators, parentheses, commas, words."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        c = text[at]
        if c in " \t\r\n":
            at += 1
        elif c in _SPECIAL:
            two = text[at : at + 2]
            token = two if two in ("==", "!=") else c
            tokens.append(token)
            at += len(token)
        else:
            end = at
            while end < len(text) and text[end] not in _SPECIAL and text[end] not in " \t\r\n":
                end += 1
            tokens.append(text[at:end])
            at = end
    return tokens


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _scan(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def is_word(self, token: str) -> bool:
        return token != _END and token not in _OPERATORS[:5] and token not in ("!", "(", ")", ",")

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while self.peek() != _END:
            token = self.peek()
            if not self.is_word(token) and token != "!":
                raise bad_request(f"found '{token}', expected: !, identifier, or 'end of string'")
            found.append(self.requirement())
            after = self.take()
            if after == _END:
                break
            if after != ",":
                raise bad_request(f"found '{after}', expected: ',' or 'end of string'")
            if not self.is_word(self.peek()) and self.peek() != "!":
                raise bad_request(f"found '{self.peek()}', expected: identifier after ','")
        return tuple(found)

    def requirement(self) -> Requirement:
        negated = self.peek() == "!"
        if negated:
            self.take()
        key = self.take()
        if not self.is_word(key):
            raise _bad(f"found '{key}', expected: identifier")
        if self.peek() in (_END, ","):
            return Requirement(key, "absent" if negated else "exists")
        if negated:
            return Requirement(key, "absent")
        operator = self.take()
        if operator in ("in", "notin"):
            return Requirement(key, operator, self.values())
        names = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}
        if operator not in names:
            raise _bad(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        value = self.exact()
        if operator in "><" and not value.lstrip("-").isdigit():
            raise _bad(
                f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
        return Requirement(key, names[operator], frozenset((value,)))

    def exact(self) -> str:
        if self.peek() in (_END, ","):
            return ""
        token = self.take()
        if not self.is_word(token):
            raise _bad(f"found '{token}', expected: identifier")
        return token

    def values(self) -> frozenset[str]:
        opening = self.take()
        if opening != "(":
            raise _bad(f"found '{opening}' expected: '('")
        found: list[str] = []
        expect_value = True
        while True:
            token = self.take()
            if token == ")":
                if expect_value and found:
                    found.append("")
                return frozenset(found)
            if token == ",":
                if expect_value:
                    found.append("")
                expect_value = True
            elif self.is_word(token) and expect_value:
                found.append(token)
                expect_value = False
            else:
                wanted = "',', ')' or identifier" if not found else "',' or ')'"
                raise _bad(f"found '{token}', expected: {wanted}")


def _bad(text: str) -> Exception:
    return bad_request(f"unable to parse requirement: {text}")


def parse_labels(text: str) -> LabelSelector:
    """The selector of a labelSelector parameter; raises 400 with what was found and expected."""
    return LabelSelector(_Parser(text).parse()) if text.strip() else LabelSelector()


@dataclass(frozen=True)
class FieldTerm:
    field: str
    equal: bool
    value: str


@dataclass(frozen=True)
class FieldSelector:
    """A conjunction of (in)equalities over values that the kind names; empty matches everything."""

    terms: tuple[FieldTerm, ...] = ()
    values_of: Callable[[Object], Mapping[str, str]] = lambda _obj: {}

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, obj: Object) -> bool:
        if not self.terms:
            return True
        meta = obj["metadata"]
        own = {"metadata.name": meta.get("name", ""), "metadata.namespace": meta.get("namespace", "")}
        if any(t.field not in own for t in self.terms):
            own.update(self.values_of(obj))
        return all((own.get(t.field, "") == t.value) == t.equal for t in self.terms)

    def exact_name(self) -> str:
        """The one name this selects, or nothing."""
        for term in self.terms:
            if term.field == "metadata.name" and term.equal:
                return term.value
        return ""


def _split_terms(text: str) -> list[str]:
    terms, current, escaped = [], "", False
    for c in text:
        if c == "," and not escaped:
            terms.append(current)
            current = ""
            continue
        escaped = c == "\\" and not escaped
        current += c
    return [*terms, current]


def _split_term(term: str) -> tuple[str, bool, str] | None:
    for at in range(len(term)):
        if term[at - 1 : at] == "\\":
            continue
        for operator, equal in (("!=", False), ("==", True), ("=", True)):
            if term.startswith(operator, at):
                return term[:at], equal, term[at + len(operator) :]
    return None


def _unescape(value: str) -> str:
    out, at = "", 0
    while at < len(value):
        if value[at] == "\\" and value[at + 1 : at + 2] in ("\\", ",", "="):
            at += 1
        out += value[at]
        at += 1
    return out


def parse_fields(
    text: str, known: tuple[str, ...], values_of: Callable[[Object], Mapping[str, str]], unknown: str
) -> FieldSelector:
    """The selector of a fieldSelector parameter.

    `known` are the kind's labels besides metadata.name and metadata.namespace; `unknown` is the 400 text for
    others, with {label}, or empty for the generic one.
    """
    terms = []
    for part in _split_terms(text) if text else []:
        if not part:
            continue
        split = _split_term(part)
        if split is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        label, equal, value = split
        if label not in ("metadata.name", "metadata.namespace", *known):
            generic = '"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            raise bad_request((unknown or generic).replace("{label}", label))
        terms.append(FieldTerm(label, equal, _unescape(value)))
    return FieldSelector(tuple(terms), values_of)
