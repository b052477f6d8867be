"""The DNS server's answers: names of the zone, honest refusals, no crash on rubbish."""

import dns.flags
import dns.message
import dns.rcode
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.fabric.dns import answer

ZONE = {
    "echo.podloom.test": ("198.19.0.80",),
    "both": ("10.0.0.4", "fd00::4"),
    "many": tuple(f"10.0.0.{i}" for i in range(99)),
}


def ask(name: str, kind: str = "A", *, udp: bool = True) -> dns.message.Message:
    raw = answer(dns.message.make_query(name, kind).to_wire(), ZONE, udp=udp)
    assert raw is not None
    return dns.message.from_wire(raw)


@pytest.mark.parametrize(
    ("name", "kind", "texts"),
    [
        ("echo.podloom.test", "A", ["198.19.0.80"]),
        ("ECHO.Podloom.test.", "A", ["198.19.0.80"]),
        ("both", "A", ["10.0.0.4"]),
        ("both", "AAAA", ["fd00::4"]),
        ("echo.podloom.test", "AAAA", []),
        ("echo.podloom.test", "TXT", []),
    ],
)
def test_known_names(name: str, kind: str, texts: list[str]) -> None:
    """Addresses of the asked family; another type of a known name is an empty success."""
    response = ask(name, kind)
    assert response.rcode() == dns.rcode.NOERROR
    assert [str(item) for rrset in response.answer for item in rrset] == texts


def test_unknown_names_do_not_exist() -> None:
    """NXDOMAIN, authoritative: nobody else will know."""
    response = ask("example.com")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.flags & dns.flags.AA


def test_long_answers_are_cut_over_udp() -> None:
    """Too long for a datagram: truncated and empty; whole over TCP."""
    assert ask("many").flags & dns.flags.TC
    assert sum(len(rrset) for rrset in ask("many", udp=False).answer) == 99


def test_other_operations_are_not_implemented() -> None:
    """Updates are refused in words that clients understand."""
    raw = answer(dns.update.UpdateMessage("podloom.test").to_wire(), ZONE, udp=True)
    assert raw is not None
    assert raw[3] & 0x0F == dns.rcode.NOTIMP


def test_answers_are_not_answered() -> None:
    """No loops between servers."""
    response = dns.message.make_response(dns.message.make_query("both", "A"))
    assert answer(response.to_wire(), ZONE, udp=True) is None


@given(st.binary(max_size=64))
def test_rubbish_is_survived(data: bytes) -> None:
    """Anything may arrive; a header gets a header back, less gets nothing."""
    response = answer(data, ZONE, udp=True)
    if response is not None:
        assert response[:2] == data[:2]
        assert response[2] & 0x80
