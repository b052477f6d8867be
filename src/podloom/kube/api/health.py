"""Paths outside the resource API: version, health, the path index, metrics.

The problem: probes, kubectl and monitoring read these by convention (Kubernetes "API health endpoints"). The checks
reported are those of this server; the database is the only part that can fail while the process lives.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

from podloom.kube.api.contract import Object
from podloom.model.versions import GIT_VERSION, MAJOR, MINOR

Check = tuple[str, Callable[[], bool]]
ENDPOINTS = ("healthz", "livez", "readyz")


def version() -> Object:
    """The body of /version: the Kubernetes version whose API is followed."""
    try:
        own = metadata.version("podloom")
    except metadata.PackageNotFoundError:
        own = "0"
    return {
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": str(int(MINOR) - 1),
        "gitVersion": GIT_VERSION,
        "gitCommit": f"podloom-{own}",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": "linux/" + {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    }


def health(
    path: str, query: Mapping[str, str], excluded: Sequence[str], checks: Sequence[Check]
) -> tuple[int, str] | None:
    """Status and text of /healthz, /livez, /readyz and their single checks; None for another path."""
    endpoint, _, single = path.strip("/").partition("/")
    if endpoint not in ENDPOINTS:
        return None
    by_name = dict(checks)
    if single:
        if single not in by_name:
            return 404, "404 page not found\n"
        return (200, "ok") if by_name[single]() else (500, f"internal server error: {single} failed\n")
    lines, healthy = [], True
    for name, check in checks:
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        good = check()
        healthy = healthy and good
        lines.append(f"[+]{name} ok" if good else f"[-]{name} failed: reason withheld")
    unknown = [name for name in excluded if name not in by_name]
    if unknown:
        shown = ", ".join(f'"{n}"' for n in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}")
    if not healthy:
        return 500, "\n".join([*lines, f"{endpoint} check failed", ""])
    if "verbose" in query:
        return 200, "\n".join([*lines, f"{endpoint} check passed", ""])
    return 200, "ok"
