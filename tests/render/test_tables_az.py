"""Output formats, compared with what az prints for the same values."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.render.tables import apply_query, grid, print_result, print_table

GROUPS = [
    {
        "name": "one",
        "location": "westeurope",
        "id": "/x",
        "tags": None,
        "properties": {"provisioningState": "Succeeded"},
    },
    {"name": "longer-name", "location": "eastus", "id": "/y", "tags": {"a": "b"}, "properties": {}},
]


def test_json_is_sorted_and_indented_by_two() -> None:
    assert print_result({"b": [1], "a": "ü"}, "json") == '{\n  "a": "ü",\n  "b": [\n    1\n  ]\n}\n'
    assert print_result([], "json") == "[]\n"


def test_tables_show_scalars_with_capitalised_sorted_heads() -> None:
    assert print_table(GROUPS) == (
        "Location    Name\n----------  -----------\nwesteurope  one\neastus      longer-name\n"
    )


def test_a_query_or_transformer_keeps_its_order() -> None:
    table = "[].{Name:name, Location:location, Status:properties.provisioningState}"
    assert print_result(GROUPS, "table", transformer=table) == (
        "Name         Location    Status\n"
        "-----------  ----------  ---------\n"
        "one          westeurope  Succeeded\n"
        "longer-name  eastus\n"
    )
    queried = apply_query("[].{Z:name,A:location}", GROUPS)
    assert print_result(queried, "table", queried=True).startswith("Z            A\n")


def test_columns_are_two_wider_than_their_head_at_least() -> None:
    assert grid([{"A": "x"}]) == "A\n---\nx\n"
    assert grid([{"A": "xxxxx"}]) == "A\n-----\nxxxxx\n"


def test_tables_of_lists_and_scalars() -> None:
    assert print_table([["a", 1], ["b", 2]]) == "Column1    Column2\n---------  ---------\na          1\nb          2\n"
    assert print_table("x") == "Result\n--------\nx\n"
    assert print_table([]) == "\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x\n"),
        (3, "3\n"),
        (True, "true\n"),
        (["a", "b"], "a\nb\n"),
        ([["a", ["b", "c"]], ["d", []]], "a\t2\nd\t0\n"),
        ([{"b": 1, "a": None}], "None\t1\n"),
        ({"a": {"x": 1}, "b": True}, "\tTrue\n"),
        ([], ""),
    ],
)
def test_tsv(value: Any, text: str) -> None:
    """A list counts, an object is empty, None is spelled; one line per item; no head."""
    assert print_result(value, "tsv") == text


def test_tsv_of_a_query_keeps_the_querys_order() -> None:
    assert print_result(apply_query("[].{n:name,l:location}", GROUPS), "tsv", queried=True) == (
        "one\twesteurope\nlonger-name\teastus\n"
    )


def test_yaml_and_none() -> None:
    assert print_result({"b": 1, "a": ["x"]}, "yaml") == "a:\n- x\nb: 1\n"
    assert print_result({"b": 1}, "none") == ""


def test_a_bad_query_is_an_error() -> None:
    with pytest.raises(jmespath.exceptions.JMESPathError):
        apply_query("[?", GROUPS)


CELLS = st.one_of(st.none(), st.integers(), st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=9))


@given(st.lists(st.dictionaries(st.sampled_from(["One", "Two", "Three"]), CELLS, min_size=1), min_size=1, max_size=4))
def test_every_cell_stands_under_its_head(rows: list[dict[str, Any]]) -> None:
    head, dashes, *lines = grid(rows).splitlines()
    places = [(start, dashes.find(" ", start) if " " in dashes[start:] else len(dashes)) for start in _starts(dashes)]
    heads = [head[start:end].strip() for start, end in places]
    for row, line in zip(rows, lines, strict=True):
        shown = [line[start:end].strip() for start, end in places]
        assert shown == ["" if row.get(name) is None else str(row[name]).strip() for name in heads]


def _starts(dashes: str) -> list[int]:
    return [place for place, sign in enumerate(dashes) if sign == "-" and (place == 0 or dashes[place - 1] == " ")]
