"""The plugin against the reference bridge + host-local plugins (Debian's containernetworking-plugins)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def _inside(name: str) -> Callable[[], dict[str, Any]]:
    """Run the bench of that name in namespaces of its own; its last line is the result."""

    def run() -> dict[str, Any]:
        command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-m", "bench._cni_inside"]
        done = subprocess.run([*command, name], stdout=subprocess.PIPE, check=True)
        lines = done.stdout.decode().splitlines()
        print("\n".join(lines[:-1]))
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    return run


def _bench(name: str, line: str) -> Callable[[], dict[str, Any]]:
    function = _inside(name)
    function.__doc__ = line
    return function


BENCHES = {
    name: _bench(name, line)
    for name, line in {
        "cni-add": "Median time of a CNI ADD as a whole process; ratio to bridge + host-local.",
        "cni-add-parallel": "30 ADDs at once, ADD/s; ratio to bridge + host-local.",
        "cni-add-del": "Median time of ADD and DEL together; ratio to bridge + host-local.",
        "cni-del-parallel": "30 DELs at once beside 60 pods, seconds; ratio to bridge + host-local.",
        "cni-verbs": "Median ADD, CHECK, DEL and second DEL, each with its ratio to bridge + host-local.",
        "cni-add-200": "Median ADD with 200 pods on the node; ratio to that with one.",
        "agent-pss": "Memory (PSS) of the agent with 110 pods, in MB.",
    }.items()
}
