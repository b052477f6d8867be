"""Kubernetes resource quantities as numbers (apimachinery "Quantity": decimal and binary suffixes, exponents)."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from podloom.model.errors import Rejected

_SUFFIX = {
    "n": Decimal(1) / 10**9,
    "u": Decimal(1) / 10**6,
    "m": Decimal(1) / 1000,
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    **{f"{letter}i": Decimal(1 << (10 * (power + 1))) for power, letter in enumerate("KMGTPE")},
}
_PATTERN = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([a-zA-Z]{0,2}))$")


def parse_quantity(text: object) -> Decimal:
    """The number a quantity stands for: "100m" is 0.1, "1Ki" is 1024; Rejected when it is none."""
    match = _PATTERN.match(str(text).strip())
    if match is None or (match[3] or "") not in _SUFFIX:
        raise Rejected("read a resource quantity", f"{text!r} is not a quantity", "use e.g. 100m, 2, 1Gi")
    if match[2]:
        return Decimal(match[1] + match[2])
    return Decimal(match[1]) * _SUFFIX[match[3] or ""]


def whole(text: object) -> int:
    """The quantity rounded up to an integer (bytes, counts)."""
    return math.ceil(parse_quantity(text))


def milli(text: object) -> int:
    """The quantity in thousandths, rounded up (CPU)."""
    return math.ceil(parse_quantity(text) * 1000)
