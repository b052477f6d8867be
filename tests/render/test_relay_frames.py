"""Frames between plugin executable and agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.cni import Undecodable
from podloom.render.relay import Frame, parse_answer, parse_request, render_answer, render_request

names = st.text(st.characters(codec="ascii", categories=("Lu", "Nd")), min_size=1, max_size=8)
values = st.text(max_size=20).filter(lambda text: "\0" not in text)


@given(st.dictionaries(names, values, max_size=5), st.binary(max_size=64))
def test_request_round_trip(environment: dict[str, str], stdin: bytes) -> None:
    """unpack(pack(x)) = x, whatever the variables hold."""
    assert parse_request(render_request(Frame(environment, stdin))) == Frame(environment, stdin)


@given(st.binary(max_size=64), st.integers(0, 80))
def test_cut_request_is_no_request(stdin: bytes, cut: int) -> None:
    """Every proper prefix of a frame is refused: half a request is never acted on."""
    data = render_request(Frame({"CNI_COMMAND": "DEL"}, stdin))
    if cut < len(data):
        with pytest.raises(Undecodable):
            parse_request(data[:cut])


def test_answer_round_trip() -> None:
    """Exit code and output come back; a cut answer does not."""
    data = render_answer(1, b'{"code":11}')
    assert parse_answer(data) == (1, b'{"code":11}')
    with pytest.raises(Undecodable):
        parse_answer(data[:-1])
