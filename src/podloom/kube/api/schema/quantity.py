"""Quantities in their canonical form, as a real server writes them: 0.1 -> 100m, 1024Mi -> 1Gi.

The rules are those of apimachinery's resource.Quantity: no fraction, the largest suffix that needs none, the kind
of suffix that was given (decimal, binary or exponent), and nothing finer than a nano-unit (rounded up).
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal
from functools import lru_cache

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_PLAIN = re.compile(r"0|[1-9]\d{0,2}[mkMGTPE]?|[1-9]\d{0,2}[KMGTPE]i")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}


@lru_cache(4096)
def canonical(text: str) -> str:
    """The canonical form of a quantity; raises ValueError for a text that is none."""
    if _PLAIN.fullmatch(text):
        return text
    match = _FORM.fullmatch(text)
    if not match:
        raise ValueError(text)
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return _binary(number * 1024 ** _BINARY[suffix])
    if suffix in _DECIMAL:
        return _decimal(number.scaleb(_DECIMAL[suffix]), _SUFFIX)
    return _decimal(number.scaleb(int(suffix[1:])), None)


def _binary(value: Decimal) -> str:
    if abs(value) < 1024:
        return _decimal(value, _SUFFIX)
    whole = int(value.to_integral_value(ROUND_UP))
    power = 0
    while power < 6 and whole % 1024 == 0:
        whole //= 1024
        power += 1
    return f"{whole}{_BINARY_SUFFIX.get(power, '')}"


def _decimal(value: Decimal, suffixes: dict[int, str] | None) -> str:
    nanos = int(value.scaleb(9).to_integral_value(ROUND_UP))
    if nanos == 0:
        return "0"
    exponent = -9
    while nanos % 1000 == 0 and exponent < 18:
        nanos //= 1000
        exponent += 3
    if suffixes is not None:
        return f"{nanos}{suffixes[exponent]}"
    return f"{nanos}e{exponent}" if exponent else str(nanos)
