"""The functions Kubernetes adds to CEL, over plain values.

The problem: rules may use Kubernetes' quantity, URL, IP, CIDR, regex and list libraries ("Common Expression
Language in Kubernetes", function libraries), while values that reach Python are JSON types. So a quantity, URL,
address or range stays the string it was made from, checked when it is made and read again by each function.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from podloom.kube.api.schema.formats import matches_format

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_SCALE = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip


def amount(text: str) -> Decimal:
    """The number a quantity means; raises ValueError for a text that is none."""
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    suffix = match[2] or ""
    scale = Decimal(f"1{suffix}") if suffix[:1] in {"e", "E"} and len(suffix) > 1 and suffix != "Ei" else _SCALE[suffix]
    return Decimal(match[1]) * scale


def _holds(check: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def test(value: Any) -> bool:
        try:
            check(value)
        except (ValueError, TypeError):
            return False
        return True

    return test


def _quantity(value: str) -> str:
    amount(value)
    return value


def _compare(a: str, b: str) -> int:
    left, right = amount(a), amount(b)
    return (left > right) - (left < right)


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme and not value.startswith("/"):
        raise ValueError(f'parse "{value}": invalid URI for request')
    return value


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _hostname(parts: SplitResult) -> str:
    return _host(parts).rpartition("]")[0].lstrip("[") if "[" in parts.netloc else _host(parts).partition(":")[0]


def _port(parts: SplitResult) -> str:
    return str(parts.port) if parts.port is not None else ""


def _find(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _index_of(items: Any, wanted: Any, start: int = 0) -> int:
    if isinstance(items, str):
        return items.find(wanted, start)
    return items.index(wanted) if wanted in items else -1


def _last_index_of(items: Any, wanted: Any) -> int:
    if isinstance(items, str):
        return items.rfind(wanted)
    return len(items) - 1 - items[::-1].index(wanted) if wanted in items else -1


def _ip(value: str) -> str:
    ipaddress.ip_address(value)
    return value


def _cidr(value: str) -> str:
    if "/" not in value:
        raise ValueError(f"network address parse error during conversion from string: {value}")
    ipaddress.ip_network(value, strict=False)
    return value


def _family(value: str) -> int:
    return ipaddress.ip_interface(value).version


def _contains_ip(network: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)


def _contains_cidr(outer: str, inner: str) -> bool:
    a, b = ipaddress.ip_network(outer, strict=False), ipaddress.ip_network(inner, strict=False)
    return a.version == b.version and b.subnet_of(a)  # type: ignore[arg-type]


def _address(name: str) -> Callable[[str], bool]:
    return lambda value: bool(getattr(ipaddress.ip_address(value), name))


def _of_url(part: Callable[[SplitResult], Any]) -> Callable[[str], Any]:
    return lambda value: part(urlsplit(value))


_NAMED: dict[str, tuple[re.Pattern[str], int]] = {
    "dns1123Label": (re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"), 63),
    "dns1123LabelPrefix": (re.compile(r"[a-z0-9]([-a-z0-9]*)?"), 63),
    "dns1123Subdomain": (re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"), 253),
    "dns1123SubdomainPrefix": (re.compile(r"[a-z0-9]([-a-z0-9.]*)?"), 253),
    "dns1035Label": (re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"), 63),
    "dns1035LabelPrefix": (re.compile(r"[a-z]([-a-z0-9]*)?"), 63),
    "labelValue": (re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"), 63),
    "qualifiedName": (re.compile(r"([a-z0-9.-]+/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"), 317),
}
_CHECKED = ("uri", "uuid", "byte", "date", "datetime")


def format_mistakes(name: str, value: str) -> list[str]:
    """What keeps value from being of the named format (Kubernetes' CEL format library)."""
    if name in _CHECKED:
        return [] if matches_format(name, value) else [f"does not match the {name} format"]
    pattern, longest = _NAMED[name]
    out = [] if len(value) <= longest else [f"must be no more than {longest} characters"]
    return out if pattern.fullmatch(value) else [*out, f"does not match the {name} format"]


FORMATS = (*_NAMED, *_CHECKED)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity": _quantity,
    "isQuantity": _holds(amount),
    "isGreaterThan": lambda a, b: _compare(a, b) > 0,
    "isLessThan": lambda a, b: _compare(a, b) < 0,
    "compareTo": _compare,
    "sign": lambda a: _compare(a, "0"),
    "add": lambda a, b: _plain(amount(a) + amount(str(b))),
    "sub": lambda a, b: _plain(amount(a) - amount(str(b))),
    "isInteger": lambda a: amount(a) == int(amount(a)),
    "asInteger": lambda a: int(amount(a)),
    "asApproximateFloat": lambda a: float(amount(a)),
    "url": _url,
    "isURL": _holds(_url),
    "getScheme": _of_url(lambda u: u.scheme),
    "getHost": _of_url(_host),
    "getHostname": _of_url(_hostname),
    "getPort": _of_url(_port),
    "getEscapedPath": _of_url(lambda u: u.path),
    "getQuery": _of_url(lambda u: parse_qs(u.query, keep_blank_values=True)),
    "find": _find,
    "findAll": _find_all,
    "isSorted": lambda items: all(items[i] <= items[i + 1] for i in range(len(items) - 1)),
    "sum": sum,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "ip": lambda value: _ip(str(ipaddress.ip_interface(value).ip)),
    "isIP": _holds(_ip),
    "cidr": _cidr,
    "isCIDR": _holds(_cidr),
    "family": _family,
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "masked": lambda value: str(ipaddress.ip_network(value, strict=False)),
    "prefixLength": lambda value: ipaddress.ip_network(value, strict=False).prefixlen,
    "ip.isCanonical": lambda value: str(ipaddress.ip_address(value)) == value,
    "isUnspecified": _address("is_unspecified"),
    "isLoopback": _address("is_loopback"),
    "isLinkLocalUnicast": _address("is_link_local"),
    "isLinkLocalMulticast": lambda value: value.startswith("224.0.0.") or value.lower().startswith("ff02:"),
    "isGlobalUnicast": lambda value: (
        not any(_address(name)(value) for name in ("is_unspecified", "is_loopback", "is_link_local", "is_multicast"))
    ),
}
