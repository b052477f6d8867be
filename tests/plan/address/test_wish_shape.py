"""The shape of a wish: wrong kinds are named by their place, nulls count as absent, the unknown stays."""

from __future__ import annotations

from typing import Any

import pytest

from podloom.plan.address.shape import check_shape

SHAPE = {"space": {"prefixes": [str]}, "subnets": [{"name": str, "size": int, "on": bool}], "free": {}}


def test_what_fits_is_kept_and_known_nulls_go() -> None:
    wish = {"space": {"prefixes": ["a"], "other": None}, "subnets": [{"name": "s", "size": None}], "free": {"x": None}}
    cleaned, findings = check_shape(wish, SHAPE)
    assert findings == []
    assert cleaned == {"space": {"prefixes": ["a"], "other": None}, "subnets": [{"name": "s"}], "free": {"x": None}}


@pytest.mark.parametrize(
    ("wish", "targets"),
    [
        ({"space": []}, ["space"]),
        ({"space": {"prefixes": "a"}}, ["space.prefixes"]),
        ({"space": {"prefixes": ["a", 1, None]}}, ["space.prefixes[1]", "space.prefixes[2]"]),
        (
            {"subnets": [{"name": 1}, {"size": True}, {"on": 0}, "x"]},
            ["subnets[0].name", "subnets[1].size", "subnets[2].on", "subnets[3]"],
        ),
        ({"free": 1}, ["free"]),
    ],
)
def test_each_wrong_part_is_named(wish: Any, targets: list[str]) -> None:
    assert [finding.target for finding in check_shape(wish, SHAPE)[1]] == targets
