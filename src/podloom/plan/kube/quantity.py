"""Kubernetes resource quantities as integers in thousandths.

`100m` cpu is 100, `1Gi` is 2**30 * 1000: one unit for all resources keeps sums exact (Kubernetes "Resource
units"; apimachinery Quantity grammar).
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from podloom.model.errors import Rejected

_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkKMGTPE]i?))?$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


@lru_cache(maxsize=4096)
def milli(text: str | int | float) -> int:
    """The quantity in thousandths, rounded up; raises Rejected."""
    match = _QUANTITY.match(str(text).strip())
    if match is None:
        raise Rejected("resource quantity", f"{text!r}", "write for example 100m, 1.5 or 64Mi")
    number, exponent, suffix = Fraction(match[1]), match[2], match[3] or ""
    if exponent:
        number *= Fraction(10) ** int(exponent[1:])
    elif suffix in _BINARY:
        number *= 1 << _BINARY[suffix]
    else:
        number *= Fraction(10) ** _DECIMAL[suffix]
    return -int(-(number * 1000) // 1)
