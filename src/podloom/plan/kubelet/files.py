"""Texts a pod finds in /etc: hosts and the resolver's settings (Kubernetes docs, "DNS for Services and Pods")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podloom.plan.kubelet.fields import NodeFacts

_HEADER = "# Kubernetes-managed hosts file.\n"
_HEADER_HOST = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)
_SEARCH_MAX = 32
_SERVERS_MAX = 3


def hostname_of(pod: Mapping[str, Any], node: NodeFacts) -> str:
    """The pod's host name: spec.hostname or its name, at most 63 characters; the node's when it shares the network."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return node.name
    name = str(spec.get("hostname") or pod["metadata"]["name"])
    return name[:63].rstrip("-.")


def domain_of(pod: Mapping[str, Any], node: NodeFacts) -> str:
    """subdomain.namespace.svc.domain when the pod has a subdomain."""
    subdomain = pod["spec"].get("subdomain")
    return f"{subdomain}.{pod['metadata']['namespace']}.svc.{node.dns_domain}" if subdomain else ""


def hosts_file(pod: Mapping[str, Any], node: NodeFacts, pod_ips: Sequence[str], host_text: str) -> str:
    """/etc/hosts of the pod's containers: addresses of the pod, then hostAliases; of the node for hostNetwork."""
    if pod["spec"].get("hostNetwork"):
        text = _HEADER_HOST + host_text
    else:
        name, domain = hostname_of(pod, node), domain_of(pod, node)
        names = f"{name}.{domain}\t{name}" if domain else name
        text = _HEADER + _LOCAL + "".join(f"{ip}\t{names}\n" for ip in pod_ips)
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join([alias["ip"], *(alias.get("hostnames") or ())]) + "\n" for alias in aliases)
    return text


def parse_resolv(text: str) -> dict[str, list[str]]:
    """servers, searches, options of a resolv.conf(5)."""
    out: dict[str, list[str]] = {"servers": [], "searches": [], "options": []}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            out["servers"].append(words[1])
        elif words[0] in ("search", "domain"):
            out["searches"] = words[1:]
        elif words[0] == "options":
            out["options"] += words[1:]
    return out


def dns_config(pod: Mapping[str, Any], node: NodeFacts, host_resolv: str) -> dict[str, list[str]]:
    """DNSConfig of runtime v1 by dnsPolicy and dnsConfig."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    host = parse_resolv(host_resolv)
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "None":
        out: dict[str, list[str]] = {"servers": [], "searches": [], "options": []}
    elif policy == "Default" or not node.dns_servers:
        out = host
    else:
        namespace, domain = pod["metadata"]["namespace"], node.dns_domain
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        searches += [one for one in host["searches"] if one not in searches]
        out = {"servers": list(node.dns_servers), "searches": searches, "options": ["ndots:5"]}
    return _with_overrides(out, spec.get("dnsConfig") or {})


def _with_overrides(base: dict[str, list[str]], custom: Mapping[str, Any]) -> dict[str, list[str]]:
    servers = base["servers"] + [one for one in custom.get("nameservers") or () if one not in base["servers"]]
    searches = base["searches"] + [one for one in custom.get("searches") or () if one not in base["searches"]]
    options = {one.partition(":")[0]: one for one in base["options"]}
    for option in custom.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value is not None else option["name"]
    return {"servers": servers[:_SERVERS_MAX], "searches": searches[:_SEARCH_MAX], "options": list(options.values())}
