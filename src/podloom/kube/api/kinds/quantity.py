"""Resource quantities: reading them, comparing them, and their canonical spelling.

The problem: "0.5", "500m" and "5e-1" are one amount, and the server stores and shows the canonical one
(k8s.io/apimachinery, api/resource, "Quantity"). Amounts are exact fractions here; the spelling keeps the family of
suffixes that was used: binary (Ki, Mi ...), decimal (m, k, M ...) or exponent (e3).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BY_EXPONENT = {power: suffix for suffix, power in _DECIMAL.items()}
_BY_POWER = {power: suffix for suffix, power in _BINARY.items()}
_SHAPE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)")
_MAX = (1 << 63) - 1


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Fraction, str]:
    found = _SHAPE.fullmatch(text)
    if not found:
        raise ValueError(f"quantity {text!r} does not have the form number and suffix")
    number, suffix = Fraction(found.group(1)), found.group(2)
    if suffix in _BINARY:
        amount, family = number * 1024 ** _BINARY[suffix], "binary"
    elif suffix in _DECIMAL:
        amount, family = number * Fraction(10) ** _DECIMAL[suffix], "decimal"
    else:
        amount, family = number * Fraction(10) ** int(suffix[1:]), "exponent"
    return _rounded(amount), family


def _rounded(amount: Fraction) -> Fraction:
    """No finer than a nano, rounded away from zero; no larger than an int64 holds."""
    nanos = amount * 10**9
    whole = math.ceil(nanos) if nanos > 0 else math.floor(nanos)
    return max(min(Fraction(whole, 10**9), Fraction(_MAX)), Fraction(-_MAX))


def amount(value: Any) -> Fraction:
    """The exact amount of a quantity, a string or a JSON number. ValueError when it is none."""
    return _parse(str(value).strip())[0]


def canonical(value: Any) -> str:
    """The canonical spelling. ValueError when value is no quantity."""
    number, family = _parse(str(value).strip())
    if number == 0:
        return "0"
    if family == "binary" and number.denominator == 1 and abs(number) >= 1024:
        return _binary(int(number))
    return _decimal(number, exponent=family == "exponent")


def _binary(number: int) -> str:
    power = 0
    while power < 6 and number % 1024 == 0:
        number //= 1024
        power += 1
    return f"{number}{_BY_POWER.get(power, '')}"


def _decimal(number: Fraction, *, exponent: bool) -> str:
    power = -9
    scaled = number * 10**9
    whole = int(scaled)
    while power < 18 and whole % 1000 == 0:
        whole //= 1000
        power += 3
    if exponent:
        return f"{whole}e{power}" if power else str(whole)
    return f"{whole}{_BY_EXPONENT[power]}"


def canonicalise(resources: Any) -> None:
    """Spell every value of a resource list canonically, in place; what is no quantity stays."""
    if not isinstance(resources, dict):
        return
    for name, value in resources.items():
        try:
            resources[name] = canonical(value)
        except ValueError:
            continue
