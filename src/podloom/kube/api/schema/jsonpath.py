"""JSONPath as CRDs use it: printer columns, scale paths, selectable fields (client-go util/jsonpath's subset).

Understood: .name, ['name'], [n], [*], .*, and filters [?(@.type=="Ready")] with ==, !=, <, <=, >, >=.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

Step = Callable[[Any], list[Any]]
_TOKEN = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\]\\])+)          # .name, with \. for a dot inside
      | \[\s*(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)")\s*\]
      | \[\s*(?P<index>-?\d+)\s*\]
      | (?P<all>\[\*\])
      | \[\?\(\s*@(?P<path>[^=!<>)]*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|[^)\s]+))?\s*\)\]""",
    re.VERBOSE,
)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def find(path: str, value: Any) -> list[Any]:
    """What path selects in value; nothing for a path that is not understood."""
    found = [value]
    try:
        for step in steps(path):
            found = [part for each in found for part in step(each)]
    except ValueError:
        return []
    return found


@cache
def steps(path: str) -> tuple[Step, ...]:
    """The path compiled; raises ValueError when it is not understood."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    out: list[Step] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise ValueError(f"unrecognized JSONPath {path}")
        out.append(_step(match))
        at = match.end()
    return tuple(out)


def _step(match: re.Match[str]) -> Step:
    name = match["name"] or match["single"] or match["double"]
    if name is not None and name != "*":
        return _named(name.replace("\\", ""))
    if match["index"] is not None:
        return _indexed(int(match["index"]))
    if match["path"] is not None:
        return _filtered(match["path"], match["op"], match["value"])
    return lambda value: list(value.values()) if isinstance(value, dict) else list(value or ())


def _named(name: str) -> Step:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _indexed(index: int) -> Step:
    def pick(value: Any) -> list[Any]:
        return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []

    return pick


def _filtered(path: str, op: str | None, literal: str | None) -> Step:
    compare = _OPERATORS[op] if op else None
    wanted = _literal(literal) if literal is not None else None

    def keep(item: Any) -> bool:
        found = find(path, item)
        if not found or compare is None:
            return bool(found)
        try:
            return bool(compare(found[0], wanted))
        except TypeError:
            return False

    return lambda value: [item for item in value if keep(item)] if isinstance(value, list) else []


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def simple(path: str) -> tuple[str, ...]:
    """The names of a plain dotted path (`.spec.replicas`): how scale paths are written."""
    return tuple(part for part in path.split(".") if part)
