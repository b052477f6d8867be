"""Recordings of a real API server, for tests that compare with them."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_ROOTS = [os.environ.get("PODLOOM_RECORDINGS", ""), str(Path(__file__).parents[3] / "parity" / "recordings")]


@cache
def _load(topic: str) -> list[dict[str, Any]] | None:
    for root in filter(None, _ROOTS):
        path = Path(root) / f"{topic}.json"
        if path.exists():
            entries: list[dict[str, Any]] = json.loads(path.read_text())
            return entries
    return None


@pytest.fixture
def recording() -> Callable[[str], list[dict[str, Any]]]:
    """The entries of a topic: note, request, response."""

    def load(topic: str) -> list[dict[str, Any]]:
        entries = _load(topic)
        if entries is None:
            pytest.skip("recordings of a real API server are not in tests/parity/recordings")
        return entries

    return load
