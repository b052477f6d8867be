"""The settings of a kubelet: flags with the defaults of a node."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """Everything a kubelet is told; nothing else differs between a lab's node and another."""

    kubeconfig: str
    node_name: str
    node_ips: tuple[str, ...]
    cri: str = "/run/containerd/containerd.sock"
    root: str = "/var/lib/kubelet"
    address: str = "0.0.0.0"
    port: int = 10250
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    max_pods: int = 250
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    provider_id: str = ""
    cgroup_root: str = ""
    resolv_conf: str = "/etc/resolv.conf"
    log_root: str = "/var/log"
    runtime_handler: str = ""
    starts_at_once: int = 8
    log_level: str = "info"


def _labels(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _words(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def parse_settings(argv: Sequence[str] | None = None) -> Settings:
    """Settings of a command line; exits with usage on a wrong one."""
    defaults = Settings("", "", ())
    p = argparse.ArgumentParser(prog="python -m podloom.kube.kubelet", description=__doc__)
    p.add_argument("--kubeconfig", required=True)
    p.add_argument("--node-name", required=True)
    p.add_argument("--node-ip", required=True, type=_words, help="addresses of the node, comma separated")
    p.add_argument("--cri", default=defaults.cri, help="unix socket of the container runtime")
    p.add_argument("--root", default=defaults.root)
    p.add_argument("--address", default=defaults.address, help="where the server listens")
    p.add_argument("--port", type=int, default=defaults.port)
    p.add_argument("--tls-cert", default="")
    p.add_argument("--tls-key", default="")
    p.add_argument("--client-ca", default="")
    p.add_argument("--cluster-dns", type=_words, default=())
    p.add_argument("--cluster-domain", default=defaults.cluster_domain)
    p.add_argument("--max-pods", type=int, default=defaults.max_pods)
    p.add_argument("--labels", type=_labels, default={})
    p.add_argument("--taints", type=_words, default=(), help="key=value:Effect, at registration")
    p.add_argument("--provider-id", default="")
    p.add_argument("--cgroup-root", default="")
    p.add_argument("--resolv-conf", default=defaults.resolv_conf)
    p.add_argument("--log-root", default=defaults.log_root, help="pods/ and containers/ are made below")
    p.add_argument("--runtime-handler", default="")
    p.add_argument("--starts-at-once", type=int, default=defaults.starts_at_once)
    p.add_argument("--log-level", default=defaults.log_level)
    known = vars(p.parse_args(argv))
    return Settings(node_ips=known.pop("node_ip"), **known)
