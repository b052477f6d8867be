"""A real API server process on a loopback port, with its certificates, for the tests of this folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podloom.drivers.pki import Authority, kubeconfig, signing_key


class ApiServer:
    """One API server process over `folder`; `kubeconfig` is an administrator's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        authority = Authority.open(folder / "pki", "test-ca")
        self.ca = authority.cert_path
        self._serving = authority.issue("apiserver", "kube-apiserver", hosts=["127.0.0.1", "localhost"])
        admin = authority.issue("admin", "admin", groups=["system:masters"])
        self.service_account_key = signing_key(folder / "pki" / "sa.key")
        self.kubeconfig = folder / "kubeconfig"
        text = kubeconfig(f"https://127.0.0.1:{self.port}", self.ca, admin, cluster="test", user="admin")
        self.kubeconfig.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "podloom.kube.api", "--data", str(self.folder / "data")]
        command += ["--listen", f"127.0.0.1:{self.port}", "--client-ca", str(self.ca)]
        command += ["--tls-cert", str(self._serving.cert), "--tls-key", str(self._serving.key)]
        command += ["--service-account-key", str(self.service_account_key)]
        with (self.folder / "api.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self.folder / "api.log").read_text())

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it with a signal and wait."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Controllers:
    """The controllers as a process."""

    def __init__(self, api: ApiServer, *options: str) -> None:
        self.api, self.options = api, options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "podloom.kube.controllers", "--kubeconfig", str(self.api.kubeconfig)]
        command += ["--cluster-ca", str(self.api.ca), "--log-level", os.environ.get("LEVEL", "info"), *self.options]
        with (self.api.folder / "controllers.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """A running API server."""
    server = ApiServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def controllers(api: ApiServer) -> Iterator[Controllers]:
    """The controllers, started, against `api`."""
    process = Controllers(api)
    process.start()
    yield process
    process.stop()
