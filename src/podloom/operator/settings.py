"""What the operator is told."""

from __future__ import annotations

import argparse
import socket
from dataclasses import dataclass
from ipaddress import ip_network

from podloom.model.nnc import Network


@dataclass(frozen=True)
class Settings:
    """One cluster's operator; the cloud settings are optional together (then there are no routes to write)."""

    kubeconfig: str
    pod_cidrs: tuple[Network, ...]
    cloud_url: str = ""
    cloud_ca: str = ""
    routing_domain: str = ""
    identity: str = ""
    resync_s: float = 30.0
    release_after_s: float = 20.0
    log_level: str = "info"


def parse_settings(argv: list[str] | None = None) -> Settings:
    """Settings from the command line; exits with usage on a mistake."""
    parser = argparse.ArgumentParser(prog="podloom.operator", description="Gives each node its pod range and route.")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--pod-cidr", dest="pod_cidrs", action="append", required=True, type=ip_network)
    parser.add_argument("--cloud-url", default="", help="the cloud that routes pod ranges, if there is one")
    parser.add_argument("--cloud-ca", default="", help="CA certificate of the cloud's address")
    parser.add_argument("--routing-domain", default="", help="identifier of the cluster's routing domain")
    parser.add_argument("--identity", default=socket.gethostname(), help="who holds the leader lease")
    parser.add_argument("--resync-s", type=float, default=30.0)
    parser.add_argument("--release-after-s", type=float, default=20.0, help="how long a node must be gone")
    parser.add_argument("--log-level", default="info")
    values = vars(parser.parse_args(argv))
    return Settings(**{**values, "pod_cidrs": tuple(values["pod_cidrs"])})
