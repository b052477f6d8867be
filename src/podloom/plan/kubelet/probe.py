"""Probes: from single results to what a container is (Kubernetes docs, "Configure Probes").

The problem: one failed request means nothing, failureThreshold of them in a row do. The state is a value; `step`
gives the next one. Readiness begins false, liveness true; a startup probe holds the other two back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Object = Mapping[str, Any]
KINDS = {"startup": "startupProbe", "liveness": "livenessProbe", "readiness": "readinessProbe"}


@dataclass(frozen=True)
class ProbeState:
    """`good` is the verdict so far, None while a startup probe has none."""

    good: bool | None
    row_ok: int = 0
    row_bad: int = 0


@dataclass(frozen=True)
class Health:
    """What the probes of one running container say; a probe it does not have is None."""

    started: bool | None = None
    ready: bool | None = None
    alive: bool | None = None
    message: str = ""


@dataclass(frozen=True)
class Timing:
    initial_delay_s: float
    period_s: float
    timeout_s: float
    success_threshold: int
    failure_threshold: int


def timing(spec: Object) -> Timing:
    """The probe's numbers with their defaults."""
    return Timing(
        float(spec.get("initialDelaySeconds") or 0),
        float(spec.get("periodSeconds") or 10),
        float(spec.get("timeoutSeconds") or 1),
        int(spec.get("successThreshold") or 1),
        int(spec.get("failureThreshold") or 3),
    )


def first_state(kind: str) -> ProbeState:
    return ProbeState({"startup": None, "liveness": True, "readiness": False}[kind])


def step(state: ProbeState, ok: bool, spec: Object) -> ProbeState:
    """The state after one more result."""
    numbers = timing(spec)
    row_ok, row_bad = (state.row_ok + 1, 0) if ok else (0, state.row_bad + 1)
    out = replace(state, row_ok=row_ok, row_bad=row_bad)
    if ok and row_ok >= numbers.success_threshold:
        return replace(out, good=True)
    if not ok and row_bad >= numbers.failure_threshold:
        return replace(out, good=False)
    return out


def probes_of(container: Object) -> dict[str, Object]:
    """kind -> specification of the probes the container has."""
    return {kind: container[key] for kind, key in KINDS.items() if container.get(key)}


def named_port(port: int | str, container: Object) -> int | None:
    """The number of a probe's or hook's port, which may be a name of the container's ports."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((one["containerPort"] for one in container.get("ports") or () if one.get("name") == port), None)
