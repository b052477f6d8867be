"""`lab env`: the lines that let a shell's kubectl reach the lab, on a machine that had none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from podloom.lab.manager import environment
from podloom.lab.state import LabPaths, open_lab
from podloom.model.errors import Rejected


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabPaths:
    monkeypatch.setenv("PODLOOM_STATE", str(tmp_path / "lab"))
    where = LabPaths(tmp_path / "lab")
    open_lab(where, 8443)
    return where


def test_our_programs_lead_a_path_that_lacks_them(lab: LabPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert environment()["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin"


def test_a_path_with_them_stays(lab: LabPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"/usr/bin:{Path(sys.executable).parent}")
    assert "PATH" not in environment()


def test_what_kubectl_writes_is_in_the_state_folder(lab: LabPaths) -> None:
    found = environment()
    assert Path(found["KUBECONFIG"]).parent == lab.root
    assert Path(found["KUBECACHEDIR"]).parent == lab.root


def test_without_a_lab_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODLOOM_STATE", str(tmp_path / "none"))
    with pytest.raises(Rejected, match="podloom lab up"):
        environment()
