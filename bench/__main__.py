"""`python -m bench NAME`: one figure, both sides printed, the last line as JSON; without a name the list.

The problem: a figure is only worth something against its peer, measured on the same machine in the same minute. So
every bench runs both sides interleaved and prints them; the last line is machine-readable:
{"name", "ratio" or "value" and "unit", "target", "sides"}.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import bench

Bench = Callable[[], dict[str, Any]]


def benches() -> dict[str, tuple[str, Bench]]:
    """Every bench by name: (its one line, its function). Modules of this package list theirs in BENCHES."""
    found: dict[str, tuple[str, Bench]] = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if not module.name.startswith("_"):
            for name, function in getattr(importlib.import_module(f"bench.{module.name}"), "BENCHES", {}).items():
                found[name] = ((function.__doc__ or "").splitlines()[0], function)
    return dict(sorted(found.items()))


def main() -> int:
    known = benches()
    if len(sys.argv) < 2:
        for name, (line, _) in known.items():
            print(f"{name:18} {line}")
        return 0
    name = sys.argv[1]
    if name not in known:
        print(f"no bench {name!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    result = {"name": name, **known[name][1]()}
    for side, value in result.get("sides", {}).items():
        print(f"{side:24} {value}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
