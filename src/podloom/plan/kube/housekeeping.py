"""Decisions of small duties: an event's age, the rules of an aggregated cluster role."""

from __future__ import annotations

from collections.abc import Iterable

from podloom.model.kube import Object
from podloom.model.kubeselector import from_label_selector
from podloom.plan.kube.times import parse_time


def event_age_s(event: Object, now: float) -> float:
    """Seconds since the event last happened."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    latest = next((t for t in times if t), event["metadata"].get("creationTimestamp"))
    return now - parse_time(latest)


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[Object]:
    """The rules of all other roles its aggregationRule selects, by role name, each rule once (RBAC page)."""
    selectors = [from_label_selector(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or ()]
    rules: list[Object] = []
    for other in sorted(roles, key=lambda r: str(r["metadata"]["name"])):
        if other["metadata"]["name"] == role["metadata"]["name"]:
            continue
        if any(s is not None and s.matches(other["metadata"].get("labels")) for s in selectors):
            rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules
