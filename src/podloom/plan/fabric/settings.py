"""Where the lab's internet lies: a part of the benchmarking range (RFC 2544), which no public host has."""

from __future__ import annotations

from dataclasses import dataclass

WIRE_SERVER = "168.63.129.16"
"""Azure's DNS and wire server, present in every virtual network (azure-behaviour.md, section 2)."""
MTU = 1500
NFT_FAMILY, NFT_TABLE = "inet", "fabric"
"""Not the name of the agent's table: a VM's own tables are none of ours."""
UNROUTED = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
"""Ranges that a virtual network refuses unless they are its own (Azure's default route "None")."""


@dataclass(frozen=True)
class FabricSettings:
    """One lab: its tag, the internet's addresses, and whether the user's shell is a host on it."""

    tag: str = "podloom"
    router: str = "198.19.0.1"
    shell: str = "198.19.0.2"
    host: str = "198.19.0.80"
    public_prefixes: tuple[str, ...] = ("198.19.0.0/24", "198.19.1.0/24")
    outbound_range: str = "198.19.1.0/24"
    with_shell: bool = True
