"""Which resources are served, under which paths, with which hooks.

The problem: built-in types are fixed, custom ones come and go with their definitions, and requests, discovery
and storage each look them up differently. One table, changed only as a whole group of versions at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from podloom.kube.api.contract import Kind, ResourceType, Subresource


@dataclass(frozen=True)
class Served:
    """A served resource type and its hooks."""

    type: ResourceType
    kind: Kind

    @property
    def storage_key(self) -> str:
        return self.type.storage_key

    @property
    def list_kind(self) -> str:
        return self.type.list_kind or f"{self.type.kind}List"

    @property
    def converts(self) -> bool:
        """Whether the stored form differs from this version's by more than its apiVersion."""
        return type(self.kind).from_storage is not Kind.from_storage

    def subresource(self, name: str) -> Subresource | None:
        return next((s for s in self.type.subresources if s.name == name), None)


class Registry:
    """All served types by path; custom types are replaced per definition name."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Served] = {}
        self._builtin: list[Served] = []
        self._custom: dict[str, list[Served]] = {}
        self.revision = 0  # rises with every change, for caches of discovery documents

    def add_builtin(self, served: Iterable[Served]) -> None:
        self._builtin.extend(served)
        self._rebuild()

    def replace_kind(self, group: str, plural: str, kind: Kind) -> None:
        """Serve other hooks for a built-in resource."""
        for at, old in enumerate(self._builtin):
            if (old.type.group, old.type.plural) == (group, plural):
                kind.type = old.type
                self._builtin[at] = Served(old.type, kind)
        self._rebuild()

    def set_custom(self, definition: str, kinds: Sequence[Kind]) -> None:
        """Serve `kinds` for a CustomResourceDefinition; none removes it."""
        if kinds:
            self._custom[definition] = [Served(k.type, k) for k in kinds]
        else:
            self._custom.pop(definition, None)
        self._rebuild()

    def _rebuild(self) -> None:
        everything = [*self._builtin, *(s for group in self._custom.values() for s in group)]
        self._by_path = {(s.type.group, s.type.version, s.type.plural): s for s in everything}
        self.revision += 1

    def get(self, group: str, version: str, plural: str) -> Served | None:
        return self._by_path.get((group, version, plural))

    def all(self) -> list[Served]:
        """Every served type, built-in ones first, in discovery order."""
        return list(self._by_path.values())

    def custom(self, definition: str) -> list[Served]:
        return self._custom.get(definition, [])

    def has_group(self, group: str) -> bool:
        return any(g == group for g, _, _ in self._by_path)

    def has_version(self, group: str, version: str) -> bool:
        return any((g, v) == (group, version) for g, v, _ in self._by_path)

    def storage(self, group: str, plural: str) -> Served | None:
        """The served type whose objects are stored as they are served, for a group and plural."""
        found = [s for s in self._by_path.values() if s.type.group == group and s.type.plural == plural]
        plain = [s for s in found if not s.type.storage_version]
        return next(iter(plain or found), None)
