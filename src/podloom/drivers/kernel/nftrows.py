"""nftables tables and elements as rows.

The problem: is the table in the kernel the wanted one? nft prints a table differently from how people write
it, and a hash kept beside it would not show what others changed. So the kernel is asked to spell the wanted
text itself: it is loaded once into a scratch namespace and listed there (1 ms, remembered), and the two
listings are compared. Elements of named sets and maps are rows of their own; a table whose structure changes
is replaced together with its elements in one transaction, so no packet sees it half made.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from podloom.drivers.kernel import netns as ns
from podloom.drivers.kernel.nft import STATELESS, TERSE, Nft
from podloom.model.errors import Stale
from podloom.model.rows import Key, Tag
from podloom.render.nft import elements_of, read_element, render_elements, render_table

_CONTAINERS = ("set", "map")
_UNMANAGED = ("dynamic", "timeout")


@lru_cache(maxsize=256)
def canonical_table(family: str, table: str, body: str) -> str:
    """The kernel's own spelling of a table; raises Rejected when nft refuses the text."""
    fd = ns.anonymous_netns()
    try:
        with Nft(fd) as nft:
            nft.run(render_table(family, table, body))
            return nft.run(f"list table {family} {table}", STATELESS | TERSE)
    finally:
        os.close(fd)


class NftRows:
    """Reads and writes nft rows, keeping one libnftables context per namespace until `release`."""

    def __init__(self, tag: Tag, fd_of: Callable[[str], int | str]) -> None:
        self._tag = tag
        self._fd_of = fd_of
        self._contexts: dict[str, Nft] = {}

    def context(self, netns: str) -> Nft:
        """The namespace's context; raises Stale when there is no such namespace."""
        found = self._contexts.get(netns)
        if found is None:
            found = self._contexts[netns] = Nft(self._fd_of(netns))
        return found

    def drop(self, netns: str) -> None:
        if netns in self._contexts:
            self._contexts.pop(netns).close()

    def release(self) -> None:
        for netns in list(self._contexts):
            self.drop(netns)

    def read_tables(self, netns: str, wanted: Mapping[Key, str], whole: bool) -> dict[Key, str]:
        """Bodies of tables: the wanted text where the kernel's listing equals its spelling, else that listing."""
        nft = self.context(netns)
        found: dict[Key, str] = {}
        for key in {*wanted, *(self._tables(netns) if whole else ())}:
            _, family, table = map(str, key)
            try:
                listing = nft.run(f"list table {family} {table}", STATELESS | TERSE)
            except Stale:
                continue
            same = key in wanted and listing == canonical_table(family, table, wanted[key])
            found[key] = wanted[key] if same else listing
        return found

    def _tables(self, netns: str) -> list[Key]:
        listed = self.context(netns).json("list tables")["nftables"]
        tables = [item["table"] for item in listed if "table" in item]
        return [(netns, t["family"], t["name"]) for t in tables if t["name"].startswith(self._tag.nft_prefix)]

    def read_elements(self, netns: str, wanted: Mapping[Key, str], whole: bool) -> dict[Key, str]:
        """Elements: of all our tables when `whole`, else each wanted one by itself."""
        found: dict[Key, str] = {}
        if whole:
            for _, family, table in self._tables(netns):
                found |= self._table_elements(netns, str(family), str(table))
            return found
        nft = self.context(netns)
        for key in wanted:
            _, family, table, container, element = map(str, key)
            try:
                answer = nft.run(render_elements("get", family, table, container, {element: ""}))
            except Stale:
                continue
            present, data = read_element(answer)
            if present == element:
                found[key] = data
        return found

    def _table_elements(self, netns: str, family: str, table: str) -> dict[Key, str]:
        return _json_elements(netns, self.context(netns).json(f"list table {family} {table}"))

    def apply(
        self,
        netns: str,
        tables: Mapping[Key, str],
        elements: Mapping[Key, str],
        gone: Collection[Key],
        old: Mapping[Key, str],
    ) -> None:
        """One transaction: replace `tables` (keeping their other elements), set `elements`, remove `gone`."""
        text = []
        dead_tables: set[Key] = {key for key in gone if len(key) == 3}
        for key in dead_tables:
            text.append(f"add table {key[1]} {key[2]}\ndelete table {key[1]} {key[2]}\n")
        for key, body in tables.items():
            text.append(render_table(str(key[1]), str(key[2]), body))
        rebuilt = dead_tables | set(tables)
        stale: list[Key] = [key for key in gone if len(key) == 5 and key[:3] not in rebuilt]
        stale += [key for key in elements if key in old and key[:3] not in rebuilt]
        text += _commands("delete", dict.fromkeys(stale, ""))
        text += _commands("add", self._kept(tables, gone, old) | dict(elements))
        if text:
            self.context(netns).run("".join(text))

    @staticmethod
    def _kept(tables: Mapping[Key, str], gone: Collection[Key], old: Mapping[Key, str]) -> dict[Key, str]:
        """Elements that a replaced table had, that are not to go, and whose set the new text still has."""
        dead = set(gone)
        return {
            key: data
            for key, data in old.items()
            if len(key) == 5 and key not in dead and key[:3] in tables and f" {key[3]} " in tables[key[:3]]
        }


def _json_elements(netns: str, answer: Mapping[str, list[dict[str, dict[str, object]]]]) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for item in answer["nftables"]:
        for kind in _CONTAINERS:
            box = item.get(kind)
            if box is None or any(flag in _UNMANAGED for flag in box.get("flags", ())):  # type: ignore[attr-defined]
                continue
            head = (netns, str(box["family"]), str(box["table"]), str(box["name"]))
            found.update(((*head, element), data) for element, data in elements_of(box).items())
    return found


def _commands(verb: str, rows: Mapping[Key, str]) -> list[str]:
    """One command per container."""
    boxes: dict[Key, dict[str, str]] = defaultdict(dict)
    for key, data in rows.items():
        boxes[key[:4]][str(key[4])] = data
    return [render_elements(verb, str(box[1]), str(box[2]), str(box[3]), elements) for box, elements in boxes.items()]
