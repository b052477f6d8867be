"""Label and field selectors: the grammar, and the words for mistakes."""

from __future__ import annotations

import pytest

from podloom.kube.api.contract import StatusError
from podloom.kube.api.selectors import parse_fields, parse_labels


def _obj(**labels: str) -> dict[str, object]:
    return {"metadata": {"name": "n", "namespace": "ns", "labels": labels}}


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=1", {"a": "1"}, True),
        ("a==1,b!=2", {"a": "1"}, True),
        ("a!=1", {}, True),
        ("a in (1,2)", {"a": "2"}, True),
        ("a in (1,2)", {}, False),
        ("a notin (1)", {}, True),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("!a,b", {"b": "x"}, True),
        ("a>2", {"a": "3"}, True),
        ("a>2", {"a": "x"}, False),
        ("a<2", {"a": "1"}, True),
        ("a in (),b", {"b": ""}, False),
        ("a in (,x)", {"a": ""}, True),
        ("a=", {"a": ""}, True),
        ("in in (in)", {"in": "in"}, True),
        ("example.com/a in (x)", {"example.com/a": "x"}, True),
    ],
)
def test_label_selector(text: str, labels: dict[str, str], matches: bool) -> None:
    """Each form of a requirement selects as documented."""
    assert parse_labels(text).matches(_obj(**labels)) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("n in 1", "unable to parse requirement: found '1' expected: '('"),
        ("n=a b", "found 'b', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
    ],
)
def test_label_selector_mistakes(text: str, message: str) -> None:
    """Mistakes are answered in the server's words."""
    with pytest.raises(StatusError) as caught:
        parse_labels(text)
    assert (caught.value.code, caught.value.message) == (400, message)


def test_field_selector() -> None:
    """Terms compare names and the kind's own values; commas and equal signs can be escaped."""
    obj = _obj()
    found = parse_fields("metadata.name=n,spec.x!=1", ("spec.x",), lambda _o: {"spec.x": "2"}, "")
    assert found.matches(obj)
    assert found.exact_name() == "n"
    escaped = parse_fields(r"spec.x=a\,b\=c", ("spec.x",), lambda _o: {"spec.x": "a,b=c"}, "")
    assert escaped.matches(obj)
    with pytest.raises(StatusError) as caught:
        parse_fields("spec.y=1", ("spec.x",), lambda _o: {}, "field label not supported: {label}")
    assert caught.value.message == "field label not supported: spec.y"
