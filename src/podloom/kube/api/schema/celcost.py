"""What evaluating a CEL expression can cost at most, from the sizes its schema allows.

The model is cel-go's (checker/cost.go): one per operation, a tenth per character or byte looked at, loops multiply. A
size nobody bounds is what a 3 MiB request can hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from podloom.kube.api.schema.celast import Expr
from podloom.kube.api.schema.rules import escape
from podloom.kube.api.schema.structural import INT_OR_STRING, PRESERVE, Schema

EXPRESSION_LIMIT = 10_000_000
CRD_LIMIT = 100_000_000
REQUEST_BYTES = 3 * 1024 * 1024
UNBOUNDED = math.inf
_TRAVERSE = 0.1
_REGEX = 0.25
_SIZELESS = frozenset({"int", "uint", "double", "bool", "null", "timestamp", "duration"})
_FORMAT_SIZES = {"byte": REQUEST_BYTES, "duration": 32, "date": 10, "date-time": 30}


@dataclass(frozen=True)
class Type:
    """A CEL type: kind, the most elements or bytes a value has, and what is inside."""

    kind: str
    size: float = 1
    item: Type | None = None
    fields: dict[str, Type] = field(default_factory=dict)


DYN = Type("dyn", UNBOUNDED)
STRING = Type("string", UNBOUNDED)
BOOL, INT, UINT, DOUBLE, NULL = Type("bool"), Type("int"), Type("uint"), Type("double"), Type("null")


def type_of_schema(schema: Schema, root: bool) -> Type:
    """The CEL type of values of a structural schema."""
    kind = schema.get("type", "")
    if schema.get(INT_OR_STRING) or schema.get("nullable"):
        return DYN
    if kind == "string":
        return _string(schema)
    if kind == "array":
        items = schema.get("items")
        item = type_of_schema(items, False) if isinstance(items, dict) else DYN
        most = schema.get("maxItems")
        return Type("list", most if most is not None else (REQUEST_BYTES - 2) // (_least(items) + 1), item)
    if kind == "object":
        return _object(schema, root)
    simple = {"integer": INT, "number": DOUBLE, "boolean": BOOL}
    return simple.get(kind, DYN)


def _string(schema: Schema) -> Type:
    wanted = schema.get("format", "")
    kinds = {"byte": "bytes", "duration": "duration", "date": "timestamp", "date-time": "timestamp"}
    if wanted in kinds:
        return Type(kinds[wanted], _FORMAT_SIZES[wanted])
    if schema.get("enum"):
        return Type("string", max(len(str(v)) for v in schema["enum"]))
    most = schema.get("maxLength")
    return Type("string", most * 4 if most is not None else REQUEST_BYTES - 2)


def _object(schema: Schema, root: bool) -> Type:
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        most = schema.get("maxProperties")
        size = most if most is not None else (REQUEST_BYTES - 2) // (_least(additional) + 6)
        return Type("map", size, type_of_schema(additional, False))
    if schema.get(PRESERVE) and not schema.get("properties"):
        return DYN
    fields = {
        name: type_of_schema(part, False)
        for key, part in (schema.get("properties") or {}).items()
        if (name := escape(key)) is not None
    }
    if root or schema.get("x-kubernetes-embedded-resource"):
        names = {"name": STRING, "generateName": STRING}
        fields |= {"apiVersion": STRING, "kind": STRING, "metadata": Type("object", 1, None, names)}
    return Type("object", max(len(fields), 1), None, fields)


def _least(schema: Schema | None) -> int:
    """The fewest bytes a value of the schema takes in JSON."""
    kind = (schema or {}).get("type", "")
    required = (schema or {}).get("required") or ()
    if kind == "object" and required:
        properties = (schema or {}).get("properties") or {}
        return 2 + sum(len(name) + 4 + _least(properties.get(name)) for name in required)
    return {"string": 2, "array": 2, "object": 2, "boolean": 4}.get(kind, 1)


def times(a: float, b: float) -> float:
    """a * b where nothing times unbounded is nothing."""
    return 0 if a == 0 or b == 0 else a * b


def excess(name: str, cost: float, limit: int) -> str:
    """`<name> exceeds budget by factor of ...`."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    advice = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where "
    advice += "arrays, maps, and strings are declared"
    return f"{name} exceeds budget by factor of {shown} ({advice})"


def cost_of(tree: Expr, variables: dict[str, Type]) -> float:
    """The greatest cost of evaluating the tree."""
    return _Estimator().visit(tree, variables)[0]


class _Estimator:
    def visit(self, e: Expr, scope: dict[str, Type]) -> tuple[float, Type]:
        """Cost and type (with its greatest size) of a node."""
        if e.kind == "literal":
            size = len(e.value) if isinstance(e.value, str) else 1
            return 0, Type(e.name, size)
        if e.kind == "ident":
            return 1, scope.get(e.name, Type("type"))
        if e.kind in {"select", "test"} and e.target is not None:
            cost, of = self.visit(e.target, scope)
            if e.kind == "test":
                return cost - 1 if e.target.kind == "ident" else cost, BOOL
            return cost + 1, part_of(of, e.name)
        if e.kind == "loop" and e.target is not None:
            return self.loop(e, scope)
        if e.kind == "call":
            return self.call(e, scope)
        parts = [self.visit(part, scope) for part in e.args]
        total = sum(cost for cost, _ in parts)
        if e.kind == "list":
            return total + 10, Type("list", len(parts), parts[0][1] if parts else DYN)
        return total + 30, Type("map", len(parts) // 2, parts[1][1] if parts else DYN)

    def loop(self, e: Expr, scope: dict[str, Type]) -> tuple[float, Type]:
        assert e.target is not None
        cost, over = self.visit(e.target, scope)
        item = over.item or DYN
        first = STRING if over.kind in {"map", "object"} else item
        bound = {name: first if index == 0 else item for index, name in enumerate(e.value)}
        inner = {**scope, **bound}
        bodies = [self.visit(body, inner) for body in e.args]
        each = sum(body[0] for body in bodies) + 2
        total = cost + times(over.size, each) + 1
        if e.name == "filter":
            return total + times(over.size, 1), Type("list", over.size, first)
        if e.name == "map":
            return total + times(over.size, 1), Type("list", over.size, bodies[-1][1])
        return total, BOOL

    def call(self, e: Expr, scope: dict[str, Type]) -> tuple[float, Type]:
        operands = ([e.target] if e.target is not None else []) + e.args
        seen = [self.visit(operand, scope) for operand in operands]
        spent = sum(cost for cost, _ in seen)
        types = [t for _, t in seen]
        sizes = [1 if t.kind in _SIZELESS else t.size for t in types]
        name = e.name
        if name == "_?_:_":
            best = types[1] if sizes[1] >= sizes[2] else types[2]
            return seen[0][0] + max(seen[1][0], seen[2][0]), best
        if name in {"_||_", "_&&_"}:
            return spent, BOOL
        if name in {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"}:
            return spent + max(1, min(sizes) * _TRAVERSE), BOOL
        if name == "@in":
            return spent + (sizes[1] if types[1].kind == "list" else 1), BOOL
        if name == "_+_":
            return self.plus(spent, types, sizes)
        if name == "_[_]":
            return spent + 1, types[0].item or DYN
        return self.function(name, spent, types, sizes)

    def plus(self, spent: float, types: list[Type], sizes: list[float]) -> tuple[float, Type]:
        total = sum(sizes)
        kind = types[0].kind if types[0].kind != "dyn" else types[-1].kind
        if kind in {"string", "bytes"}:
            return spent + total * _TRAVERSE, Type(kind, total)
        if kind == "list":
            return spent + 1, Type("list", total, types[0].item)
        return spent + 1, Type(kind)

    def function(self, name: str, spent: float, types: list[Type], sizes: list[float]) -> tuple[float, Type]:
        first = sizes[0] if sizes else 0
        second = sizes[1] if len(sizes) > 1 else 0
        result = RESULTS.get(name, DYN)
        if name in {"startsWith", "endsWith"}:
            return spent + second * _TRAVERSE, BOOL
        if name == "matches":
            return spent + (first + 1) * _TRAVERSE * second * _REGEX, BOOL
        if name == "contains" and types[0].kind == "string":
            return spent + first * _TRAVERSE * second * _TRAVERSE, BOOL
        if name in {"find", "findAll"}:
            cost = spent + (first + 1) * _TRAVERSE * second * _REGEX
            return cost, Type(result.kind, first, result.item)
        if name in {"isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"}:
            return spent + first, types[0].item or INT if name in {"sum", "min", "max"} else result
        if name in {"lowerAscii", "upperAscii", "substring", "trim", "replace", "split", "join", "reverse", "charAt"}:
            return spent + first * _TRAVERSE, Type(result.kind, first, result.item)
        if name in {"url", "isURL", "quantity", "isQuantity", "ip", "cidr", "isIP", "isCIDR"}:
            return spent + first * _TRAVERSE, Type(result.kind, first)
        if name == "string" and types and types[0].kind == "string":
            return spent + 1, types[0]
        return spent + 1, result


def part_of(of: Type, name: str) -> Type:
    """The type of a field or map value."""
    if of.kind == "object":
        return of.fields.get(name, DYN)
    return of.item or DYN if of.kind == "map" else DYN


def _results() -> dict[str, Type]:
    """The types functions return."""
    strings = Type("list", UNBOUNDED, STRING)
    out = {"bytes": Type("bytes", UNBOUNDED), "duration": Type("duration"), "timestamp": Type("timestamp")}
    out |= {"split": strings, "findAll": strings, "uint": UINT, "double": DOUBLE, "type": Type("dyn", 1)}
    for name in ("size", "int", "indexOf", "lastIndexOf", "compareTo", "family", "prefixLength", "asInteger", "sign"):
        out[name] = INT
    for name in (
        "string", "lowerAscii", "upperAscii", "trim", "replace", "substring", "charAt", "join", "find", "getHost",
        "getHostname", "getPort", "getScheme", "getEscapedPath",
    ):  # fmt: skip
        out[name] = STRING
    for name in (
        "bool", "matches", "contains", "startsWith", "endsWith", "isSorted", "isURL", "isQuantity", "isIP", "isCIDR",
        "isGreaterThan", "isLessThan", "!_", "containsIP", "containsCIDR", "isLoopback", "isUnspecified",
        "isGlobalUnicast", "hasValue", "isInteger",
    ):  # fmt: skip
        out[name] = BOOL
    return out


RESULTS = _results()
