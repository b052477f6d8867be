"""nftables text: elements, tables and transactions, both ways.

The problem: what nft prints (text for structure, JSON for elements) must be comparable with what plans write.
So there is one canonical text of an element here (parts joined by " . ", prefixes as a/b, ranges as a-b,
interface names unquoted), produced from the library's JSON, and the commands are spelled from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_VERDICTS = ("accept", "drop", "continue", "return")


def element_text(value: Any) -> str:
    """Canonical text of a key or data expression of libnftables JSON (libnftables-json(5), EXPRESSIONS)."""
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "concat":
            return " . ".join(element_text(part) for part in inner)
        if kind == "prefix":
            return f"{element_text(inner['addr'])}/{inner['len']}"
        if kind == "range":
            return f"{element_text(inner[0])}-{element_text(inner[1])}"
        if kind == "elem":
            return element_text(inner["val"])
        if kind in _VERDICTS:
            return str(kind)
        if kind in ("jump", "goto"):
            return f"{kind} {inner['target']}"
        raise ValueError(f"nftables expression {kind!r} has no canonical text here")
    return str(value)


def elements_of(container: Mapping[str, Any]) -> dict[str, str]:
    """Elements of a JSON set or map by canonical key; data is "" for a set."""
    found: dict[str, str] = {}
    for item in container.get("elem", ()):
        if isinstance(item, list):
            found[element_text(item[0])] = element_text(item[1])
        else:
            found[element_text(item)] = ""
    return found


def read_element(listing: str) -> tuple[str, str]:
    """(key, data) of the one element in the answer to `get element`, which is text even when JSON is asked for."""
    _, _, rest = listing.partition("elements = {")
    key, _, data = " ".join(rest.partition("}")[0].replace('"', "").split()).partition(" : ")
    return key, data


def _quoted(part: str) -> str:
    """Interface names must be quoted where they could be read as something else."""
    return f'"{part}"' if part[:1].isalpha() and ":" not in part else part


def element_literal(element: str) -> str:
    """The canonical text as nft reads it back."""
    return " . ".join(map(_quoted, element.split(" . ")))


def render_elements(verb: str, family: str, table: str, container: str, elements: Mapping[str, str]) -> str:
    """One `add element` or `delete element` command; data is left out when deleting."""
    parts = [
        f"{element_literal(key)} : {data}" if data and verb != "delete" else element_literal(key)
        for key, data in elements.items()
    ]
    return f"{verb} element {family} {table} {container} {{ {', '.join(parts)} }}\n"


def render_table(family: str, table: str, body: str) -> str:
    """A whole table, replacing one of that name."""
    head = f"add table {family} {table}\ndelete table {family} {table}\n"
    return f"{head}table {family} {table} {{\n{body}\n}}\n"


def block(header: str, lines: Iterable[str]) -> str:
    """`header { lines }`, as chains, sets and maps are written."""
    return "\n".join([f"{header} {{", *(f"\t{line}" for line in lines), "}"])


def base_chain(name: str, hook: str, kind: str, priority: int, rules: Sequence[str], *, policy: str = "accept") -> str:
    """A chain attached to a hook; `kind` is filter, nat or route."""
    head = f"type {kind} hook {hook} priority {priority}; policy {policy};"
    return block(f"chain {name}", [head, *rules])


def chain(name: str, rules: Sequence[str]) -> str:
    """A chain that others jump to."""
    return block(f"chain {name}", rules)


def named_set(name: str, type_: str, *, flags: str = "") -> str:
    """A named set; `type_` such as "ipv4_addr" or "ifname . ipv4_addr"."""
    return block(f"set {name}", [f"type {type_};", *([f"flags {flags};"] if flags else [])])


def named_map(name: str, type_: str, data: str, *, flags: str = "") -> str:
    """A named map, or verdict map when `data` is "verdict"."""
    return block(f"map {name}", [f"type {type_} : {data};", *([f"flags {flags};"] if flags else [])])
