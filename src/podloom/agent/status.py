"""/metrics and /healthz.

The problem: people and probes ask how the agent is, and 10,000 series take a tenth of a second to print, which pods
must not wait for. So answers to HTTP are printed in a thread, and numbers are read from the parts when asked, not kept
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_REQUEST_BYTES_MAX = 8192
Gauges = Callable[[], dict[str, float]]
Counts = Callable[[], Iterable[tuple[tuple[str, str], int]]]


class Status:
    """Numbers of one agent; `trouble` is "" while it can serve."""

    def __init__(self, gauges: Gauges, counts: Counts, trouble: Callable[[], str]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.seconds = Histogram(
            "podloom_cni_seconds",
            "Time from a whole request to its answer.",
            ["command"],
            registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
        )
        self.registry.register(_Numbers(gauges, counts))
        self._trouble = trouble
        self._server: asyncio.Server | None = None

    async def start(self, listen: str) -> None:
        """Serve HTTP on `host:port`."""
        host, _, port = listen.rpartition(":")
        self._server = await asyncio.start_server(self._serve, host, int(port), limit=_REQUEST_BYTES_MAX)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                status, body = await self._answer(head.split(b" ")[1].partition(b"?")[0].decode())
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        writer.close()

    async def _answer(self, path: str) -> tuple[str, bytes]:
        if path == "/metrics":
            return "200 OK", await asyncio.to_thread(generate_latest, self.registry)
        if path == "/healthz":
            trouble = self._trouble()
            return ("503 Service Unavailable", f"{trouble}\n".encode()) if trouble else ("200 OK", b"ok\n")
        return "404 Not Found", b"/metrics or /healthz\n"


class _Numbers(Collector):
    def __init__(self, gauges: Gauges, counts: Counts) -> None:
        self._gauges = gauges
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"podloom_{name}", name.replace("_", " "), value=value)
        requests = CounterMetricFamily("podloom_cni_requests", "Plugin requests.", labels=["command", "outcome"])
        for labels, count in self._counts():
            requests.add_metric(labels, count)
        yield requests
