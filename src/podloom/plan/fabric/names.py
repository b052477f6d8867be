"""What the fabric's things are called in the kernel: a function of the lab's tag and the resource's id.

The problem: others (the lab's nodes, the API server) must find a VM's namespace without asking, two labs on
one machine must not meet, interface names have 15 characters, and ARM ids are the same whatever their case.
So every name is tag or a fixed prefix, a readable part, and a hash of the lower-cased id. A tag is letters and
digits, without a dash, so that no tag's names start with another's.
"""

from __future__ import annotations

import re
from hashlib import sha1

NIC_PREFIX = "pn"
UPLINK_PREFIX = "pu"
SHELL_PREFIX = "ps"
LINK_PREFIXES = (NIC_PREFIX, UPLINK_PREFIX, SHELL_PREFIX)
VM_INTERFACE = "eth0"
UPLINK = "uplink"


def netns_prefix(tag: str) -> str:
    """What all namespaces of the lab start with."""
    return f"{tag}-"


def internet_netns(tag: str) -> str:
    """The namespace that plays the internet."""
    return f"{tag}-internet"


def router_netns(tag: str, vnet_id: str) -> str:
    """The router of a virtual network."""
    return f"{tag}-router-{_readable(vnet_id)}-{_hash(vnet_id, 8)}"


def vm_netns(tag: str, nic_id: str) -> str:
    """The namespace of the machine behind a network interface."""
    return f"{tag}-vm-{_readable(nic_id)}-{_hash(nic_id, 8)}"


def nic_link(nic_id: str) -> str:
    """A NIC's interface in its router; the other end is the VM's eth0."""
    return NIC_PREFIX + _hash(nic_id, 12)


def uplink_link(vnet_id: str) -> str:
    """A router's interface in the internet namespace; the other end is the router's `uplink`."""
    return UPLINK_PREFIX + _hash(vnet_id, 12)


def shell_near_link() -> str:
    """The internet's end of the veth to the user's shell."""
    return f"{SHELL_PREFIX}hell0"


def shell_link(tag: str) -> str:
    """The interface in the user's own namespace, e.g. podloom0."""
    return f"{tag}0" if len(tag) < 15 else f"{tag[:8]}{_hash(tag, 6)}0"


def mac_of(nic_id: str, end: str = "vm") -> str:
    """A stable locally administered MAC for one end ("vm" or "router") of a NIC."""
    raw = sha1(f"{end}:{nic_id.lower()}".encode(), usedforsecurity=False).digest()[:5]
    return "02:" + raw.hex(":")


def _readable(resource_id: str) -> str:
    """The resource's own name, fit for a file name."""
    return re.sub(r"[^a-z0-9._-]", "-", resource_id.rstrip("/").rsplit("/", 1)[-1].lower())[:64]


def _hash(text: str, digits: int) -> str:
    return sha1(text.lower().encode(), usedforsecurity=False).hexdigest()[:digits]
