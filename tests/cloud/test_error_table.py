"""docs/errors.md is the one list of error codes: it has every code the cloud can give, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"InvalidResourceId", "OperationPreempted", "ReconcileFailed"}  # made without a Finding


def codes_in_source() -> set[str]:
    """The first argument of every Finding that is built in plan/address and cloud."""
    found = set()
    for folder in ("plan/address", "cloud"):
        for path in (ROOT / "src/podloom" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                    code = node.args[0]
                    if isinstance(code, ast.Constant):
                        found.add(str(code.value))
    return found


def test_the_table_and_the_code_agree() -> None:
    text = (ROOT / "docs/errors.md").read_text().split("## Codes of the cloud")[1]
    listed = re.findall(r"^\| ([A-Z]\w+) \|", text, re.MULTILINE)
    assert listed == sorted(listed)
    assert set(listed) == codes_in_source() | ELSEWHERE


def test_requirements_are_cited_by_their_ids() -> None:
    text = (ROOT / "docs/errors.md").read_text().split("## Codes of the cloud")[1]
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] not in ("code", "---"):
            assert all(re.fullmatch(r"[A-Z]+-\d\d", part.strip()) for part in cells[2].split(",") if part), line
