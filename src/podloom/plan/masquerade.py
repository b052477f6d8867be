"""Which pod traffic leaves under the node's address (OVL-05, OUT-05; azure-behaviour.md section 5).

The problem: outside the pod CIDR nobody knows pod addresses, so everything that leaves must carry the node's primary
address, while pod to pod and a pod to its own node stay untranslated (the latter never passes postrouting). Users
add ranges by ConfigMaps `azure-ip-masq-agent-config*` that are merged: ranges united, booleans ORed, at most 64
ranges, aligned ones only. One bad ConfigMap must not take the others with it, so each is judged by itself and a bad
one is left out with all its mistakes named.

On overlay the cluster's own configuration is the pod CIDR with masqLinkLocal on: 169.254.169.254 sees the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from podloom.model.nnc import Network

CONFIG_PREFIX = "azure-ip-masq-agent-config"
RANGES_MAX = 64
LINK_LOCAL_4 = IPv4Network("169.254.0.0/16")
LINK_LOCAL_6 = IPv6Network("fe80::/10")
_KEYS = frozenset({"nonMasqueradeCIDRs", "masqLinkLocal", "masqLinkLocalIPv6", "resyncInterval"})


@dataclass(frozen=True)
class MasqConfig:
    """A merged configuration: destinations that keep the pod's address, and the link-local switches."""

    ranges: tuple[Network, ...] = ()
    masq_link_local: bool = False
    masq_link_local_6: bool = False

    def untranslated(self, pod_cidrs: Iterable[Network]) -> tuple[Network, ...]:
        """Every destination that is not translated, collapsed and sorted, IPv4 before IPv6."""
        networks = [*pod_cidrs, *self.ranges]
        if not self.masq_link_local:
            networks.append(LINK_LOCAL_4)
        if not self.masq_link_local_6:
            networks.append(LINK_LOCAL_6)
        four = collapse_addresses(n for n in networks if isinstance(n, IPv4Network))
        six = collapse_addresses(n for n in networks if isinstance(n, IPv6Network))
        return (*four, *six)


@dataclass(frozen=True)
class BadConfig:
    """A ConfigMap that is left out, and everything that is wrong with it."""

    name: str
    mistakes: tuple[str, ...]


OVERLAY_CONFIG = MasqConfig(masq_link_local=True, masq_link_local_6=True)


def merge_configs(
    base: MasqConfig, sources: Iterable[tuple[str, Mapping[str, Any] | str]]
) -> tuple[MasqConfig, tuple[BadConfig, ...]]:
    """`base` united with each (name, decoded document); a document may be the text of its decoding error.

    Names are taken in order, so which one exceeds the limit of ranges does not depend on when it was seen.
    """
    ranges = list(base.ranges)
    local, local_6 = base.masq_link_local, base.masq_link_local_6
    bad: list[BadConfig] = []
    for name, document in sorted(sources, key=lambda item: item[0]):
        if isinstance(document, str):
            bad.append(BadConfig(name, (document,)))
            continue
        added, mistakes = _read(document)
        united = list(dict.fromkeys([*ranges, *added]))
        if not mistakes and len(united) > RANGES_MAX:
            mistakes = [
                f"nonMasqueradeCIDRs: {len(united)} ranges in all configurations, at most {RANGES_MAX} are allowed"
            ]
        if mistakes:
            bad.append(BadConfig(name, tuple(mistakes)))
            continue
        ranges = united
        local = local or bool(document.get("masqLinkLocal"))
        local_6 = local_6 or bool(document.get("masqLinkLocalIPv6"))
    return MasqConfig(tuple(ranges), local, local_6), tuple(bad)


def _read(document: Mapping[str, Any]) -> tuple[list[Network], list[str]]:
    mistakes = [f"{key}: unknown setting" for key in sorted(set(document) - _KEYS)]
    for key in ("masqLinkLocal", "masqLinkLocalIPv6"):
        if not isinstance(document.get(key, False), bool):
            mistakes.append(f"{key}: {document[key]!r} is not true or false")
    found: list[Network] = []
    items = document.get("nonMasqueradeCIDRs") or []
    if not isinstance(items, list):
        return found, [*mistakes, "nonMasqueradeCIDRs: not a list"]
    for index, item in enumerate(items):
        try:
            if not isinstance(item, str) or "/" not in item:
                raise ValueError(f"{item!r} is not an address range like 10.0.0.0/8")
            found.append(ip_network(item))
        except ValueError as error:
            mistakes.append(f"nonMasqueradeCIDRs[{index}]: {error}")
    return found, mistakes
