"""Which networking modes exist, which go together, and which this version runs."""

from __future__ import annotations

from typing import Any

from podloom.model.findings import Finding
from podloom.model.versions import KUBERNETES_VERSION

Json = dict[str, Any]

_VALUES: dict[str, tuple[str, ...]] = {
    "networkPlugin": ("azure", "kubenet", "none"),
    "networkPluginMode": ("overlay",),
    "networkPolicy": ("none", "calico", "azure", "cilium"),
    "networkDataplane": ("azure", "cilium"),
    "networkMode": ("transparent", "bridge"),
    "outboundType": (
        "loadBalancer",
        "userDefinedRouting",
        "managedNATGateway",
        "userAssignedNATGateway",
        "none",
    ),
    "loadBalancerSku": ("standard", "basic"),
}
# What this version runs of each; any other existing value is answered with NotSupported.
_RUNS: dict[str, tuple[str, ...]] = {
    "networkPlugin": ("azure",),
    "networkPolicy": ("none",),
    "networkDataplane": ("azure",),
    "networkMode": ("transparent",),
    "outboundType": ("loadBalancer",),
    "loadBalancerSku": ("standard",),
}


def not_supported(what: str, target: str, requirement: str, fix: str) -> Finding:
    """The finding for what AKS has and this version does not run yet."""
    message = f"{what} is not supported yet by this version of podloom."
    return Finding("NotSupported", message, target, requirement, fix)


def check_types(network: Json) -> list[Finding]:
    """Values of the networkProfile that have the wrong JSON type; nothing else can be judged until they are mended."""
    texts = [*_VALUES, "podCidr", "serviceCidr", "dnsServiceIP"]
    wrong = [key for key in texts if not isinstance(network.get(key) or "", str)]
    wrong += [key for key in ("podCidrs", "serviceCidrs", "ipFamilies") if not _is_texts(network.get(key) or [])]
    if not isinstance(network.get("advancedNetworking") or {}, dict):
        wrong.append("advancedNetworking")
    return [
        Finding(
            "InvalidParameter",
            f"The value of parameter networkProfile.{key} '{network[key]}' has the wrong type.",
            f"networkProfile.{key}",
            "CLI-01",
        )
        for key in wrong
    ]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_modes(network: Json) -> list[Finding]:
    """Unknown values, combinations that AKS refuses, and what this version does not run yet."""
    findings = _unknown_values(network)
    findings += _combinations(network)
    findings += [
        not_supported(
            f"networkProfile.{key} '{network[key]}'", f"networkProfile.{key}", "CLI-01", f"use {' or '.join(runs)}"
        )
        for key, runs in _RUNS.items()
        if network.get(key) in _VALUES[key] and network[key] not in runs
    ]
    if network.get("networkPlugin") == "azure" and not network.get("networkPluginMode"):
        what = "networkPlugin 'azure' without networkPluginMode (node subnet)"
        findings.append(
            not_supported(what, "networkProfile.networkPluginMode", "VNET-01", "add --network-plugin-mode overlay")
        )
    findings += _families(network)
    if (network.get("advancedNetworking") or {}).get("enabled"):
        findings.append(
            not_supported("Advanced networking", "networkProfile.advancedNetworking", "CIL-16", "leave it out")
        )
    return findings


def check_version(properties: Json) -> list[Finding]:
    """One Kubernetes version runs here: asked as 1.36 or in full."""
    wanted = str(properties.get("kubernetesVersion"))
    if wanted in (KUBERNETES_VERSION, KUBERNETES_VERSION.rpartition(".")[0]):
        return []
    message = f"Managed cluster version '{wanted}' is not supported; this version of podloom runs {KUBERNETES_VERSION}."
    fix = f"leave --kubernetes-version out, or give {KUBERNETES_VERSION}"
    return [Finding("K8sVersionNotSupported", message, "kubernetesVersion", "CLI-01", fix)]


def check_features(properties: Json) -> list[Finding]:
    """Cluster-wide features that this version does not run yet."""
    findings = []
    access = properties.get("apiServerAccessProfile")
    if isinstance(access, dict) and access.get("enablePrivateCluster"):
        findings.append(
            not_supported("A private cluster", "apiServerAccessProfile.enablePrivateCluster", "", "leave it out")
        )
    return findings


def _unknown_values(network: Json) -> list[Finding]:
    return [
        Finding(
            "InvalidParameter",
            f"The value of parameter networkProfile.{key} '{network[key]}' is invalid; it can be {', '.join(values)}.",
            f"networkProfile.{key}",
            "CLI-01",
        )
        for key, values in _VALUES.items()
        if network.get(key) is not None and network[key] not in values
    ]


def _combinations(network: Json) -> list[Finding]:
    plugin, mode = network.get("networkPlugin"), network.get("networkPluginMode")
    dataplane, policy = network.get("networkDataplane"), network.get("networkPolicy")
    findings = []
    if mode == "overlay" and plugin in ("kubenet", "none"):
        message = f"Network plugin mode 'overlay' is not supported with network plugin '{plugin}'."
        findings.append(
            Finding(
                "UnsupportedNetworkPluginModeWithNetworkPlugin",
                message,
                "networkProfile.networkPluginMode",
                "OVL-01",
                "use --network-plugin azure with overlay",
            )
        )
    if dataplane == "cilium" and policy not in ("cilium", "none"):
        message = f"Cilium dataplane requires network policy cilium, not '{policy}'."
        findings.append(
            Finding("CiliumDataplaneRequiresNetworkPolicyCilium", message, "networkProfile.networkPolicy", "CIL-11")
        )
    if policy == "cilium" and dataplane != "cilium":
        message = f"Network policy cilium requires network dataplane cilium, not '{dataplane}'."
        findings.append(
            Finding("NetworkPolicyCiliumRequiresCiliumDataplane", message, "networkProfile.networkDataplane", "CIL-09")
        )
    if plugin == "kubenet" and policy == "azure":
        message = "Network policy azure is not supported with network plugin kubenet."
        findings.append(
            Finding("NetworkPolicyAzureNotSupportedWithKubenet", message, "networkProfile.networkPolicy", "KUB-07")
        )
    return findings


def _families(network: Json) -> list[Finding]:
    families = network.get("ipFamilies")
    target = "networkProfile.ipFamilies"
    if families in (["IPv4", "IPv6"], ["ipv4", "ipv6"]):
        return [not_supported("Dual-stack (ipFamilies IPv4, IPv6)", target, "DUAL-04", "use --ip-families ipv4")]
    if not isinstance(families, list) or [str(f).lower() for f in families] != ["ipv4"]:
        message = (
            f"The value of parameter networkProfile.ipFamilies '{families}' is invalid; it can be IPv4 or IPv4,IPv6."
        )
        return [Finding("InvalidParameter", message, target, "DUAL-04")]
    return []
