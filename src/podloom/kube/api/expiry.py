"""Events that nobody updates any more are removed after an hour.

The problem: every controller writes events and nobody deletes them; the reference server keeps them for one hour
(kube-apiserver --event-ttl). The time counts from the last write.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from podloom.kube.api.contract import Object
from podloom.kube.api.state import State, Step

EVENTS = "/events"
KEEP = timedelta(hours=1)
_AT_ONCE_MAX = 500


def last_seen(event: Object) -> str:
    """The newest time an event carries, RFC 3339 (all in UTC, so they compare as text by seconds)."""
    series = (event.get("series") or {}).get("lastObservedTime")
    times = (event["metadata"].get("creationTimestamp"), event.get("lastTimestamp"), event.get("eventTime"), series)
    return max(str(t)[:19] for t in times if t)


async def expire_events(state: State, now: datetime | None = None) -> int:
    """Remove events last seen more than an hour before now; returns how many (a bounded number each time)."""
    limit = ((now or datetime.now(UTC)) - KEEP).strftime("%Y-%m-%dT%H:%M:%S")
    old = [r for r in state.head_list(EVENTS) if _created(r.obj) < limit and last_seen(r.obj) < limit]
    if not old:
        return 0
    steps = [Step(r.key, None) for r in old[:_AT_ONCE_MAX]]
    _, done = state.decide(steps)
    await done
    return len(steps)


def _created(event: Object) -> str:
    """When the server stored it first: times inside an event are its writer's and may lie far back."""
    return str(event["metadata"].get("creationTimestamp", ""))[:19]
