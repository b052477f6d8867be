"""A real node for tests of the node runtime: containerd in namespaces of its own, an API server, a kubelet.

Everything lives in one network namespace (loopback and a bridge) and one temporary folder; `close` ends the
processes it started by their ids and removes both.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from podloom.drivers.pki import Authority, kubeconfig, signing_key
from podloom.lab.hosts import Host, cgroup_roots, remove_cgroup
from podloom.lab.processes import ProcessSpec, spawn, stop
from podloom.native import native_path

NODE_IP = "10.99.0.1"
CNI = {
    "cniVersion": "0.4.0",
    "name": "test",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def _tar(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(info)
    return buffer.getvalue()


def docker_archive(tags: list[str], files: dict[str, bytes], links: dict[str, str], config: dict[str, Any]) -> bytes:
    """An image as `docker save` writes it, with one layer."""
    import hashlib

    layer = _tar(files, links)
    meta = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    text = json.dumps(meta).encode()
    name = hashlib.sha256(text).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": tags, "Layers": ["layer.tar"]}]).encode()
    return _tar({name: text, "layer.tar": layer, "manifest.json": manifest}, {})


def busybox_archive() -> bytes:
    binary = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "busybox" for name in applets if name != "busybox"}
    files = {
        "bin/busybox": binary,
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        "etc/group": b"root:x:0:\nuser:x:1000:\n",
        "tmp/.keep": b"",
    }
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    return docker_archive(["docker.io/library/busybox:1", "docker.io/library/busybox:latest"], files, links, config)


def pause_archive() -> bytes:
    config = {"Entrypoint": ["/pause"]}
    return docker_archive(["podloom.local/pause:1"], {"pause": native_path("pause").read_bytes()}, {}, config)


def _free_port() -> int:
    """A port nothing listens on, below the range that outgoing connections take theirs from: it must stay free."""
    for port in range(20000 + os.getpid() % 10000, 32000):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


class NodeKit:
    """`up()` brings everything up; `kubectl()` talks to it."""

    def __init__(self, folder: Path, tag: str) -> None:
        self.folder, self.tag, self.name = folder, tag, f"{tag}-node"
        self.host = Host(tag, self.name, folder / "node", f"{tag}n", "127.0.0.1", "", "")
        self.port, self.pids = _free_port(), {}  # type: int, dict[str, int]
        self.pki = Authority.open(folder / "pki", "test")
        self.config = folder / "admin.conf"
        self.extra: list[str] = []

    def up(self, *, api: bool = True) -> None:
        subprocess.run(["ip", "netns", "add", self.host.netns], check=True)
        for words in ("link set lo up", f"address add {NODE_IP}/32 dev lo"):
            subprocess.run(["ip", "-n", self.host.netns, *words.split()], check=True)
        self.host.prepare()
        for plugin in ("bridge", "host-local", "loopback", "portmap"):
            shutil.copy(f"/usr/lib/cni/{plugin}", self.host.folder("cni-bin"))
        self.start_holder()
        self.write_cni()
        self.start_containerd()
        self.load(pause_archive())
        self.load(busybox_archive())
        if not api:
            return
        self._credentials()
        self.start_api()

    def write_cni(self) -> None:
        folder = self.host.folder("etc-cni") / "net.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "10-test.conflist").write_text(json.dumps(CNI))

    def start_holder(self) -> None:
        self.pids["holder"] = spawn(self.tag, self.host.holder())

    def start_containerd(self) -> None:
        self.pids["containerd"] = spawn(self.tag, self.host.containerd(self.pids["holder"]))
        for _ in range(200):
            if self.inside(["ctr", "version"], check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise TimeoutError((self.host.root / "log" / "containerd.log").read_text()[-2000:])

    def inside(self, command: list[str], *, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the node's namespaces."""
        enter = ["nsenter", "-t", str(self.pids["holder"]), "-a"]
        return subprocess.run([*enter, *command], check=check, capture_output=True, **options)

    def load(self, archive: bytes) -> None:
        self.inside(["ctr", "-n", "k8s.io", "images", "import", "-"], input=archive)

    def _credentials(self) -> None:
        server = f"https://127.0.0.1:{self.port}"
        admin = self.pki.issue("admin", "admin", groups=["system:masters"])
        self.config.write_text(kubeconfig(server, self.pki.cert_path, admin, cluster="t", user="admin"))
        folder = self.host.folder("etc-kubernetes")
        node = self.pki.issue("kubelet", f"system:node:{self.name}", groups=["system:nodes", "system:masters"])
        inside = kubeconfig("https://127.0.0.1:6443", self.pki.cert_path, node, cluster="t", user="kubelet")
        (folder / "kubelet.conf").write_text(inside)
        serving = self.pki.issue("serving", self.name, hosts=[self.name, NODE_IP])
        shutil.copy(serving.cert, folder / "kubelet.crt")
        shutil.copy(serving.key, folder / "kubelet.key")
        shutil.copy(self.pki.cert_path, folder / "ca.crt")

    def start_api(self) -> None:
        serving = self.pki.issue("api", "kube-apiserver", hosts=["127.0.0.1", "10.0.0.1", "kubernetes.default"])
        client = self.pki.issue("api-client", "kube-apiserver", groups=["system:masters"])
        flags = {
            "--data": self.folder / "api",
            "--listen": f"127.0.0.1:{self.port}",
            "--tls-cert": serving.cert,
            "--tls-key": serving.key,
            "--client-ca": self.pki.cert_path,
            "--service-account-key": signing_key(self.folder / "sa.key"),
            "--service-cidr": "10.0.0.0/16",
            "--node-netns": self.host.netns,
            "--kubelet-ca": self.pki.cert_path,
            "--kubelet-client-cert": client.cert,
            "--kubelet-client-key": client.key,
        }
        (self.folder / "api").mkdir(exist_ok=True)
        argv = [sys.executable, "-m", "podloom.kube.api", *(str(w) for pair in flags.items() for w in pair)]
        argv += ["--listen", f"netns={self.host.netns},127.0.0.1:6443"]
        self.pids["api"] = spawn(self.tag, ProcessSpec("api", tuple(argv), self.folder / "api.log"))
        for _ in range(200):
            if self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "api.log").read_text()[-2000:])

    def start_kubelet(self) -> None:
        flags = {
            "--kubeconfig": "/etc/kubernetes/kubelet.conf",
            "--node-name": self.name,
            "--node-ip": NODE_IP,
            "--tls-cert": "/etc/kubernetes/kubelet.crt",
            "--tls-key": "/etc/kubernetes/kubelet.key",
            "--client-ca": "/etc/kubernetes/ca.crt",
            "--cluster-dns": "10.0.0.10",
            "--labels": "test=yes",
        }
        argv = [
            sys.executable,
            *(os.environ.get("KUBMOD") or "-m podloom.kube.kubelet").split(),
            *(w for pair in flags.items() for w in pair),
            *self.extra,
        ]
        self.pids["kubelet"] = spawn(self.tag, self.host.process("kubelet", argv, self.pids["holder"]))

    def kill(self, name: str) -> None:
        """kill -9 one of our processes and wait until it is gone."""
        pid = self.pids.pop(name)
        os.kill(pid, signal.SIGKILL)
        self._gone(pid)

    def stop(self, name: str) -> None:
        asyncio.run(stop(self.pids.pop(name)))

    def _gone(self, pid: int) -> None:
        for _ in range(200):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
            time.sleep(0.01)

    def kubectl(self, *words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 60, **options}
        done = subprocess.run(["kubectl", "--kubeconfig", str(self.config), *words], check=False, **options)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr}\n{self.tail()}")
        return done

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        body = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("create", "--validate=false", "-f", "-", input=json.dumps(body))

    def wait(self, what: str, check: Any, timeout_s: float = 30.0) -> Any:
        """Poll until `check()` gives something; fails with the kubelet's log."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = check()
            if found:
                return found
            time.sleep(0.05)
        pods = self.kubectl("get", "pods", "-A", "-o", "wide", check=False).stdout
        events = self.kubectl("get", "events", "-A", check=False).stdout
        raise AssertionError(f"not seen in {timeout_s} s: {what}\n{pods}\n{events}\n{self.tail()}")

    def tail(self) -> str:
        log = self.host.root / "log" / "kubelet.log"
        return log.read_text()[-3000:] if log.exists() else ""

    def close(self) -> None:
        for name in ("kubelet", "api", "containerd", "holder"):
            if name in self.pids:
                pid = self.pids.pop(name)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self._gone(pid)
        subprocess.run(["ip", "netns", "del", self.host.netns], check=False)
        self.host.remove()
        for root in cgroup_roots():
            remove_cgroup(root / self.tag)
