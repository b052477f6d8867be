"""Merging ip-masq-agent configurations."""

from ipaddress import ip_network
from typing import Any

import pytest

from podloom.plan.masquerade import OVERLAY_CONFIG, MasqConfig, merge_configs

POD = (ip_network("10.244.0.0/16"),)


def document(*ranges: str, **more: Any) -> dict[str, Any]:
    return {"nonMasqueradeCIDRs": list(ranges), **more}


def test_without_configuration_only_pods_are_untranslated() -> None:
    """OVL-05: everything outside the pod CIDR is translated, link-local included."""
    config, bad = merge_configs(OVERLAY_CONFIG, [])
    assert config.untranslated(POD) == POD and bad == ()


def test_ranges_are_united_and_booleans_ored() -> None:
    """OUT-05: ConfigMaps are merged in any order with one outcome."""
    sources = [("b", document("10.0.0.0/8")), ("a", document("172.16.0.0/12", "10.0.0.0/8", masqLinkLocal=True))]
    config, bad = merge_configs(MasqConfig(), sources)
    assert bad == () and config == merge_configs(MasqConfig(), reversed(sources))[0]
    assert set(map(str, config.ranges)) == {"10.0.0.0/8", "172.16.0.0/12"}
    assert config.masq_link_local and not config.masq_link_local_6
    assert [str(n) for n in config.untranslated(POD)] == ["10.0.0.0/8", "172.16.0.0/12", "fe80::/10"]


@pytest.mark.parametrize(
    "broken",
    [
        document("10.0.0.1/8"),
        document("10.0.0.0/33"),
        document("10.0.0.0"),
        document(5),  # type: ignore[arg-type]
        document(masqLinkLocal="yes"),
        {"nonMasqueradeCIDRs": "10.0.0.0/8"},
        {"nonMasqCIDRs": []},
        "line 3: not YAML",
    ],
)
def test_a_bad_configmap_is_left_out_alone(broken: Any) -> None:
    """One bad ConfigMap is named with its mistakes; the others count."""
    config, bad = merge_configs(OVERLAY_CONFIG, [("bad", broken), ("good", document("10.9.0.0/16"))])
    assert [item.name for item in bad] == ["bad"] and bad[0].mistakes
    assert list(map(str, config.ranges)) == ["10.9.0.0/16"]


def test_all_mistakes_at_once() -> None:
    """Every mistake of a ConfigMap is reported, not the first."""
    _, bad = merge_configs(OVERLAY_CONFIG, [("x", document("10.0.0.1/8", "banana", masqLinkLocal=3))])
    assert len(bad[0].mistakes) == 3


def test_at_most_64_ranges_over_all() -> None:
    """The ConfigMap that exceeds the limit is left out, whatever the order of arrival."""
    many = document(*(f"10.{i}.0.0/16" for i in range(60)))
    more = document(*(f"10.{i}.0.0/16" for i in range(100, 105)))
    for sources in ([("a", many), ("b", more)], [("b", more), ("a", many)]):
        config, bad = merge_configs(OVERLAY_CONFIG, sources)
        assert len(config.ranges) == 60 and [item.name for item in bad] == ["b"]
