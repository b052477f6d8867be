"""Merging kubeconfigs: nothing of the user's is lost, and a conflict needs a decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from podloom.cli.kubeconfig import merge_into


def config(name: str, server: str = "https://127.0.0.1:1") -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server}}],
            "users": [{"name": f"clusterUser_rg_{name}", "user": {"token": server}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": f"clusterUser_rg_{name}"}}],
            "current-context": name,
        }
    )


def names(path: Path, key: str) -> list[str]:
    found: Any = yaml.safe_load(path.read_text())
    return [item["name"] for item in found[key]]


def test_entries_are_added_and_the_new_context_is_current(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config"
    assert merge_into(path, config("a"), overwrite=False) == "a"
    assert merge_into(path, config("b"), overwrite=False) == "b"
    assert names(path, "clusters") == names(path, "contexts") == ["a", "b"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_again_changes_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump({"extra": {"kept": True}, "clusters": None}))
    merge_into(path, config("a"), overwrite=False)
    merge_into(path, config("a"), overwrite=False)
    assert names(path, "clusters") == ["a"]
    assert yaml.safe_load(path.read_text())["extra"] == {"kept": True}


def test_a_different_entry_is_refused_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "config"
    merge_into(path, config("a"), overwrite=False)
    before = path.read_text()
    with pytest.raises(click.ClickException, match="--overwrite-existing"):
        merge_into(path, config("a", "https://127.0.0.1:2"), overwrite=False)
    assert path.read_text() == before
    merge_into(path, config("a", "https://127.0.0.1:2"), overwrite=True)
    assert "127.0.0.1:2" in path.read_text()
    assert names(path, "users") == ["clusterUser_rg_a"]


def test_a_context_of_another_name(tmp_path: Path) -> None:
    path = tmp_path / "config"
    assert merge_into(path, config("a"), overwrite=False, context="mine") == "mine"
    assert names(path, "contexts") == ["mine"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "config"
    link.symlink_to(real)
    merge_into(link, config("a"), overwrite=False)
    assert link.is_symlink()
    assert names(real, "clusters") == ["a"]


@pytest.mark.parametrize("text", ["- a\n", "a: [\n"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(click.ClickException):
        merge_into(path, config("a"), overwrite=True)
    assert path.read_text() == text
