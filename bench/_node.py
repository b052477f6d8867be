"""A node for benches: own network and mount namespaces, a primary interface, a running agent, both plugins ready.

Run as `unshare --net --mount python -m bench._cni_inside NAME`; everything goes with the namespaces.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench._api import fill, start_api
from podloom.drivers.kernel import create_netns, delete_netns
from podloom.drivers.store.lease import LeaseStore

NODE = "bench"
REFERENCE = Path("/usr/lib/cni")
CONFIGS: dict[str, dict[str, object]] = {
    "podloom": {
        "cniVersion": "1.0.0",
        "name": "azure",
        "type": "azure-vnet",
        "mode": "transparent",
        "ipam": {"type": "azure-cns", "mode": "overlay"},
    },
    "reference": {
        "cniVersion": "1.0.0",
        "name": "reference",
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "192.168.2.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    },
}
PLUGINS = {"podloom": "azure-vnet", "reference": "bridge"}


@dataclass(frozen=True)
class Pod:
    """One namespace to attach; `side` says by which plugin."""

    side: str
    number: int

    @property
    def netns(self) -> str:
        return f"{self.side[0]}{self.number}"


class Node:
    """The namespaces' contents; a context manager that starts and ends the agent."""

    def __init__(self, services: int = 0, netns: str = "") -> None:
        """With `services` > 0 there is an API server too, with that many services; else the agent is by itself.

        With `netns` the node is that namespace (made here) instead of the process's own: a second node.
        """
        self._services = services
        self._netns = netns
        self._api: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="podloom-bench-"))
        self.plugin_dir = self.folder / "bin"
        self.agent: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Node:
        if self._netns:
            create_netns(self._netns)
        else:
            _mount_tmpfs("/run")
            _mount_tmpfs("/var/lib/cni")
        for command in (
            "link set lo up",
            "link add eth0 type veth peer name wire",
            "link set wire up",
            "link set eth0 up",
            "addr add 10.224.0.4/16 dev eth0",
            "route add default via 10.224.0.1",
        ):
            subprocess.run(["ip", *(["-n", self._netns] if self._netns else []), *command.split()], check=True)
        more: list[str] = []
        if self._services:
            self._api, config = start_api(self.folder)
            asyncio.run(fill(config, NODE, self._services))
            more = ["--kubeconfig", str(config)]
        else:
            self._remember_range()
        for side, settings in CONFIGS.items():
            (self.folder / side).write_text(json.dumps({**settings, "ipam": _ipam(settings, self.folder)}))
        self._start_agent(*more)
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.agent, self._api):
            if process is not None:
                process.terminate()
                process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, verb: str, pod: Pod) -> float:
        """Run one plugin invocation as a whole process; its seconds. Raises when it fails."""
        started = time.perf_counter()
        pid = self.spawn(verb, pod)
        _, status = os.waitpid(pid, 0)
        took = time.perf_counter() - started
        self.check(verb, pod, status)
        return took

    def spawn(self, verb: str, pod: Pod) -> int:
        """Start one plugin invocation; its process id."""
        path = self.plugin_dir / "azure-vnet" if pod.side == "podloom" else REFERENCE / PLUGINS[pod.side]
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": f"{pod.side}-{pod.number}",
            "CNI_NETNS": f"/run/netns/{pod.netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self.plugin_dir}:{REFERENCE}",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-{pod.number};"
            f"K8S_POD_UID=uid-{pod.side}-{pod.number}",
            "PODLOOM_SOCKET": str(self.folder / "agent.sock"),
            "PATH": os.environ["PATH"],
        }
        output = str(self.folder / f"out-{pod.netns}")
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(self._configuration(verb, pod)), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        return os.posix_spawn(str(path), [str(path)], environment, file_actions=actions)

    def keep_result(self, pod: Pod) -> None:
        """Keep the result of the ADD that has just ended, for CHECK."""
        config = json.loads((self.folder / pod.side).read_text())
        previous = json.loads((self.folder / f"out-{pod.netns}").read_text())
        (self.folder / f"check-{pod.netns}").write_text(json.dumps({**config, "prevResult": previous}))

    def _configuration(self, verb: str, pod: Pod) -> Path:
        return self.folder / (f"check-{pod.netns}" if verb == "CHECK" else pod.side)

    def check(self, verb: str, pod: Pod, status: int) -> None:
        if status:
            text = (self.folder / f"out-{pod.netns}").read_text()
            raise RuntimeError(f"{verb} by {pod.side} ended with {status}: {text}")

    def make(self, pods: list[Pod]) -> None:
        for pod in pods:
            create_netns(pod.netns)

    def drop(self, pods: list[Pod]) -> None:
        for pod in pods:
            delete_netns(pod.netns)

    def _remember_range(self) -> None:
        container = {"id": "bench", "primaryIP": "192.168.1.0/24", "subnetAddressSpace": "192.168.0.0/16"}
        nnc = {"metadata": {"name": NODE}, "status": {"status": "Updated", "networkContainers": [container]}}
        with LeaseStore(self.folder / "state" / "agent.db") as store:
            store.commit(meta={"nnc": orjson.dumps(nnc).decode()})

    def _start_agent(self, *more: str) -> None:
        paths = {"socket": "agent.sock", "state": "state", "conflist-dir": "net.d", "plugin-dir": "bin"}
        flags = [f"--{name}={self.folder / path}" for name, path in paths.items()]
        inside = ["nsenter", f"--net=/run/netns/{self._netns}"] if self._netns else []
        command = [
            *inside,
            sys.executable,
            "-m",
            "podloom.agent",
            "--node-name",
            NODE,
            "--log-level",
            "error",
            "--listen",
            "",
        ]
        command += [*flags, *more]
        self.agent = subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while not any((self.folder / "net.d").glob("*.conflist")):
            if time.monotonic() > deadline or self.agent.poll() is not None:
                raise RuntimeError("the agent did not become ready")
            time.sleep(0.05)

    def agent_pss_mb(self) -> float:
        """Proportional set size of the agent in MB (10^6 bytes)."""
        assert self.agent is not None
        text = Path(f"/proc/{self.agent.pid}/smaps_rollup").read_text()
        kilobytes = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return kilobytes * 1024 / 1e6


def _ipam(config: dict[str, object], folder: Path) -> object:
    ipam = config["ipam"]
    assert isinstance(ipam, dict)
    return {**ipam, "dataDir": str(folder / "host-local")} if ipam["type"] == "host-local" else ipam


def _mount_tmpfs(path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    Path("/run/netns").mkdir(exist_ok=True)
