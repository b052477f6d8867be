"""Quantities and times as a real server writes them back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.kube.api.schema.celfunctions import amount
from podloom.kube.api.schema.decode import DecodeError, Decoder
from podloom.kube.api.schema.nodes import Node
from podloom.kube.api.schema.quantity import canonical


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.1", "100m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1000Mi", "1000Mi"), ("1.5Gi", "1536Mi"), ("0", "0"),
        ("1e3", "1e3"), ("1500", "1500"), ("1000", "1k"), ("0.5Ki", "512"), ("100m", "100m"),
        ("1.2345678901", "1234567891n"),
        ("-1000", "-1k"), ("1Ki", "1Ki"), ("2048", "2048"), ("0.000001", "1u"), ("12E", "12E"),
    ],
)  # fmt: skip
def test_canonical_forms(text: str, wanted: str) -> None:
    """The examples of apimachinery's quantity documentation and tests."""
    assert canonical(text) == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.decimals(min_value=-(10**6), max_value=10**6, places=3),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]),
)
def test_canonical_keeps_the_amount_and_is_a_fixed_point(number: Decimal, suffix: str) -> None:
    """The same amount, up to rounding a nano-unit or binary fraction up; canonical again changes nothing."""
    text = f"{number:f}{suffix}"
    found = canonical(text)
    assert canonical(found) == found
    assert abs(amount(found) - amount(text)) < 1
    if "i" not in suffix:
        assert abs(amount(found) - amount(text)) <= Decimal("1e-9")


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1KI", "e3", "--1"])
def test_texts_that_are_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        canonical(text)


def test_times_are_written_in_utc() -> None:
    """Seconds for Time, microseconds for MicroTime; what is no time is refused."""
    decoder = Decoder()
    assert decoder.run(Node("time"), "2026-01-01T01:30:00.5+01:00") == "2026-01-01T00:30:00Z"
    assert decoder.run(Node("time", micro=True), "2026-01-01T00:30:00Z") == "2026-01-01T00:30:00.000000Z"
    with pytest.raises(DecodeError, match="cannot parse"):
        decoder.run(Node("time"), "2026-13-01T00:00:00Z")
