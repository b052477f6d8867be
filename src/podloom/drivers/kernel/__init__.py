"""The kernel: netlink, network namespaces, sysctl, nftables.

`Kernel` (api) is what rows are read from and written to: `RealKernel`, `FakeKernel` and `FaultyKernel` keep its
contract. Beneath it, for direct use: `netns` (create_netns, in_netns, socket_in_netns), `rtnl.Rtnl`, `nft.Nft`,
`sysctl`, `monitor`. Nothing here decides; nothing is kept that was not asked for.
"""

from podloom.drivers.kernel.api import Kernel
from podloom.drivers.kernel.fake import FakeKernel
from podloom.drivers.kernel.faulty import FaultyKernel
from podloom.drivers.kernel.netns import (
    create_netns,
    delete_netns,
    in_netns,
    list_netns,
    netns_path,
    open_netns,
    socket_in_netns,
)
from podloom.drivers.kernel.nft import Nft
from podloom.drivers.kernel.real import RealKernel
from podloom.drivers.kernel.rtnl import Rtnl
from podloom.drivers.kernel.sysctl import read_sysctl, write_sysctl

__all__ = [
    "FakeKernel",
    "FaultyKernel",
    "Kernel",
    "Nft",
    "RealKernel",
    "Rtnl",
    "create_netns",
    "delete_netns",
    "in_netns",
    "list_netns",
    "netns_path",
    "open_netns",
    "read_sysctl",
    "socket_in_netns",
    "write_sysctl",
]
