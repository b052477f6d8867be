"""The CNI benches, run inside namespaces of their own (see bench.cni); the last line printed is the result."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from bench._node import Node, Pod

SIDES = ("podloom", "reference")
Result = dict[str, Any]


def cni_add(node: Node) -> Result:
    """Sequential ADDs, the sides taking turns."""
    times = _turns(node, 60, lambda pod: node.run("ADD", pod))
    return _ratio(times, target="<= 0.5")


def cni_add_del(node: Node) -> Result:
    """ADD followed by DEL."""
    times = _turns(node, 40, lambda pod: node.run("ADD", pod) + node.run("DEL", pod), attached=False)
    return _ratio(times, target="<= 1.0")


def cni_add_parallel(node: Node) -> Result:
    """30 started at once; the time until the last has ended."""
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    number = 0
    for round_ in range(8):
        for side in SIDES:
            pods = [Pod(side, number + i) for i in range(30)]
            number += 30
            node.make(pods)
            started = time.perf_counter()
            running = {node.spawn("ADD", pod): pod for pod in pods}
            for _ in pods:
                pid, status = os.waitpid(-1, 0)
                node.check("ADD", running[pid], status)
            if round_:
                rates[side].append(30 / (time.perf_counter() - started))
            for pod in pods:
                node.run("DEL", pod)
            node.drop(pods)
    medians = {side: statistics.median(values) for side, values in rates.items()}
    sides = {side: f"{value:.0f} ADD/s" for side, value in medians.items()}
    return {"ratio": round(medians["podloom"] / medians["reference"], 3), "target": ">= 1.5", "sides": sides}


def cni_del_parallel(node: Node) -> Result:
    """30 DELs started at once, beside 60 pods that stay; the time until the last has ended."""
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    standing = [Pod(side, 5000 + i) for i in range(60) for side in SIDES]
    node.make(standing)
    for pod in standing:
        node.run("ADD", pod)
    for round_ in range(6):
        for side in SIDES:
            pods = [Pod(side, 30 * round_ + i) for i in range(30)]
            node.make(pods)
            for pod in pods:
                node.run("ADD", pod)
            started = time.perf_counter()
            running = {node.spawn("DEL", pod): pod for pod in pods}
            for _ in pods:
                pid, status = os.waitpid(-1, 0)
                node.check("DEL", running[pid], status)
            if round_:
                times[side].append(time.perf_counter() - started)
            node.drop(pods)
    return _ratio(times, target="<= 0.5")


def cni_verbs(node: Node) -> Result:
    """ADD, CHECK, DEL and a second DEL, one after the other, the sides taking turns; the ratio is ADD's."""
    times: dict[str, dict[str, list[float]]] = {}
    for number in range(40):
        for side in SIDES:
            pod = Pod(side, number)
            node.make([pod])
            for name in ("ADD", "CHECK", "DEL", "DEL again"):
                took = node.run(name.split()[0], pod)
                if name == "ADD":
                    node.keep_result(pod)
                if number >= 2:
                    times.setdefault(name, {}).setdefault(side, []).append(took)
            node.drop([pod])
    ratios = {name: _ratio(sides, target="") for name, sides in times.items()}
    sides = {
        f"{name}: {side}": f"{text} (ratio {found['ratio']})"
        for name, found in ratios.items()
        for side, text in found["sides"].items()
    }
    return {"ratio": ratios["ADD"]["ratio"], "target": "<= 0.5", "sides": sides}


def cni_add_200(node: Node) -> Result:
    """Two nodes side by side, one with a pod, one with 200; ADD and later DEL of 12 pods on each in turns."""
    times: dict[str, list[float]] = {"1 pod": [], "200 pods": []}
    with Node(netns="second") as other:
        for place, numbers in ((node, range(1)), (other, range(1000, 1200))):
            standing = [Pod("podloom", number) for number in numbers]
            place.make(standing)
            for pod in standing:
                place.run("ADD", pod)
        for _ in range(8):
            pairs = [(Pod("podloom", 1 + i), Pod("podloom", 2001 + i)) for i in range(12)]
            for pair in pairs:
                node.make(list(pair))
            time.sleep(1)
            for small, full in pairs:
                times["1 pod"].append(node.run("ADD", small))
                times["200 pods"].append(other.run("ADD", full))
            for small, full in pairs:
                node.run("DEL", small)
                other.run("DEL", full)
                node.drop([small, full])
    medians = {side: statistics.median(values) for side, values in times.items()}
    sides = {side: f"{value * 1e3:.2f} ms" for side, value in medians.items()}
    return {"ratio": round(medians["200 pods"] / medians["1 pod"], 3), "target": "<= 1.1", "sides": sides}


def agent_pss(node: Node) -> Result:
    """The agent's memory after 110 ADDs, settled, with 100 services of ten endpoints each in the cluster."""
    before = node.agent_pss_mb()
    pods = [Pod("podloom", i) for i in range(110)]
    node.make(pods)
    for pod in pods:
        node.run("ADD", pod)
    time.sleep(5)
    value = node.agent_pss_mb()
    sides = {"without pods": f"{before:.1f} MB", "110 pods": f"{value:.1f} MB"}
    return {"value": round(value, 1), "unit": "MB", "target": "<= 60", "sides": sides}


def _turns(
    node: Node, rounds: int, measure: Callable[[Pod], float], *, attached: bool = True
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    pods = [Pod(side, number) for number in range(rounds) for side in SIDES]
    node.make(pods)
    for pod in pods:
        took = measure(pod)
        if pod.number >= 2:
            times[pod.side].append(took)
    if attached:
        for pod in pods:
            node.run("DEL", pod)
    node.drop(pods)
    return times


def _ratio(times: dict[str, list[float]], *, target: str) -> Result:
    medians = {side: statistics.median(values) for side, values in times.items()}
    sides = {
        side: f"median {medians[side] * 1e3:.2f} ms, p95 {statistics.quantiles(values, n=20)[18] * 1e3:.2f} ms"
        for side, values in times.items()
    }
    return {"ratio": round(medians["podloom"] / medians["reference"], 3), "target": target, "sides": sides}


INSIDE: dict[str, Callable[[Node], Result]] = {
    "cni-add": cni_add,
    "cni-add-del": cni_add_del,
    "cni-add-parallel": cni_add_parallel,
    "cni-add-200": cni_add_200,
    "cni-del-parallel": cni_del_parallel,
    "cni-verbs": cni_verbs,
    "agent-pss": agent_pss,
}

if __name__ == "__main__":
    with Node(services=100 if sys.argv[1] == "agent-pss" else 0) as bench_node:
        outcome = INSIDE[sys.argv[1]](bench_node)
    print(json.dumps(outcome))
