"""An API server with controllers as processes on a temporary folder, for the time of a `with` block."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from podloom.drivers.pki import Authority, kubeconfig, signing_key

START_S = 20.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Cluster:
    """`port` answers HTTPS; `tls()` is an administrator's client context, `kubeconfig` their file."""

    def __init__(self, *, service_cidr: str, pod_cidr: str = "", controllers: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="podloom-parity-"))
        self.port = free_port()
        self._service_cidr = service_cidr
        self._pod_cidr = pod_cidr
        self._controllers = controllers
        self._processes: list[subprocess.Popen[bytes]] = []
        pki = self.folder / "pki"
        self.authority = Authority.open(pki, "parity-ca")
        self._server = self.authority.issue("server", "kube-apiserver", hosts=["127.0.0.1"])
        self._admin = self.authority.issue("admin", "admin", groups=["system:masters"])
        manager = self.authority.issue("manager", "kube-controller-manager", groups=["system:masters"])
        self._key = signing_key(pki / "sa.key")
        url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = self.folder / "kubeconfig"
        for path, pair in ((self.kubeconfig, self._admin), (self.folder / "manager.kubeconfig", manager)):
            path.write_text(kubeconfig(url, self.authority.cert_path, pair, cluster="parity", user=path.stem))

    def __enter__(self) -> Cluster:
        self.start_server()
        if self._controllers:
            self._start(
                "podloom.kube.controllers",
                "--kubeconfig", self.folder / "manager.kubeconfig",
                "--cluster-ca", self.authority.cert_path,
                "--service-account-key", self._key,
            )  # fmt: skip
        return self

    def start_server(self) -> None:
        self._start(
            "podloom.kube.api",
            "--data", self.folder / "data",
            "--listen", f"127.0.0.1:{self.port}",
            "--tls-cert", self._server.cert,
            "--tls-key", self._server.key,
            "--client-ca", self.authority.cert_path,
            "--service-account-key", self._key,
            "--service-cidr", self._service_cidr,
        )  # fmt: skip
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            if time.monotonic() > deadline or self._processes[-1].poll() is not None:
                raise RuntimeError(f"the server did not start: {self.log('podloom.kube.api')[-3000:]}")
            time.sleep(0.02)

    def log(self, module: str) -> str:
        path = self.folder / f"{module}.log"
        return path.read_text() if path.exists() else ""

    def _start(self, module: str, *arguments: object) -> None:
        log = (self.folder / f"{module}.log").open("ab")
        command = [sys.executable, "-m", module, *(str(a) for a in arguments)]
        self._processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        log.close()

    def tls(self, *, anonymous: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.cert_path))
        if not anonymous:
            context.load_cert_chain(self._admin.cert, self._admin.key)
        return context

    def __exit__(self, *_: Any) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
