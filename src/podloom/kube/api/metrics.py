"""The server's own metrics, by the names dashboards of API servers know."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one server; scraped as text."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "apiserver_request",
            "Requests by verb, group, resource and code.",
            ("verb", "group", "resource", "code"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "apiserver_request_duration_seconds",
            "Time to answer, without watches.",
            ("verb",),
            registry=self.registry,
        )
        self.watchers = Gauge("apiserver_longrunning_requests", "Open watches.", ("resource",), registry=self.registry)
        self.objects = Gauge("apiserver_storage_objects", "Stored objects.", ("resource",), registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
