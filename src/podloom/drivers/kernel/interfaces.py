"""The interfaces of one namespace by name and by number, looked up once per reading of the world."""

from __future__ import annotations

from collections.abc import Iterable

from podloom.drivers.kernel.rtnl import Rtnl
from podloom.render.netlink import Link

MISSING = 0x7FFFFFFF
"""An interface number that no interface has: the kernel answers ENODEV to it, where 0 would mean "any"."""


class Interfaces:
    """A cache over one Rtnl: single look-ups until the whole table is asked for.

    `fresh` are interfaces made since the last `forget`: nothing of ours can hang on them yet."""

    def __init__(self, rtnl: Rtnl) -> None:
        self.rtnl = rtnl
        self._by_name: dict[str, Link | None] = {}
        self._whole = False
        self.fresh: set[str] = set()

    def forget(self) -> None:
        self._by_name.clear()
        self.fresh.clear()
        self._whole = False

    def forget_name(self, name: str) -> None:
        """One interface was made or changed."""
        self._by_name.pop(name, None)
        self._whole = False

    def get(self, name: str) -> Link | None:
        """The interface, or None."""
        if name in self._by_name:
            return self._by_name[name]
        link = None if self._whole else self.rtnl.link(name)
        self._by_name[name] = link
        return link

    def all(self) -> list[Link]:
        if not self._whole:
            self._by_name = {link.name: link for link in self.rtnl.links()}
            self._whole = True
        return [link for link in self._by_name.values() if link]

    def index(self, name: str) -> int:
        """Its number; 0 for "", MISSING for what does not exist."""
        if not name:
            return 0
        link = self.get(name)
        return link.index if link else MISSING

    def worth_reading(self, names: Iterable[str]) -> list[int]:
        """Numbers of those that exist and are not fresh, each once."""
        old = (name for name in names if name not in self.fresh)
        return [index for index in dict.fromkeys(map(self.index, old)) if index not in (0, MISSING)]

    def names(self) -> dict[int, str]:
        """Names by number, of what was looked up so far."""
        return {link.index: link.name for link in self._by_name.values() if link}
