"""What the agent reads of its machine: the boot it is in, the primary interface, network namespaces.

The problem: leases belong to one boot, MTU and masquerade address to the interface that the default route
leaves by, and none of it may be guessed. The boot is the kernel's boot id together with the start of PID 1, so that
a machine that is a container (whose kernel does not reboot with it) counts too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_interface
from pathlib import Path

from podloom.drivers.kernel.netns import netns_inode
from podloom.drivers.kernel.rtnl import Rtnl
from podloom.model.cni import IPAddress
from podloom.model.errors import Unavailable

_DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Primary:
    """The interface of the default route: MTU in bytes, its first global address of each family.

    gateway is the default route's, subnet the first address's, "" where there is none.
    """

    name: str
    mtu: int
    addresses: tuple[IPAddress, ...]
    gateway: str = ""
    subnet: str = ""


def boot_identity(proc: Path = Path("/proc")) -> str:
    """A text that changes with every boot of this machine."""
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    stat = (proc / "1/stat").read_text()
    started = stat.rpartition(")")[2].split()[19]
    return f"{boot}:{started}"


def read_primary() -> Primary:
    """The primary interface; raises Unavailable while there is no default route or no address on it."""
    with Rtnl("") as rtnl:
        routes = [r for r in rtnl.routes() if r.dst in _DEFAULTS.values() and r.table == 254 and r.index]
        if not routes:
            raise Unavailable(
                "find the primary interface", "there is no default route", "bring the node's network up first"
            )
        best = min(routes, key=lambda route: (":" in route.dst, route.metric))
        link = next(link for link in rtnl.links() if link.index == best.index)
        here = [ip_interface(a.address) for a in rtnl.addresses(best.index) if a.scope == "global"]
    found: dict[int, IPv4Address | IPv6Address] = {}
    for item in here:
        found.setdefault(item.version, item.ip)
    if not found:
        raise Unavailable(f"read interface {link.name}", "it has no global address", "give the node its address first")
    addresses = tuple(found[version] for version in sorted(found))
    return Primary(link.name, link.mtu, addresses, best.via, str(here[0].network))


def netns_exists(path: str) -> bool:
    """Whether a network namespace is at `path` (a bind mount, or a process's /proc/PID/ns/net)."""
    if not path.startswith("/"):
        return False
    if path.startswith("/proc/"):
        return netns_inode(path) != 0
    try:
        return Path(path).stat().st_dev != Path(path).parent.stat().st_dev
    except OSError:
        return False


def netns_identity(path: str) -> int:
    """What two paths of one network namespace have in common; "" is this process's own."""
    return netns_inode(path or "/proc/self/ns/net")


def empty_netns(paths: Collection[str]) -> set[str]:
    """Those of the namespaces at `paths` that no process is in, as far as this process can see processes."""
    occupied = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            occupied.add(netns_inode(f"/proc/{entry.name}/ns/net"))
    return {path for path in paths if netns_inode(path) not in occupied}
