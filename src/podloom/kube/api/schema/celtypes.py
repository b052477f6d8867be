"""Type mistakes of CEL rules that can be told from the schema, in cel-go's words.

Gradual: a type that is not known (dyn) agrees with everything, so only certain mistakes are reported: unknown names
and fields, selection from scalars, and operators whose operands can never agree.
"""

from __future__ import annotations

import importlib
from functools import cache

from podloom.kube.api.schema.celast import Expr
from podloom.kube.api.schema.celcost import BOOL, DYN, RESULTS, STRING, Type, part_of
from podloom.kube.api.schema.celfunctions import FORMATS, FUNCTIONS

_SCALARS = frozenset({"int", "uint", "double", "bool", "string", "bytes", "timestamp", "duration", "null"})
_NUMBERS = frozenset({"int", "uint", "double"})
_COMPARISONS = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_MORE = frozenset(
    {"type", "dyn", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours"}
    | {"getMinutes", "getSeconds", "getMilliseconds", "orValue", "value", "hasValue", "or", "optMap", "greatest"}
    | {"least", "format", "named", "validate", *FORMATS}
)
_TYPE_NAMES = frozenset({"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"})
_NAMESPACES = frozenset({"math", "sets", "base64", "strings", "optional", "format", "lists", "ip", "cidr", "google"})


@cache
def known_functions() -> frozenset[str]:
    """Every function a rule may call by a plain name."""
    library = importlib.import_module("cel.stdlib").STDLIB_FUNCTIONS
    return frozenset({*RESULTS, *FUNCTIONS, *library} | _MORE)


class CelTypeError(Exception):
    """A type mistake; the text is what cel-go prints."""


class Checker:
    """Checks one expression; text is its source, for the messages."""

    def __init__(self, text: str) -> None:
        self._text = text

    def check(self, e: Expr, scope: dict[str, Type]) -> Type:
        """The type of the expression; raises CelTypeError at the first mistake."""
        if e.kind == "literal":
            return Type(e.name)
        if e.kind == "ident":
            return self._ident(e, scope)
        if e.kind in {"select", "test"} and e.target is not None:
            return self._select(e, e.target, scope)
        if e.kind == "loop" and e.target is not None:
            return self._loop(e, e.target, scope)
        if e.kind == "call":
            return self._call(e, scope)
        parts = [self.check(part, scope) for part in e.args]
        if e.kind == "list":
            return Type("list", 1, parts[0] if parts and all(p.kind == parts[0].kind for p in parts) else DYN)
        return Type("map", 1, DYN)

    def _ident(self, e: Expr, scope: dict[str, Type]) -> Type:
        if e.name in scope:
            return scope[e.name]
        if e.name in _TYPE_NAMES or e.name in _NAMESPACES:
            return DYN
        raise self._error(e.pos, f"undeclared reference to '{e.name}' (in container '')")

    def _select(self, e: Expr, target: Expr, scope: dict[str, Type]) -> Type:
        of = self.check(target, scope)
        if of.kind in _SCALARS or of.kind == "list":
            raise self._error(e.pos, f"type '{name_of(of)}' does not support field selection")
        if of.kind == "object" and e.name not in of.fields:
            raise self._error(e.pos, f"undefined field '{e.name}'")
        return BOOL if e.kind == "test" else part_of(of, e.name)

    def _loop(self, e: Expr, target: Expr, scope: dict[str, Type]) -> Type:
        over = self.check(target, scope)
        if over.kind in _SCALARS:
            text = f"expression of type '{name_of(over)}' cannot be range of a comprehension "
            text += "(must be list, map, or dynamic)"
            raise self._error(target.pos, text)
        item = over.item or DYN
        keyed = over.kind in {"map", "object"}
        first = STRING if keyed else (Type("int") if len(e.value) > 1 else item)
        inner = dict(scope)
        for index, name in enumerate(e.value):
            inner[name] = first if index == 0 else item
        bodies = [self.check(body, inner) for body in e.args]
        if e.name == "map":
            return Type("list", 1, bodies[-1])
        return Type("list", 1, first) if e.name == "filter" else BOOL

    def _call(self, e: Expr, scope: dict[str, Type]) -> Type:
        name = e.name
        if e.target is not None:
            namespaced = e.target.kind == "ident" and e.target.name in _NAMESPACES and e.target.name not in scope
            types = [] if namespaced else [self.check(e.target, scope)]
        else:
            types = []
        types += [self.check(arg, scope) for arg in e.args]
        if name[0].isalpha():
            if name not in known_functions() and not (
                e.target is not None and e.target.kind == "ident" and e.target.name in _NAMESPACES
            ):
                raise self._error(e.pos, f"undeclared reference to '{name}' (in container '')")
            return RESULTS.get(name, DYN)
        return self._operator(e, types)

    def _operator(self, e: Expr, types: list[Type]) -> Type:
        name, kinds = e.name, [t.kind for t in types]
        if name == "_?_:_":
            self._bools(e, types[:1], types)
            return types[1] if kinds[1] == kinds[2] else DYN
        if name in {"_||_", "_&&_", "!_"}:
            self._bools(e, types, types)
            return BOOL
        if name == "_[_]":
            return types[0].item or DYN
        if name == "@in":
            return BOOL
        if name == "-_":
            return types[0]
        a, b = kinds
        if "dyn" in {a, b}:
            return BOOL if name in _COMPARISONS or name in {"_==_", "_!=_"} else DYN
        if not _agree(name, a, b):
            self._mismatch(e, types)
        if name in _COMPARISONS or name in {"_==_", "_!=_"}:
            return BOOL
        return types[0] if a == b else DYN

    def _bools(self, e: Expr, wanted: list[Type], types: list[Type]) -> None:
        if any(t.kind not in {"bool", "dyn"} for t in wanted):
            self._mismatch(e, types)

    def _mismatch(self, e: Expr, types: list[Type]) -> None:
        shown = ", ".join(name_of(t) for t in types)
        raise self._error(e.pos, f"found no matching overload for '{e.name}' applied to '({shown})'")

    def _error(self, pos: int, text: str) -> CelTypeError:
        before = self._text[:pos]
        line = before.count("\n") + 1
        column = pos - (before.rfind("\n") + 1)
        source = self._text.split("\n")[line - 1]
        return CelTypeError(f"ERROR: <input>:{line}:{column + 1}: {text}\n | {source}\n | {'.' * column}^")


def _agree(name: str, a: str, b: str) -> bool:
    if name in _COMPARISONS:
        return (a == b and a in _SCALARS - {"null"}) or (a in _NUMBERS and b in _NUMBERS)
    if name in {"_==_", "_!=_"}:
        return a == b or "null" in {a, b} or {a, b} <= {"object", "map"}
    if name == "_+_":
        return (a == b and a in {"int", "uint", "double", "string", "bytes", "list", "duration"}) or (
            {a, b} == {"timestamp", "duration"}
        )
    if name == "_-_":
        return (a == b and a in {"int", "uint", "double", "timestamp", "duration"}) or (a, b) == (
            "timestamp",
            "duration",
        )
    return a == b and a in _NUMBERS


def name_of(t: Type) -> str:
    """A type as cel-go prints it: list(string), map(string, int)."""
    if t.kind == "list":
        return f"list({name_of(t.item or DYN)})"
    if t.kind == "map":
        return f"map(string, {name_of(t.item or DYN)})"
    return {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}.get(t.kind, t.kind)
