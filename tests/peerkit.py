"""Published packages, fetched by name and version when a test runs and never kept: the work of others as it is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REASON = "needs the package registry"  # tests/expected_skips.txt
TIMEOUT_S = 180


def _pip(*arguments: str) -> None:
    """Skips, with the reason, when the registry does not answer or does not have the package."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{REASON}: it takes over {TIMEOUT_S} s")
    if result.returncode != 0:
        pytest.skip(f"{REASON}: {result.stderr.strip().splitlines()[-1:]}")


def unpack(name: str, version: str, into: Path, *, source: bool = False) -> Path:
    """The folder with what the package ships; `source` takes the source archive instead of the wheel."""
    into.mkdir(parents=True, exist_ok=True)
    kind = ["--no-binary", ":all:"] if source else ["--only-binary", ":all:"]
    _pip("download", "--no-deps", *kind, "--dest", str(into), f"{name}=={version}")
    (archive,) = [path for path in into.iterdir() if path.is_file()]
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(into)
        return into
    subprocess.run(["tar", "-xf", str(archive), "-C", str(into)], check=True)
    (folder,) = [path for path in into.iterdir() if path.is_dir()]
    return folder


def install(name: str, version: str, into: Path) -> Path:
    """A virtual environment with the package and what it needs; its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(into)], check=True)
    _pip("--python", str(into / "bin" / "python"), "install", "--only-binary", ":all:", f"{name}=={version}")
    return into / "bin"
