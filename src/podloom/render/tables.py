"""Printing results: json, jsonc, yaml, tsv and tables, exactly as az prints them.

The problem: people and scripts know az's output to the letter: two-space JSON with sorted keys, tsv without
headers and with the length for a list, tables of scalar fields with capitalised names and columns at least two wider
than their head. The same printer serves every state we show, golden files and failed asserts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jmespath
import yaml

from podloom.render.formats import Transformer

_HIDDEN = frozenset({"id", "type", "etag"})
_HEAD_PADDING = 2


def apply_query(query: str, result: Any) -> Any:
    """The JMESPath `query` on `result`, keeping the order of keys the query names.

    Raises jmespath.exceptions.JMESPathError (a ValueError) for a query that is none.
    """
    return jmespath.search(query, result, jmespath.Options(dict_cls=dict))


def print_result(result: Any, form: str, *, queried: bool = False, transformer: Transformer | None = None) -> str:
    """`result` in the format `form` (one of FORMATS, colour left aside), ending in a line break."""
    if form in ("json", "jsonc"):
        return json.dumps(result, ensure_ascii=False, indent=2, sort_keys=True, separators=(",", ": ")) + "\n"
    if form in ("yaml", "yamlc"):
        text: str = yaml.safe_dump(result, default_flow_style=False, allow_unicode=True)
        return text
    if form == "table":
        return print_table(_transformed(result, queried, transformer), ordered=queried or transformer is not None)
    if form == "tsv":
        items = result if isinstance(result, list) else [result]
        return "".join(_tsv_row(item, ordered=queried) for item in items)
    return ""


def print_table(result: Any, *, ordered: bool = False) -> str:
    """Scalar fields of each object as a table; keys sorted unless `ordered`."""
    items = result if isinstance(result, list) else [result]
    return grid([_cells(item, ordered=ordered) for item in items])


def grid(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a head line, a line of dashes, and two spaces between columns."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    if not heads:
        return "\n"
    texts = [["" if row.get(head) is None else str(row[head]).strip() for head in heads] for row in rows]
    widths = [
        max([len(head) + _HEAD_PADDING, *(len(text[place]) for text in texts)]) for place, head in enumerate(heads)
    ]
    lines = [heads, ["-" * width for width in widths], *texts]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded) + "\n"


def _transformed(result: Any, queried: bool, transformer: Transformer | None) -> Any:
    if queried or transformer is None:
        return result
    return apply_query(transformer, result) if isinstance(transformer, str) else transformer(result)


def _cells(item: Any, *, ordered: bool) -> dict[str, Any]:
    if isinstance(item, dict):
        keys = list(item) if ordered else sorted(item)
        shown = [key for key in keys if key not in _HIDDEN and _is_scalar(item[key])]
        return {key[:1].upper() + key[1:]: item[key] for key in shown}
    if isinstance(item, list):
        return {f"Column{place + 1}": value for place, value in enumerate(item)}
    return {"Result": item}


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list | set)


def _tsv_row(item: Any, *, ordered: bool) -> str:
    if isinstance(item, dict):
        values = list(item.values()) if ordered else [item[key] for key in sorted(item)]
    elif isinstance(item, list):
        values = item
    else:
        return (str(item).lower() if isinstance(item, bool) else _tsv_cell(item)) + "\n"
    return "\t".join(map(_tsv_cell, values)) + "\n"


def _tsv_cell(value: Any) -> str:
    if isinstance(value, list):
        return str(len(value))
    if isinstance(value, dict):
        return ""
    return str(value)
