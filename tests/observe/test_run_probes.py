"""A service that nodes are about to learn of is no failure; one that never works is, and soon."""

from __future__ import annotations

import json
from collections.abc import Sequence

from podloom.observe.connectivity import run_probes
from podloom.plan.connectivity import Probe

SERVICE = Probe("host-1", "service", "http,10.0.3.4,8080", "service")
POD = Probe("host-1", "other node", "http,192.168.0.4,8080", "pod-a")


class Prober:
    """A place to probe from, where a target starts to answer after `refusals` asks."""

    def __init__(self, refusals: int) -> None:
        self.left = refusals
        self.asked: list[tuple[str, ...]] = []

    async def run(self, arguments: Sequence[str]) -> bytes:
        targets = tuple(arguments[2:])
        self.asked.append(targets)
        good, self.left = self.left <= 0, self.left - 1
        line = {"ok": good, "error": "" if good else "refused", "client": "10.224.0.4", "us": 5}
        return b"\n".join(json.dumps(line).encode() for _ in targets)


async def test_a_service_that_comes_a_moment_later_is_well() -> None:
    prober = Prober(refusals=2)
    outcomes = await run_probes(prober.run, [SERVICE], settle_s=5)
    assert [o.problem for o in outcomes] == [""] and len(prober.asked) == 3


async def test_a_service_that_never_comes_differs() -> None:
    outcomes = await run_probes(Prober(refusals=1000).run, [SERVICE], settle_s=0.3)
    assert outcomes[0].problem == "not reached: refused"


async def test_packets_between_pods_and_nodes_get_no_second_chance() -> None:
    prober = Prober(refusals=1)
    outcomes = await run_probes(prober.run, [POD, SERVICE], settle_s=5)
    assert [bool(o.problem) for o in outcomes] == [True, False]
    assert prober.asked[1:] == [(SERVICE.target,)]
