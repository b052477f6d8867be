"""The lowest free number, compared with looking at each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podloom.cloud.addresses import first_free


@given(st.sets(st.integers(0, 30)), st.integers(0, 30), st.integers(-1, 31))
def test_it_is_the_lowest_free_one(taken: set[int], first: int, last: int) -> None:
    wanted = next((number for number in range(first, last + 1) if number not in taken), None)
    assert first_free(sorted(taken), first, last) == wanted
