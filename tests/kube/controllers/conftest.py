"""A real API server process on a loopback port, with its certificates, for the tests of this folder."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podloom.drivers.kube import Informer, KubeApi
from podloom.drivers.pki import Authority, kubeconfig, signing_key
from podloom.model.errors import Stale, Unavailable
from podloom.model.kube import PODS, Object


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
        deadline = time.monotonic() + 60
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


class Kubelets:
    """What kubelets do, seen from the API: bound pods become Running and Ready, deleted ones go.

    A pod with the annotation `exit` then ends with that code.
    """

    def __init__(self, client: KubeApi, delay_s: float = 0.0) -> None:
        self.client, self.delay_s = client, delay_s
        self._informer = Informer(client, PODS, on_event=self._changed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses = itertools.count(1)

    def _changed(self, kind: str, pod: Object, _old: Object | None) -> None:
        if kind != "DELETED" and pod["spec"].get("nodeName"):
            task = asyncio.create_task(self._serve(pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, pod: Object) -> None:
        await asyncio.sleep(self.delay_s)
        meta = pod["metadata"]
        while True:
            try:
                if meta.get("deletionTimestamp"):
                    await self.client.delete(PODS, meta["name"], meta["namespace"], grace_period_s=0, uid=meta["uid"])
                elif pod.get("status", {}).get("phase") == "Pending":
                    await self._make_ready(pod)
                elif (code := (meta.get("annotations") or {}).get("exit")) and pod["status"]["phase"] == "Running":
                    body = {"status": {"phase": "Succeeded" if code == "0" else "Failed"}}
                    await self.client.patch(PODS, meta["name"], body, meta["namespace"], subresource="status")
                return
            except Stale:
                return
            except Unavailable:
                await asyncio.sleep(0.1)

    async def _make_ready(self, pod: Object) -> None:
        number = next(self._addresses)
        ip = f"10.1.{number // 250}.{number % 250 + 1}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
        ]
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
        meta = pod["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        await self.client.patch(PODS, meta["name"], body, meta["namespace"], kind="strategic", subresource="status")

    async def run(self) -> None:
        await self._informer.run()


@pytest.fixture
def kubelets() -> type[Kubelets]:
    """The class `Kubelets`: a client makes one, a task runs it."""
    return Kubelets


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
