"""Names, labels, ports and addresses: good ones pass, bad ones are told why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from podloom.kube.api.kinds import formats


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (formats.dns_label, ["a", "a-b", "1a", "x" * 63], ["", "A", "-a", "a-", "a.b", "x" * 64]),
        (formats.dns_subdomain, ["a", "a.b-c", "1.2"], ["", "a..b", "A.b", ".a", "x" * 254]),
        (formats.dns1035_label, ["a1", "a-b"], ["1a", "-a", ""]),
        (formats.qualified_name, ["a", "A_b.c-d", "example.com/x"], ["", "/x", "a/", "a/b/c", "a b", "x" * 64]),
        (formats.label_value, ["", "a", "A_b.c"], ["a b", "-a", "x" * 64]),
        (formats.config_key, ["a", ".dockercfg", "A_B-c"], ["", "a/b", "..", "..a", "."]),
        (formats.path_segment, ["a:b", "system:x", "Any thing"], [".", "..", "a/b", "50%"]),
        (formats.port_number, [1, 80, 65535], [0, -1, 65536]),
        (formats.port_name, ["http", "a1-b"], ["", "80", "a--b", "-a", "UPPER", "x" * 16]),
        (formats.env_name, ["A", "a.b", "1x", "with space"], ["", "A=B", "ä"]),
        (formats.ip, ["10.0.0.1", "fd00::1"], ["", "10.0.0", "10.0.0.256", "10.00.0.1", "x", "::ffff:1.2.3.4"]),
        (formats.cidr, ["10.0.0.0/8", "fd00::/64", "1.2.3.4/32"], ["10.0.0.0", "10.0.0.1/8", "10.0.0.0/33"]),
        (formats.non_special_ip, ["10.0.0.1"], ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "::1"]),
    ],
)
def test_rules(rule: Callable[[object], list[str]], good: list[object], bad: list[object]) -> None:
    """A rule complains about exactly the bad values."""
    assert {value: rule(value) for value in good} == {value: [] for value in good}
    assert [value for value in bad if not rule(value)] == []
