"""Merging one cluster's kubeconfig into a user's file, as az does.

The problem: the file belongs to the user and holds other clusters; nothing of theirs may be lost, and an entry of
the same name with other content needs a decision. So equal entries are kept, different ones are replaced with
--overwrite-existing, by answer, or refused; and the file is replaced whole, private to its owner.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from podloom.drivers.files import write_atomic

Json = dict[str, Any]
_LISTS = ("clusters", "users", "contexts")


def merge_into(path: Path, text: str, *, overwrite: bool, context: str | None = None) -> str:
    """Merge the kubeconfig `text` into the file; returns the context that is now current.

    ClickException when an entry differs and may not be replaced, or when the file is no kubeconfig.
    """
    addition = yaml.safe_load(text)
    if context:
        addition = _with_context(addition, context)
    existing = _read(path)
    merged = merge(existing, addition, overwrite=overwrite, path=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = Path(os.path.realpath(path))
    write_atomic(target, yaml.safe_dump(merged, sort_keys=False), mode=0o600)
    return str(merged["current-context"])


def merge(existing: Json, addition: Json, *, overwrite: bool, path: Path) -> Json:
    """Both configurations in one; the addition's context becomes current."""
    merged = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **existing}
    for key in _LISTS:
        items = list(existing.get(key) or [])
        for item in addition.get(key) or []:
            items = _with_item(items, item, key, overwrite=overwrite, path=path)
        merged[key] = items
    merged["current-context"] = addition["current-context"]
    return merged


def _with_item(items: list[Json], item: Json, key: str, *, overwrite: bool, path: Path) -> list[Json]:
    """The list with `item` in it, once."""
    name = item["name"]
    old = next((entry for entry in items if entry.get("name") == name), None)
    if old is None:
        return [*items, item]
    if old != item and not overwrite and not _may_replace(name, key, path):
        raise click.ClickException(
            f"A different object named {name} already exists in {key} in {path}."
            " Use --overwrite-existing to replace it."
        )
    return [item if entry is old else entry for entry in items]


def _may_replace(name: str, key: str, path: Path) -> bool:
    if not sys.stdin.isatty():
        return False
    return click.confirm(f"A different object named {name} already exists in {key} in {path}. Overwrite?", err=True)


def _with_context(config: Json, name: str) -> Json:
    return {**config, "contexts": [{**config["contexts"][0], "name": name}], "current-context": name}


def _read(path: Path) -> Json:
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise click.ClickException(f"{path} is not valid YAML: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise click.ClickException(f"{path} is not a kubeconfig: it does not hold a mapping.")
    return found
