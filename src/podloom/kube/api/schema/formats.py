"""The string formats a CRD schema may ask for (apiextensions: pkg/apiserver/validation/formats.go lists them).

A format that is not listed is not checked, as on a real server.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_LONG_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_HOST = re.compile(
    r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*\.?"
)
_DATE = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")
_TIME = re.compile(_DATE.pattern + r"[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)")
_GO_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_WORD_DURATION = re.compile(
    r"\d+\s*(?:ns|nano|us|µs|micro|ms|milli|s|sec|m|min|h|hr|hour|d|day|w|wk|week)s?", re.IGNORECASE
)
_PATTERNS = {
    "bsonobjectid": re.compile(r"[0-9a-fA-F]{24}"),
    "email": re.compile(r"[^@\s<>()]+@[^@\s<>()]+"),
    "mac": re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"),
    "uuid3": re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?3[0-9a-fA-F]{3}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"),
    "uuid4": re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?4[0-9a-fA-F]{3}-?[89abAB][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}"),
    "uuid5": re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?5[0-9a-fA-F]{3}-?[89abAB][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}"),
    "hexcolor": re.compile(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": re.compile(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "ssn": re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "creditcard": re.compile(r"\d{13,19}"),
    "isbn": re.compile(r"(?:97[89])?\d{9}[\dX]"),
    "isbn10": re.compile(r"\d{9}[\dX]"),
    "isbn13": re.compile(r"97[89]\d{10}"),
    "date": _DATE,
    "datetime": _TIME,
    "date-time": _TIME,
}


def _ip(version: int) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return ipaddress.ip_address(value).version == version
        except ValueError:
            return False

    return check


def _cidr(value: str) -> bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return "/" in value


def _byte(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme) or value.startswith("/")


_CHECKS: dict[str, Callable[[str], bool]] = {
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "cidr": _cidr,
    "byte": _byte,
    "uri": _uri,
    "hostname": lambda value: len(value) <= 255 and bool(_HOST.fullmatch(value)),
    "duration": lambda value: bool(_GO_DURATION.fullmatch(value) or _WORD_DURATION.fullmatch(value)),
    "k8s-short-name": lambda value: len(value) <= 63 and bool(_LABEL.fullmatch(value)),
    "k8s-long-name": lambda value: len(value) <= 253 and bool(_LONG_NAME.fullmatch(value)),
}


def matches_format(name: str, value: str) -> bool:
    """Whether value is of the format; True for formats that are not checked."""
    if name in _CHECKS:
        return _CHECKS[name](value)
    pattern = _PATTERNS.get(name.replace("-", "") if name == "date_time" else name)
    return pattern is None or bool(pattern.fullmatch(value))
