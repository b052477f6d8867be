"""CEL expressions as trees, with positions.

The problem: the CEL library compiles and runs rules but shows no syntax tree, and a definition's rules must be
checked for types and estimated for cost before any object exists. This is a parser of the language's grammar
(cel-spec "Language Definition"), macros included, that keeps where each operator stood, for the messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<int>0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)
      | (?P<string>[bBrR]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|\'\'\'(?:[^\\]|\\.)*?\'\'\'
                              |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_BINARY = ({"||"}, {"&&"}, {"<", "<=", ">=", ">", "==", "!=", "in"}, {"+", "-"}, {"*", "/", "%"})
_MACROS = {"all": 2, "exists": 2, "exists_one": 2, "existsOne": 2, "map": 2, "filter": 2}


class CelSyntaxError(Exception):
    """An expression this parser does not understand."""


@dataclass
class Expr:
    """A node: kind is literal, ident, select, test (has), call, list, map or loop; pos its offset in the text.

    literal: value; ident: name; select and test: name of target's field; call: name, target, args; loop: name is the
    macro, target the range, value its variables, args the bodies.
    """

    kind: str
    pos: int
    name: str = ""
    value: Any = None
    target: Expr | None = None
    args: list[Expr] = field(default_factory=list)


def parse(text: str) -> Expr:
    """The tree of an expression; raises CelSyntaxError."""
    parser = _Parser(_tokens(text))
    tree = parser.expression()
    if parser.peek()[0] != "end":
        raise CelSyntaxError(text)
    return tree


def _tokens(text: str) -> list[tuple[str, str, int]]:
    out = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or not match.lastgroup:
            raise CelSyntaxError(text)
        if match.lastgroup != "space":
            out.append((match.lastgroup, match[0], at))
        at = match.end()
    return [*out, ("end", "", at)]


class _Parser:
    def __init__(self, tokens: list[tuple[str, str, int]]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at]

    def next(self) -> tuple[str, str, int]:
        self.at += 1
        return self.tokens[self.at - 1]

    def take(self, text: str) -> bool:
        kind, found, _ = self.peek()
        if kind in {"op", "name"} and found == text:
            self.at += 1
            return True
        return False

    def need(self, text: str) -> None:
        if not self.take(text):
            raise CelSyntaxError(text)

    def expression(self) -> Expr:
        first = self.binary(0)
        pos = self.peek()[2]
        if not self.take("?"):
            return first
        yes = self.binary(0)
        self.need(":")
        return Expr("call", pos, "_?_:_", args=[first, yes, self.expression()])

    def binary(self, level: int) -> Expr:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek()[0] in {"op", "name"} and self.peek()[1] in _BINARY[level]:
            _, op, pos = self.next()
            name = "@in" if op == "in" else f"_{op}_"
            left = Expr("call", pos, name, args=[left, self.binary(level + 1)])
        return left

    def unary(self) -> Expr:
        kind, text, pos = self.peek()
        if kind == "op" and text in {"!", "-"}:
            self.next()
            operand = self.unary()
            if text == "-" and operand.kind == "literal" and isinstance(operand.value, (int, float)):
                return Expr("literal", pos, operand.name, -operand.value)
            return Expr("call", pos, "!_" if text == "!" else "-_", args=[operand])
        return self.member()

    def member(self) -> Expr:
        out = self.primary()
        while True:
            pos = self.peek()[2]
            if self.take("."):
                kind, name, _ = self.next()
                if kind != "name":
                    raise CelSyntaxError(name)
                call = self.peek()[2]
                out = self.method(out, name, call) if self.take("(") else Expr("select", pos, name, target=out)
            elif self.take("["):
                index = self.expression()
                self.need("]")
                out = Expr("call", pos, "_[_]", args=[out, index])
            else:
                return out

    def method(self, target: Expr, name: str, pos: int) -> Expr:
        args = self.arguments(")")
        if name in _MACROS and len(args) >= 2 and all(a.kind == "ident" for a in args[:-1][:2]):
            names = (
                [a.name for a in args[:2] if a.kind == "ident"] if len(args) > 2 and name != "map" else [args[0].name]
            )
            return Expr("loop", pos, name, names, target, args[len(names) :])
        return Expr("call", pos, name, target=target, args=args)

    def arguments(self, close: str) -> list[Expr]:
        out: list[Expr] = []
        while not self.take(close):
            if out:
                self.need(",")
                if self.take(close):
                    break
            out.append(self.expression())
        return out

    def primary(self) -> Expr:
        kind, text, pos = self.next()
        if kind in {"int", "float", "string"}:
            return _literal(kind, text, pos)
        if kind == "name":
            return self.named(text, pos)
        if text == "(":
            inner = self.expression()
            self.need(")")
            return inner
        if text == "[":
            return Expr("list", pos, args=self.arguments("]"))
        if text == "{":
            return self.mapping(pos)
        if text == ".":
            return self.primary()
        raise CelSyntaxError(text)

    def named(self, text: str, pos: int) -> Expr:
        if text in {"true", "false"}:
            return Expr("literal", pos, "bool", text == "true")
        if text == "null":
            return Expr("literal", pos, "null")
        call = self.peek()[2]
        if not self.take("("):
            return Expr("ident", pos, text)
        args = self.arguments(")")
        if text == "has" and len(args) == 1 and args[0].kind == "select":
            return Expr("test", call, args[0].name, target=args[0].target)
        return Expr("call", call, text, args=args)

    def mapping(self, pos: int) -> Expr:
        out = Expr("map", pos)
        while not self.take("}"):
            if out.args:
                self.need(",")
            out.args.append(self.expression())
            self.need(":")
            out.args.append(self.expression())
        return out


def _literal(kind: str, text: str, pos: int) -> Expr:
    if kind == "int":
        unsigned = text[-1] in "uU"
        return Expr(
            "literal", pos, "uint" if unsigned else "int", int(text.rstrip("uU"), 0 if "x" in text.lower() else 10)
        )
    if kind == "float":
        return Expr("literal", pos, "double", float(text))
    prefix = re.match(r"[bBrR]*", text)
    start = prefix.end() if prefix else 0
    quote = 3 if text[start : start + 3] in {'"""', "'''"} else 1
    body = text[start + quote : -quote]
    return Expr("literal", pos, "bytes" if "b" in text[:start].lower() else "string", body)
