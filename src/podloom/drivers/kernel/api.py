"""What the rest of the house may ask of the kernel: rows in, rows out.

The problem: plans speak of rows by name, the kernel of numbered objects in namespaces. A `Kernel` reads and
writes rows of one kind in one namespace; three bodies keep this contract (real, fake, faulty; one test suite
holds them to it). Reading never raises for what is not there. Writing never raises for one row: it answers
with the failures by key, and what is not in the answer was done. Creating what exists with the wanted value
and deleting what is gone are success.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from podloom.model.errors import PodloomError
from podloom.model.rows import Key, Kind, Tag


class Kernel(Protocol):
    """One user's view of the kernel; not for several threads at once."""

    tag: Tag

    def namespaces(self) -> set[str]:
        """Names of the namespaces under /run/netns that carry our prefix."""
        ...

    def read(self, kind: Kind, netns: str, wanted: Mapping[Key, Any], *, whole: bool) -> dict[Key, Any]:
        """Values, as they are, of the `wanted` keys that exist, and if `whole` of all rows with our tag.

        Raises Unavailable when the kernel does not answer; a namespace that does not exist is empty."""
        ...

    def write(
        self, kind: Kind, netns: str, upserts: Mapping[Key, Any], old: Mapping[Key, Any]
    ) -> dict[Key, PodloomError]:
        """Make the rows be so. `old` holds the present values of those among them that exist (from `read`)."""
        ...

    def delete(self, kind: Kind, netns: str, rows: Mapping[Key, Any]) -> dict[Key, PodloomError]:
        """Remove the rows; the values are those read."""
        ...

    def write_nft(
        self,
        netns: str,
        tables: Mapping[Key, str],
        elements: Mapping[Key, str],
        gone: Collection[Key],
        old: Mapping[Key, str],
    ) -> dict[Key, PodloomError]:
        """One transaction for nftables: whole tables, elements, and keys of either that go. `old`: what exists.

        All or nothing for a namespace: on failure every key has the error."""
        ...

    def refresh(self) -> None:
        """Forget what was looked up (interface numbers); called before each reading of the world."""
        ...

    def release(self) -> None:
        """Close what was opened, so that namespaces others delete can go; usable again afterwards."""
        ...
