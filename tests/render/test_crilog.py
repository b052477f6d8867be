"""CRI log lines, both ways."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podloom.render.crilog import LogLine, parse_line, render_line

TIME = "2016-10-06T00:17:09.669794202Z"


@given(
    st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"")), st.sampled_from(["stdout", "stderr"]), st.booleans()
)
def test_round_trip(text: bytes, stream: str, full: bool) -> None:
    line = LogLine(TIME, stream, text + (b"\n" if full else b""))
    assert parse_line(render_line(line)) == line


def test_what_is_no_log_line() -> None:
    assert parse_line(b"") is None
    assert parse_line(b"garbage here now\n") is None
    assert parse_line(f"{TIME} stdout F".encode()) == LogLine(TIME, "stdout", b"\n")
