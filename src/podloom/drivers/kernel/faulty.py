"""A kernel that fails a seeded share of calls and rows, around a real or fake one.

Failures come before the work, after it (the answer is lost, the deed is done), or for single rows of a batch:
the three ways in which the world fails.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Any

from podloom.drivers.kernel.api import Kernel
from podloom.drivers.kernel.errors import kernel_error
from podloom.model.errors import PodloomError
from podloom.model.rows import Key, Kind, Tag

Failures = dict[Key, PodloomError]


class FaultyKernel:
    """Implements `api.Kernel`; `share` of calls and rows fail, chosen by `seed`."""

    def __init__(self, inner: Kernel, *, share: float = 0.1, seed: int = 0) -> None:
        self.inner = inner
        self.tag: Tag = inner.tag
        self.share = share
        self.failed = 0
        self._random = Random(seed)

    def _strikes(self) -> bool:
        strikes = self._random.random() < self.share
        self.failed += strikes
        return strikes

    def _error(self, what: str) -> PodloomError:
        return kernel_error(errno.EBUSY, what, "a fault put in by the test")

    def namespaces(self) -> set[str]:
        return self.inner.namespaces()

    def read(self, kind: Kind, netns: str, wanted: Mapping[Key, Any], *, whole: bool) -> dict[Key, Any]:
        if self._strikes():
            raise self._error(f"read {kind!r} of namespace {netns!r}")
        return self.inner.read(kind, netns, wanted, whole=whole)

    def write(self, kind: Kind, netns: str, upserts: Mapping[Key, Any], old: Mapping[Key, Any]) -> Failures:
        return self._rows(upserts, lambda rows: self.inner.write(kind, netns, rows, old))

    def delete(self, kind: Kind, netns: str, rows: Mapping[Key, Any]) -> Failures:
        return self._rows(rows, lambda some: self.inner.delete(kind, netns, some))

    def _rows(self, rows: Mapping[Key, Any], act: Callable[[dict[Key, Any]], Failures]) -> Failures:
        before = {key for key in rows if self._strikes()}
        after = {key for key in rows if key not in before and self._strikes()}
        done = act({key: value for key, value in rows.items() if key not in before})
        return done | {key: self._error(f"row {key}") for key in before | after}

    def write_nft(
        self,
        netns: str,
        tables: Mapping[Key, str],
        elements: Mapping[Key, str],
        gone: Collection[Key],
        old: Mapping[Key, str],
    ) -> Failures:
        everything = [*tables, *elements, *gone]
        if self._strikes():
            return dict.fromkeys(everything, self._error(f"nftables of namespace {netns!r}"))
        done = self.inner.write_nft(netns, tables, elements, gone, old)
        if self._strikes():
            return dict.fromkeys(everything, self._error(f"answer of nftables of namespace {netns!r}"))
        return done

    def refresh(self) -> None:
        self.inner.refresh()

    def release(self) -> None:
        self.inner.release()
