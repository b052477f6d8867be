"""What the agent is told: every path and interval, with a real node's as defaults."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Paths and intervals (seconds) of one agent."""

    node_name: str
    kubeconfig: str = ""
    node_ip: str = ""
    socket: Path = Path("/run/podloom/agent.sock")
    state: Path = Path("/var/lib/podloom")
    conflist_dir: Path = Path("/etc/cni/net.d")
    plugin_dir: Path = Path("/opt/cni/bin")
    reference_dir: Path = Path("/usr/lib/cni")
    listen: str = "127.0.0.1:10092"
    cns_listen: str = "127.0.0.1:10090"
    resync_s: float = 60.0
    collect_s: float = 15.0
    log_level: str = "info"

    @property
    def spool(self) -> Path:
        return self.state / "spool"

    @property
    def database(self) -> Path:
        return self.state / "agent.db"


def parse_settings(argv: list[str] | None = None) -> Settings:
    """Settings from the command line; exits with usage on a mistake."""
    parser = argparse.ArgumentParser(prog="podloom.agent", description="The node agent behind the azure-vnet plugin.")
    default = Settings(node_name="")
    parser.add_argument("--node-name", required=True, help="this node's name in Kubernetes")
    parser.add_argument(
        "--kubeconfig", default="", help="how to reach the API server; without it only the store is used"
    )
    parser.add_argument("--node-ip", default="", help="the node's primary address; default: that of the default route")
    paths = (
        ("socket", "the plugin's socket"),
        ("state", "leases and spool"),
        ("conflist-dir", "where the runtime looks for CNI configuration"),
        ("plugin-dir", "where the runtime looks for plugins"),
        ("reference-dir", "where the distribution keeps the reference plugins"),
    )
    for name, help_text in paths:
        parser.add_argument(f"--{name}", type=Path, default=getattr(default, name.replace("-", "_")), help=help_text)
    parser.add_argument("--listen", default=default.listen, help="address of /metrics and /healthz; empty: none")
    parser.add_argument("--cns-listen", default=default.cns_listen, help="address of the node agent API; empty: none")
    parser.add_argument("--resync-s", type=float, default=default.resync_s, help="interval of the whole-node diff")
    parser.add_argument("--collect-s", type=float, default=default.collect_s, help="interval of lease collection")
    parser.add_argument("--log-level", default=default.log_level)
    return Settings(**vars(parser.parse_args(argv)))
