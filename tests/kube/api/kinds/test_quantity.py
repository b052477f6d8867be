"""Quantities: one spelling for one amount."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.kube.api.kinds.quantity import amount, canonical, canonicalise


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Mi", "1000Mi"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("12e6", "12e6"),
        ("0", "0"),
        ("-1", "-1"),
        (2, "2"),
        (0.25, "250m"),
        ("0.0000000001", "1n"),
        ("9223372036854775808", "9223372036854775807"),
    ],
)
def test_canonical_spelling(given_: object, wanted: str) -> None:
    """Suffixes are as large as leave a whole number; nothing is finer than a nano or larger than an int64."""
    assert canonical(given_) == wanted


@pytest.mark.parametrize("bad", ["", "abc", "1.5.5", "5 Mi", "Mi", "1Kib", "--1", "1e", "0x10"])
def test_what_is_no_quantity(bad: str) -> None:
    """A wrong form is refused, and left alone in resource lists."""
    with pytest.raises(ValueError):
        amount(bad)
    resources = {"cpu": bad, "memory": "1024Ki"}
    canonicalise(resources)
    assert resources == {"cpu": bad, "memory": "1Mi"}


@given(
    st.integers(min_value=-(10**9), max_value=10**9),
    st.sampled_from(["", "m", "u", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3"]),
)
def test_spelling_keeps_the_amount(number: int, suffix: str) -> None:
    """The canonical form has the same amount and is its own canonical form."""
    text = f"{number}{suffix}"
    spelled = canonical(text)
    assert amount(spelled) == amount(text)
    assert canonical(spelled) == spelled


def test_amounts_are_exact() -> None:
    """0.1 is a tenth."""
    assert amount("0.1") == Fraction(1, 10)
    assert amount("1Ki") - amount("1k") == 24
