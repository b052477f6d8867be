"""Build hook: compiles the small static C programs the package ships.

The problem: the plugin executable, the node's PID 1 and the lab's test programs must start in about a
millisecond and need no Python where they run. Each is one C file, compiled statically with the
system's cc into `src/podloom/native/`, so an editable install and a wheel find them alike.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "src" / "podloom" / "native"


def sources() -> list[Path]:
    return sorted([*ROOT.glob("relay/*.c"), *ROOT.glob("tools/*.c")])


def compile_one(source: Path, out_dir: Path = OUT) -> Path:
    """Compile one C file to a static executable of the same stem; replaces the old one atomically."""
    target = out_dir / source.stem
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    out_dir.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}")
    flags = ["-O2", "-static", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-s"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", str(temporary), str(source)], check=True)
    temporary.replace(target)
    return target


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for source in sources():
            compile_one(source)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


if __name__ == "__main__":
    for path in sources():
        print(compile_one(path))
