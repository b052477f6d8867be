"""A node in a box, for root tests: own network and mount namespaces with a wire to the outside, and a real agent.

`eth0` 10.224.0.4 is the node's primary interface; behind its wire is the namespace `outside`, 10.224.0.1, the default
gateway. The range is put into the agent's store as if it had been told before, so no API server is needed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from agentkit import frame
from podloom.drivers.store.lease import LeaseStore
from podloom.model.lease import Lease
from podloom.native import native_path

NODE = "box"
OUTSIDE = "10.224.0.1"
SETUP = f"""
mount -t tmpfs none /run && mkdir -p /run/netns
ip link set lo up
ip netns add outside
ip link add eth0 type veth peer name wire netns outside
ip addr add 10.224.0.4/16 dev eth0 && ip link set eth0 mtu 1420 up
ip -n outside link set lo up && ip -n outside addr add {OUTSIDE}/16 dev wire && ip -n outside link set wire up
ip route add default via {OUTSIDE}
"""


class Box:
    """The box; close it. Plugin processes run outside of it, the agent and everything it makes inside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "read line"], stdin=subprocess.PIPE
        )
        here = Path("/proc/self/ns/mnt").readlink()
        wait_for(lambda: Path(f"/proc/{self._holder.pid}/ns/mnt").readlink() != here, 5)
        self.sh(f"set -e; {SETUP}")
        container = {"id": "x", "primaryIP": "192.168.1.0/24", "subnetAddressSpace": "192.168.0.0/16"}
        nnc = {"metadata": {"name": NODE}, "status": {"status": "Updated", "networkContainers": [container]}}
        with LeaseStore(self.folder / "state" / "agent.db") as store:
            store.commit(meta={"nnc": orjson.dumps(nnc).decode()})

    def close(self) -> None:
        for process in [*self._others, self.agent]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        assert self._holder.stdin
        self._holder.stdin.close()
        self._holder.wait()

    def command(self, *command: str, netns: str = "") -> list[str]:
        inside = ["ip", "netns", "exec", netns] if netns else []
        return ["nsenter", "-t", str(self._holder.pid), "-n", "-m", *inside, *command]

    def sh(self, script: str, *, netns: str = "", check: bool = True) -> str:
        """Run a shell script in the box (or in one of its namespaces); its output."""
        done = subprocess.run(
            self.command("sh", "-c", script, netns=netns), capture_output=True, text=True, timeout=30, check=False
        )
        assert not check or done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command: str, netns: str = "") -> subprocess.Popen[bytes]:
        """Start a process in the box; it ends with the box."""
        process = subprocess.Popen(self.command(*command, netns=netns), stdout=subprocess.DEVNULL)
        self._others.append(process)
        return process

    def start_agent(self, *more: str) -> None:
        """Start the agent and wait until the node can serve."""
        places = {"socket": "agent.sock", "state": "state", "conflist-dir": "net.d", "plugin-dir": "bin"}
        flags = [f"--{name}={self.folder / place}" for name, place in places.items()]
        self.agent = subprocess.Popen(
            self.command(
                sys.executable,
                "-m",
                "podloom.agent",
                "--node-name",
                NODE,
                "--listen",
                "",
                "--collect-s",
                "0.5",
                *flags,
                *more,
            )
        )
        wait_for(lambda: self.call("STATUS", "x")[0] == 0, 20)

    def kill_agent(self) -> None:
        """kill -9: of nsenter's process, which has become the agent."""
        assert self.agent
        os.kill(self.agent.pid, signal.SIGKILL)
        self.agent.wait()

    def spawn(self, command: str, container: str, pod: str = "web", **more: Any) -> subprocess.Popen[bytes]:
        """Start one plugin process."""
        request = frame(command, container, pod, **more)
        environment = {
            **request.environment,
            "PODLOOM_SOCKET": str(self.folder / "agent.sock"),
            "PODLOOM_SPOOL": str(self.folder / "state" / "spool"),
        }
        process = subprocess.Popen(
            [more.get("plugin", "azure-vnet")],
            executable=native_path("azure-vnet"),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin
        process.stdin.write(request.stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, command: str, container: str, pod: str = "web", **more: Any) -> tuple[int, Any]:
        """Run one plugin process: exit code and decoded output."""
        process = self.spawn(command, container, pod, **more)
        output, _ = process.communicate(timeout=60)
        return process.returncode, json.loads(output) if output else None

    def pod(self, name: str, **more: Any) -> str:
        """Make a namespace named `name` and attach it as pod and container `name`; its address."""
        self.sh(f"ip netns add {name}; ip -n {name} link set lo up")
        code, body = self.call("ADD", name, name, **more)
        assert code == 0, body
        return str(body["ips"][0]["address"]).partition("/")[0]

    def leases(self) -> list[Lease]:
        """What the store holds; the agent must not be running."""
        with LeaseStore(self.folder / "state" / "agent.db") as store:
            return store.leases()


def wait_for(condition: Any, seconds: float) -> None:
    """Return when `condition()` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)
