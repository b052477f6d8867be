"""Kernel error numbers as our error families, with the object named."""

from __future__ import annotations

import errno
import os

from podloom.model.errors import Exhausted, PodloomError, Rejected, Stale, Unavailable, Unsupported

GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What deleting something that is already gone answers; for us that is success."""

_FAMILIES: dict[int, type[PodloomError]] = {
    **dict.fromkeys((errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.ENOENT, errno.EEXIST), Stale),
    **dict.fromkeys((errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS), Unsupported),
    **dict.fromkeys((errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE), Exhausted),
    **dict.fromkeys((errno.EINVAL, errno.ERANGE, errno.EADDRINUSE, errno.ENAMETOOLONG), Rejected),
}
_REMEDY: dict[type[PodloomError], str] = {
    Stale: "read the world again and repeat",
    Unsupported: "run as root on a kernel that has this feature",
    Exhausted: "free memory or raise the limit",
    Rejected: "correct the value",
    Unavailable: "repeat later",
}


def kernel_error(number: int, attempted: str, words: str = "") -> PodloomError:
    """The error for errno `number` while doing `attempted` (which names the object)."""
    family = _FAMILIES.get(number, Unavailable)
    found = f"{errno.errorcode.get(number, number)} {os.strerror(number)}"
    return family(attempted, f"{found}: {words}" if words else found, _REMEDY[family])
