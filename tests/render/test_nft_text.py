"""nftables text: elements in one canonical form, both ways."""

from typing import Any

import pytest

from podloom.render.nft import element_literal, element_text, elements_of, read_element, render_elements


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10.0.0.1", "10.0.0.1"),
        (80, "80"),
        ({"prefix": {"addr": "10.0.0.0", "len": 24}}, "10.0.0.0/24"),
        ({"range": ["10.0.0.1", "10.0.0.9"]}, "10.0.0.1-10.0.0.9"),
        ({"concat": ["eth0", {"prefix": {"addr": "10.0.0.0", "len": 8}}, 80]}, "eth0 . 10.0.0.0/8 . 80"),
        ({"elem": {"val": "10.0.0.1", "timeout": 30}}, "10.0.0.1"),
        ({"accept": None}, "accept"),
        ({"jump": {"target": "pods"}}, "jump pods"),
    ],
)
def test_elements_have_one_text(value: Any, text: str) -> None:
    """Every form of the library's JSON that we use has its canonical text."""
    assert element_text(value) == text


def test_unknown_expressions_are_not_guessed() -> None:
    """An expression without a canonical text is an error, not a wrong text."""
    with pytest.raises(ValueError, match="payload"):
        element_text({"payload": {}})


def test_sets_and_maps_read_alike() -> None:
    """A set's element has no data, a map's has."""
    assert elements_of({"elem": ["10.0.0.1"]}) == {"10.0.0.1": ""}
    assert elements_of({"elem": [["10.0.0.1", {"drop": None}]]}) == {"10.0.0.1": "drop"}
    assert elements_of({}) == {}


def test_interface_names_are_quoted() -> None:
    """An interface name could be read as a keyword; addresses must not be quoted."""
    assert element_literal("lo . 10.0.0.1 . fd00::1") == '"lo" . 10.0.0.1 . fd00::1'


def test_deleting_names_keys_only() -> None:
    """nft refuses data in a deletion."""
    assert render_elements("delete", "inet", "t", "m", {"1": "accept"}) == "delete element inet t m { 1 }\n"
    assert render_elements("add", "inet", "t", "m", {"1": "accept"}) == "add element inet t m { 1 : accept }\n"


def test_a_got_element_is_read() -> None:
    """`get element` answers with a listing of its set; interface names lose their quotes."""
    listing = "table inet t {\n\tmap m {\n\t\ttype ifname . ipv4_addr : verdict\n"
    listing += '\t\telements = { "eth0" . 10.0.0.1 : jump pods }\n\t}\n}\n'
    assert read_element(listing) == ("eth0 . 10.0.0.1", "jump pods")
    assert read_element("table ip t {\n\tset s {\n\t\telements = { 10.0.0.0/24 }\n\t}\n}") == ("10.0.0.0/24", "")
