"""The lab's supervisor: keeps cloud, fabric and registry running and every cluster as the cloud says.

The problem: one process must know everything that runs, and it may be killed at any time. It therefore knows
nothing that it cannot read again: processes from /proc, clusters from the cloud. Stopping it stops nothing else;
`podloom lab down` ends the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from pathlib import Path
from typing import Any

import msgspec
import structlog

from podloom.drivers.arm import CloudClient
from podloom.drivers.files import write_atomic
from podloom.drivers.kernel.netns import list_netns, socket_in_netns
from podloom.drivers.pki import Authority
from podloom.lab.cluster import Cluster, LabContext
from podloom.lab.images import build_all
from podloom.lab.imagestore import ImageStore
from podloom.lab.processes import Keeper, ProcessSpec
from podloom.lab.registry import serve_proxy, serve_registry
from podloom.lab.state import LabFile, LabPaths, python
from podloom.model.arm import MANAGED_CLUSTERS
from podloom.model.errors import PodloomError, Unavailable
from podloom.plan.fabric.names import internet_netns

log = structlog.get_logger()
REGISTRY_ADDRESS = "198.19.0.1"
REGISTRY_PORT = 5000
PROXY_PORT = 3128
PAUSE_S = 0.02
RESTORE_S = 90.0  # a cluster that takes longer comes back in the background


class Daemon:
    """Runs until SIGTERM; then leaves everything running."""

    def __init__(self, paths: LabPaths, lab: LabFile) -> None:
        self.paths = paths
        self.lab = lab
        self.cloud = CloudClient(lab.cloud_url, lab.ca_file)
        self.clusters: dict[str, Cluster] = {}
        self._gone: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._status: dict[str, Any] = {"pid": os.getpid(), "ready": False, "step": "starting"}

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with self._lock():
            work = asyncio.create_task(self._serve())
            waiter = asyncio.create_task(stop.wait())
            await asyncio.wait([work, waiter], return_when=asyncio.FIRST_COMPLETED)
            for task in [work, waiter, *self._tasks]:
                task.cancel()
            results = await asyncio.gather(work, *self._tasks, return_exceptions=True)
            await self.cloud.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    @contextlib.contextmanager
    def _lock(self) -> Any:
        """One supervisor per lab: the lock falls with the process, however it ends."""
        path = self.paths.root / "run" / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable("start the lab's supervisor", "one is running already") from None
            yield

    async def _serve(self) -> None:
        self._tell("images")
        images = asyncio.create_task(asyncio.to_thread(build_all, ImageStore(self.paths.images)))
        self._tell("cloud")
        authority = Authority.open(self.paths.pki, "podloom lab authority")
        authority.issue("cloud", "localhost", hosts=["localhost", "127.0.0.1"])
        self._keep(self._cloud_process)
        had = await self._cloud_answers()
        self._tell("fabric")
        self._keep(self._fabric_process)
        await self._internet_exists()
        self._tell("images")
        await images
        await self._registry()
        self._run(self._restored(had))
        await self._watch()

    def _keep(self, spec: Any) -> None:
        self._run(Keeper(self.lab.tag, spec).run())

    def _run(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cloud_process(self) -> ProcessSpec:
        flags = ["--listen", self.lab.cloud_url.removeprefix("https://"), "--data", str(self.paths.cloud)]
        pki = ["--tls-cert", str(self.paths.pki / "cloud.crt"), "--tls-key", str(self.paths.pki / "cloud.key")]
        subscription = ["--subscription", self.lab.subscription_id]
        argv = (python(), "-m", "podloom.cloud", *flags, *pki, *subscription)
        return ProcessSpec("cloud", argv, self.paths.logs / "cloud.log")

    def _fabric_process(self) -> ProcessSpec:
        flags = ["--cloud-url", self.lab.cloud_url, "--cloud-ca", self.lab.ca_file, "--tag", self.lab.tag]
        argv = (python(), "-m", "podloom.fabric", *flags, "--state", str(self.paths.fabric))
        return ProcessSpec("fabric", argv, self.paths.logs / "fabric.log")

    async def _cloud_answers(self) -> set[str]:
        """The clusters the cloud has, when it answers."""
        told = ""
        while True:
            try:
                return {found["id"].lower() for found in await self.cloud.list(MANAGED_CLUSTERS)}
            except Unavailable as error:
                if str(error) != told:
                    told = str(error)
                    log.info("waiting for the cloud", reason=told)
                await asyncio.sleep(PAUSE_S)

    async def _restored(self, had: set[str]) -> None:
        """Ready only when the clusters of an earlier life are back: a user goes on with kubectl at once."""
        if had:
            self._tell("clusters")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RESTORE_S):
                while not all(self._is_settled(key) for key in had):
                    await asyncio.sleep(PAUSE_S)
        self._tell("ready", ready=True)

    def _is_settled(self, key: str) -> bool:
        return key in self._gone or (key in self.clusters and self.clusters[key].settled.is_set())

    async def _internet_exists(self) -> None:
        while internet_netns(self.lab.tag) not in list_netns(self.lab.tag):
            await asyncio.sleep(PAUSE_S)

    async def _registry(self) -> None:
        """Listen inside the lab's internet; its address is there a moment after the namespace."""
        netns = internet_netns(self.lab.tag)
        sockets = []
        for port in (REGISTRY_PORT, PROXY_PORT):
            listener = socket_in_netns(netns)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            while True:
                try:
                    listener.bind((REGISTRY_ADDRESS, port))
                    break
                except OSError:
                    await asyncio.sleep(PAUSE_S)
            listener.listen(128)
            listener.setblocking(False)
            sockets.append(listener)
        await serve_registry(ImageStore(self.paths.images), sockets[0])
        await serve_proxy(sockets[1])

    async def _watch(self) -> None:
        """Give every cluster its resource, now and each time it changes."""
        context = LabContext(
            tag=self.lab.tag,
            paths=self.paths,
            cloud=self.cloud,
            cloud_url=self.lab.cloud_url,
            cloud_ca=Path(self.lab.ca_file),
            registry=f"http://{REGISTRY_ADDRESS}:{REGISTRY_PORT}",
            proxy=f"http://{REGISTRY_ADDRESS}:{PROXY_PORT}",
        )
        async for change in self.cloud.changes():
            if change.type.lower() != MANAGED_CLUSTERS.lower() or change.resource is None:
                continue
            key = change.id.lower()
            if key not in self.clusters:
                self.clusters[key] = Cluster(context)
                self._run(self._run_cluster(key))
            self.clusters[key].want(change.resource)

    async def _run_cluster(self, key: str) -> None:
        try:
            await self.clusters[key].run()
        except asyncio.CancelledError:
            raise
        except PodloomError as error:
            log.error("cluster given up", cluster=key, error=str(error))
        finally:
            self.clusters.pop(key, None)
            self._gone.add(key)

    def _tell(self, step: str, *, ready: bool = False) -> None:
        self._status |= {"step": step, "ready": ready}
        self.paths.status_file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.paths.status_file, msgspec.json.encode(self._status))
