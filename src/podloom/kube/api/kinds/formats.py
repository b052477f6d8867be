"""The formats Kubernetes values have, with the real server's words for what is wrong.

The problem: names, labels, ports and addresses follow a handful of formats, and clients (and people) know the
texts of their errors. Each function returns the list of complaints about one value, empty when it is good
(k8s.io/apimachinery, util/validation).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_LABEL_RE = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_RE = rf"{_LABEL_RE}(\.{_LABEL_RE})*"
_DNS1035_RE = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED_RE = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE_RE = f"({_QUALIFIED_RE})?"
_CONFIG_KEY_RE = "[-._a-zA-Z0-9]+"

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end"
    " with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    f" '{_LABEL_RE}')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start"
    " and end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    f" '{_SUBDOMAIN_RE}')"
)
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic"
    " character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for"
    f" validation is '{_DNS1035_RE}')"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    f" '{_QUALIFIED_RE}')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start"
    " and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for"
    f" validation is '{_LABEL_VALUE_RE}')"
)
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',"
    f"  or 'key-name', regex used for validation is '{_CONFIG_KEY_RE}')"
)
IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
PORT_TEXT = "must be between 1 and 65535, inclusive"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


def dns_label(value: str) -> list[str]:
    """RFC 1123 label, at most 63 characters."""
    wrong = [] if len(value) <= 63 else ["must be no more than 63 characters"]
    return wrong + ([] if _matches(_LABEL_RE, value) else [_LABEL_TEXT])


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain, at most 253 characters."""
    wrong = [] if len(value) <= 253 else ["must be no more than 253 characters"]
    return wrong + ([] if _matches(_SUBDOMAIN_RE, value) else [_SUBDOMAIN_TEXT])


def dns1035_label(value: str) -> list[str]:
    """RFC 1035 label, at most 63 characters."""
    wrong = [] if len(value) <= 63 else ["must be no more than 63 characters"]
    return wrong + ([] if _matches(_DNS1035_RE, value) else [_DNS1035_TEXT])


def qualified_name(value: str) -> list[str]:
    """A label or annotation key: optional DNS prefix, `/`, a name of at most 63 bytes."""
    parts = value.split("/")
    if len(parts) > 2:
        return [
            f"a qualified name {_QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/'"
            " (e.g. 'example.com/MyName')"
        ]
    wrong: list[str] = []
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            wrong.append("prefix part must be non-empty")
        else:
            wrong += [f"prefix part {text}" for text in dns_subdomain(prefix)]
    name = parts[-1]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name) > 63:
        wrong.append("name part must be no more than 63 bytes")
    if not _matches(_QUALIFIED_RE, name):
        wrong.append(f"name part {_QUALIFIED_TEXT}")
    return wrong


def label_value(value: str) -> list[str]:
    """A label's value: at most 63 bytes."""
    wrong = [] if len(value.encode()) <= 63 else ["must be no more than 63 bytes"]
    return wrong + ([] if _matches(_LABEL_VALUE_RE, value) else [_LABEL_VALUE_TEXT])


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: also a file name."""
    wrong = [] if len(value) <= 253 else ["must be no more than 253 characters"]
    if not _matches(_CONFIG_KEY_RE, value):
        wrong.append(_CONFIG_KEY_TEXT)
    if value == ".":
        wrong.append("must not be '.'")
    elif value == "..":
        wrong.append("must not be '..'")
    elif value.startswith(".."):
        wrong.append("must not start with '..'")
    return wrong


def path_segment(value: str) -> list[str]:
    """A name that may stand as one segment of a URL path (RBAC objects)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in ("/", "%") if char in value]


def port_number(value: int) -> list[str]:
    """1 to 65535."""
    return [] if 1 <= value <= 65535 else [PORT_TEXT]


def port_name(value: str) -> list[str]:
    """An IANA service name (RFC 6335): at most 15 of a-z, 0-9 and inner hyphens, with a letter."""
    wrong = [] if len(value) <= 15 else ["must be no more than 15 characters"]
    if not _matches("[-a-z0-9]+", value):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in value:
        wrong.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        wrong.append("must not begin or end with a hyphen")
    return wrong


def env_name(value: str) -> list[str]:
    """An environment variable's name: printable ASCII without `=`."""
    if value and all(" " <= char <= "~" and char != "=" for char in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


@lru_cache(maxsize=65536)
def parse_ip(value: str) -> Address | None:
    """The address, or None; leading zeros are tolerated here (see `ip`)."""
    try:
        return ipaddress.ip_address(_without_zeros(value))
    except ValueError:
        return None


def _without_zeros(value: str) -> str:
    if ":" in value:
        return value
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in value.split("."))


def ip(value: str) -> list[str]:
    """An IPv4 or IPv6 address in strict form: no leading zeros, no IPv4-mapped IPv6."""
    address = parse_ip(value)
    if address is None or "%" in value:
        return [IP_TEXT]
    if address.version == 4 and _without_zeros(value) != value:
        return ["must not have leading 0s"]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return ["must not be an IPv4-mapped IPv6 address"]
    return []


def non_special_ip(value: str) -> list[str]:
    """An address that endpoints and external addresses may have."""
    address = parse_ip(value)
    if address is None:
        return [IP_TEXT]
    if address.is_unspecified:
        return ["may not be unspecified (0.0.0.0 or ::)"]
    if address.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if address.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    if address in ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16"):
        return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]
    return []


def parse_cidr(value: str) -> Network | None:
    """The network of a CIDR, host bits ignored, or None."""
    if "/" not in value:
        return None
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def cidr(value: str) -> list[str]:
    """A CIDR without host bits."""
    network = parse_cidr(value)
    if network is None:
        return [CIDR_TEXT]
    address = parse_ip(value.split("/", maxsplit=1)[0])
    if address != network.network_address:
        return ["must not have bits set beyond the prefix length"]
    return []
