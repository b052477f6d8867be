"""Settings under /proc/sys/net, of any network namespace: the files show the namespace of the thread that opens."""

from __future__ import annotations

import errno
import os

from podloom.drivers.kernel.errors import kernel_error
from podloom.drivers.kernel.netns import in_netns

_ROOT = "/proc/sys/net/"


def read_sysctl(netns: int | str, path: str) -> str:
    """The value of e.g. "ipv4/ip_forward"; raises Stale when there is no such setting."""
    with in_netns(netns):
        return read_here(path)


def write_sysctl(netns: int | str, path: str, value: str | int) -> None:
    """Set e.g. "ipv4/conf/eth0/proxy_arp"."""
    with in_netns(netns):
        write_here(path, str(value))


def read_here(path: str) -> str:
    """As `read_sysctl`, in the thread's present namespace."""
    try:
        fd = os.open(_ROOT + path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return " ".join(os.read(fd, 4096).decode().split())
        finally:
            os.close(fd)
    except OSError as e:
        raise kernel_error(e.errno or errno.EIO, f"read setting net/{path}") from e


def write_here(path: str, value: str) -> None:
    """As `write_sysctl`, in the thread's present namespace."""
    try:
        fd = os.open(_ROOT + path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as e:
        raise kernel_error(e.errno or errno.EIO, f"set net/{path} to {value}") from e
