"""ClusterIP services in a real kernel: translation, spread, affinity, hairpin, refusal (needs root)."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxkit import OUTSIDE, Box, wait_for
from podloom.native import native_path

pytestmark = pytest.mark.root

# Applies the node table for services given as JSON, as the agent does; it stays until the box goes.
APPLY = """
import asyncio, json, sys
from ipaddress import ip_address, ip_network
from podloom.agent.dataplane import TAG, Dataplane
from podloom.drivers.kernel import RealKernel
from podloom.plan.nodetable import NodeFacts, plan_node_table
from podloom.plan.services import view_services

services, slices = json.loads(sys.argv[1])
facts = NodeFacts((ip_network("192.168.1.0/24"),), (ip_network("192.168.0.0/16"),), (ip_address("10.224.0.4"),))

async def main():
    dataplane = Dataplane(lambda: RealKernel(TAG))
    rows = plan_node_table(facts, view_services(services, slices, "box"))
    (await dataplane.apply_table(rows)).check()
    assert (await dataplane.apply_table(rows)).changed == 0, "applied twice is applied once"
    dataplane.close()

asyncio.run(main())
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        made.start_agent()
        yield made
    finally:
        made.close()


def service(name: str, vip: str, backends: list[str], target: int = 80, **spec: object) -> tuple[dict, dict]:
    port = {"name": "http", "port": target, "protocol": "TCP"}
    return (
        {
            "metadata": {"name": name, "namespace": "d"},
            "spec": {"clusterIPs": [vip], "ports": [{**port, "port": 8000}], **spec},
        },
        {
            "metadata": {"name": name, "namespace": "d", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in backends],
        },
    )


def apply(box: Box, *pairs: tuple[dict, dict]) -> None:
    """Stop the agent (its table is for no services) and put these services in place."""
    if box.agent and box.agent.poll() is None:
        box.kill_agent()
    text = json.dumps([[pair[0] for pair in pairs], [pair[1] for pair in pairs]])
    script = box.folder / "apply.py"
    script.write_text(APPLY)
    argument = text.replace("'", "'\\''")
    box.sh(f"{sys.executable} {script} '{argument}'")


def ask(box: Box, source: str, address: str) -> dict:
    answer = box.sh(f"curl -s -m2 http://{address}/", netns=source, check=False)
    return json.loads(answer) if answer else {}


def serve(box: Box, *names: str) -> dict[str, str]:
    """Pods that echo; their addresses."""
    addresses = {name: box.pod(name) for name in names}
    for name in names:
        box.start(str(native_path("echo")), "--http", "80", "--name", name, netns=name)
    for name, address in addresses.items():
        wait_for(lambda name=name, address=address: ask(box, "", f"{address}:80").get("name") == name, 5)
    return addresses


def test_spread_hairpin_affinity_and_refusal(box: Box) -> None:
    """SVC-02: every backend is used, clients keep their address, a pod reaches itself, and nothing hangs."""
    addresses = serve(box, "one", "two", "three")
    backends = list(addresses.values())
    apply(
        box,
        service("web", "10.0.0.10", backends),
        service("sticky", "10.0.0.11", backends, sessionAffinity="ClientIP"),
        service("self", "10.0.0.12", [addresses["one"]]),
        service("idle", "10.0.0.13", []),
    )
    seen = Counter(ask(box, "two", "10.0.0.10:8000")["name"] for _ in range(40))
    assert set(seen) == set(addresses)
    others = [a for a in (ask(box, "two", "10.0.0.10:8000") for _ in range(20)) if a["name"] != "two"]
    assert {answer["client"] for answer in others} == {addresses["two"]}
    assert len({ask(box, "two", "10.0.0.11:8000")["name"] for _ in range(20)}) == 1
    hairpin = ask(box, "one", "10.0.0.12:8000")
    assert (hairpin["name"], hairpin["client"]) == ("one", "10.224.0.4")
    assert ask(box, "", "10.0.0.12:8000")["client"] == "10.224.0.4", "from the node itself"
    for source in ("one", ""):
        for refused in ("10.0.0.13:8000", "10.0.0.10:9999"):
            started = time.monotonic()
            assert "curl: (7)" in box.sh(f"curl -sS -m3 http://{refused}/ 2>&1", netns=source, check=False)
            assert time.monotonic() - started < 1, "refused at once, not dropped"


def test_backend_outside_the_pod_range_sees_the_node(box: Box) -> None:
    """OVL-05 behind a service: a backend that is no pod (the API server's) sees the node's address."""
    serve(box, "one")
    box.start(str(native_path("echo")), "--http", "80", "--name", "outside", netns="outside")
    apply(box, service("api", "10.0.0.1", [OUTSIDE]))
    wait_for(lambda: ask(box, "one", "10.0.0.1:8000"), 5)
    assert ask(box, "one", "10.0.0.1:8000")["client"] == "10.224.0.4"


def test_a_change_of_one_service_keeps_connections_of_others(box: Box) -> None:
    """Services come and go while a connection to another one goes on, also when the table's body changes."""
    addresses = serve(box, "one", "two")
    web = service("web", "10.0.0.10", [addresses["one"]])
    streams = service("streams", "10.0.0.11", [addresses["one"]], 7)
    apply(box, web, streams)
    box.start(str(native_path("echo")), "--echo", "7", "--name", "stream", netns="one")
    wait_for(lambda: ":7 " in box.sh("ss -Hlnt", netns="one"), 5)
    stream = box.command("busybox", "nc", "10.0.0.11", "8000", netns="two")

    with subprocess.Popen(stream, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin and client.stdout
        client.stdin.write(b"a")
        client.stdin.flush()
        assert client.stdout.read(1) == b"a"
        apply(box, web, streams, service("other", "10.0.0.20", [f"192.168.1.{n}" for n in range(100, 140)]))
        client.stdin.write(b"b")
        client.stdin.flush()
        assert client.stdout.read(1) == b"b"
        client.kill()
    assert ask(box, "two", "10.0.0.10:8000")["name"] == "one"
