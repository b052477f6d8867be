"""Network namespaces: made, entered and left by raw system calls.

The problem: `ip netns exec` and libraries start a process (5 to 16 ms) for what is one setns(2). Here a
namespace is made by unshare(2) in a short-lived thread that bind-mounts its own namespace file, 0.4 ms, in the
place and the way of iproute2, so `ip netns` sees it. A thread enters another namespace with `in_netns` and
always comes back; if it could not come back, the process would run in the wrong network, so that is a Bug and
the thread's work ends there.

A namespace is named by its name under /run/netns, by an absolute path, by "" for the caller's own, or by an
open file descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podloom.drivers.kernel.errors import kernel_error
from podloom.model.errors import Bug

NETNS_DIR = "/run/netns"
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 4096, 16384, 1 << 20, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)


def netns_path(netns: str) -> str:
    """The file of a namespace given by name, by absolute path, or by "" (this thread's own)."""
    if not netns:
        return "/proc/thread-self/ns/net"
    return netns if netns.startswith("/") else f"{NETNS_DIR}/{netns}"


def open_netns(netns: str) -> int:
    """A file descriptor of the namespace; the caller closes it. Raises Stale when there is none."""
    try:
        fd = os.open(netns_path(netns), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise kernel_error(e.errno or errno.EIO, f"open network namespace {netns!r}") from e
    if not _is_namespace(os.fstat(fd)):
        os.close(fd)
        raise kernel_error(errno.ENOENT, f"open network namespace {netns!r}")
    return fd


def _is_namespace(found: os.stat_result) -> bool:
    """Whether it is a namespace, not the empty file that its name is for a moment when it is made or removed."""
    return found.st_dev == os.stat("/proc/self/ns/net").st_dev  # noqa: PTH116


def list_netns(prefix: str = "") -> set[str]:
    """Names of the namespaces under /run/netns that start with `prefix` (mounted ones; leftovers excluded)."""
    try:
        with os.scandir(NETNS_DIR) as entries:
            return {e.name for e in entries if e.name.startswith(prefix) and _is_nsfs(e.path)}
    except FileNotFoundError:
        return set()


def _is_nsfs(path: str) -> bool:
    """Whether a namespace is mounted on the file: then it lies on another file system than its folder."""
    try:
        return os.lstat(path).st_dev != os.lstat(NETNS_DIR).st_dev
    except OSError:
        return False


def create_netns(name: str) -> None:
    """Make a named namespace with its loopback up; one that exists already is success."""
    path = f"{NETNS_DIR}/{name}"
    with _locked_dir() as _:
        if _is_nsfs(path):
            return
        Path(path).touch(mode=0o444)
        failure: list[OSError] = []
        thread = threading.Thread(target=_unshare_and_bind, args=(path, failure), name=f"netns-{name}")
        thread.start()
        thread.join()
    if failure:
        Path(path).unlink(missing_ok=True)
        raise kernel_error(failure[0].errno or errno.EIO, f"create network namespace {name}")


def _unshare_and_bind(path: str, failure: list[OSError]) -> None:
    try:
        _check(_libc.unshare(_CLONE_NEWNET), path)
        _loopback_up()
        _check(_libc.mount(b"/proc/thread-self/ns/net", path.encode(), b"none", _MS_BIND, None), path)
    except OSError as e:
        failure.append(e)


def anonymous_netns() -> int:
    """A file descriptor of a new namespace without a name; it ends when the caller closes the descriptor."""
    found: list[int] = []
    failure: list[OSError] = []

    def make() -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "a nameless namespace")
            found.append(open_netns(""))
        except OSError as e:
            failure.append(e)

    thread = threading.Thread(target=make, name="netns-anonymous")
    thread.start()
    thread.join()
    if failure or not found:
        raise kernel_error(failure[0].errno or errno.EIO if failure else errno.EIO, "create a nameless namespace")
    return found[0]


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(s, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | 1))


def delete_netns(name: str) -> None:
    """Remove a named namespace; one that is gone is success. It lives on while processes or sockets are in it."""
    path = f"{NETNS_DIR}/{name}"
    with _locked_dir():
        while _is_nsfs(path):
            try:
                _check(_libc.umount2(path.encode(), _MNT_DETACH), path)
            except OSError as e:
                raise kernel_error(e.errno or errno.EIO, f"delete network namespace {name}") from e
        Path(path).unlink(missing_ok=True)


def clear_leftovers(prefix: str) -> None:
    """Remove files of this prefix that a killed `create_netns` left without a namespace."""
    if not prefix or not Path(NETNS_DIR).is_dir():
        return
    with _locked_dir():
        for path in Path(NETNS_DIR).iterdir():
            if path.name.startswith(prefix) and not _is_nsfs(str(path)):
                path.unlink(missing_ok=True)


@contextmanager
def _locked_dir() -> Iterator[int]:
    """/run/netns as iproute2 makes it (a shared mount of itself), locked against others doing the same."""
    Path(NETNS_DIR).mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        where = NETNS_DIR.encode()
        if _libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None):
            _check(_libc.mount(where, where, b"none", _MS_BIND | _MS_REC, None), NETNS_DIR)
            _check(_libc.mount(b"", where, b"none", _MS_SHARED | _MS_REC, None), NETNS_DIR)
        yield fd
    finally:
        os.close(fd)


def _check(result: int, path: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


@contextmanager
def in_netns(netns: int | str) -> Iterator[None]:
    """Run the body with this thread in the namespace; the thread returns to its own, whatever the body raises.

    The body must not await, and must not hand work to other threads (they stay where they are)."""
    if netns == "":
        yield
        return
    target = netns if isinstance(netns, int) else open_netns(netns)
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(target, _CLONE_NEWNET):
                raise kernel_error(ctypes.get_errno(), f"enter network namespace {netns!r}")
            try:
                yield
            finally:
                if _libc.setns(home, _CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise Bug("return to the thread's own network namespace", os.strerror(number))
        finally:
            os.close(home)
    finally:
        if not isinstance(netns, int):
            os.close(target)


def socket_in_netns(
    netns: int | str,
    family: int = socket.AF_INET,
    kind: int = socket.SOCK_STREAM,
    proto: int = 0,
) -> socket.socket:
    """A socket that lives in the namespace, usable from any thread or loop. It keeps the namespace alive."""
    with in_netns(netns):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)


def netns_inode(netns: int | str) -> int:
    """The number that is the namespace's identity; 0 when there is none."""
    try:
        found = os.fstat(netns) if isinstance(netns, int) else os.stat(netns_path(netns))  # noqa: PTH116
    except OSError:
        return 0
    return found.st_ino if _is_namespace(found) else 0
