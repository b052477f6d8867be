"""A cluster's control plane: API server, controllers and operator, as processes that outlive the supervisor."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp

from podloom.drivers.files import write_atomic, write_if_changed
from podloom.drivers.pki import Authority, kubeconfig, signing_key
from podloom.lab.processes import Keeper, ProcessSpec, stop_below
from podloom.lab.state import python
from podloom.plan.cluster import API_PORT, ClusterParts
from podloom.plan.fabric.names import internet_netns, router_netns

if TYPE_CHECKING:
    from podloom.lab.cluster import LabContext

READY_PAUSE_S = 0.03
PORTS = range(16443, 32768)


class ControlPlane:
    """The processes of one cluster that run outside its nodes."""

    def __init__(self, context: LabContext, parts: ClusterParts, address: str) -> None:
        self.context = context
        self.parts = parts
        self.address = address
        self.folder = context.paths.cluster(parts.key)
        self.authority = Authority.open(self.folder / "pki", f"{parts.name} authority")
        self.port = self._port()
        self._tasks: list[asyncio.Task[None]] = []

    def _port(self) -> int:
        """The cluster's own port on loopback, chosen once.

        Below the range the kernel gives to outgoing connections: one of those could take the port while the API
        server restarts.
        """
        file = self.folder / "port"
        if not file.exists():
            others = {int(other.read_text()) for other in self.folder.parent.glob("*/port")}
            write_atomic(file, str(next(port for port in PORTS if port not in others and _is_free(port))))
        return int(file.read_text())

    def start(self) -> None:
        """Write the credentials, then adopt or start each process and keep it running."""
        self._credentials()
        for spec in (self._api, self._controllers, self._operator):
            self._tasks.append(asyncio.create_task(Keeper(self.context.tag, spec).run()))

    async def ready(self) -> None:
        """Return when the API server answers /readyz; raises what ended a keeper."""
        context = ssl.create_default_context(cafile=str(self.authority.cert_path))
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as session:
            while True:
                for task in self._tasks:
                    if task.done():
                        task.result()
                try:
                    async with session.get(f"https://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(READY_PAUSE_S)

    async def release(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def remove(self) -> None:
        await self.release()
        await stop_below(self.context.tag, f"cluster/{self.parts.key}/")

    def _credentials(self) -> None:
        service_ip = str(ipaddress.ip_network(self.parts.service_cidrs[0])[1])
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        hosts = ["localhost", "127.0.0.1", self.address, service_ip, *names, self.parts.fqdn]
        self.authority.issue("apiserver", "kube-apiserver", hosts=hosts)
        self.authority.issue("kubelet-client", "kube-apiserver-kubelet-client", groups=["system:masters"])
        signing_key(self.folder / "pki" / "sa.key")
        users = {
            "admin": ("lab-admin", ["system:masters"]),
            "controllers": ("system:kube-controller-manager", ["system:masters"]),
            "operator": ("podloom-operator", ["podloom:operators"]),
        }
        for file, (user, groups) in users.items():
            pair = self.authority.issue(file, user, groups=groups)
            server = f"https://127.0.0.1:{self.port}"
            text = kubeconfig(server, self.authority.cert_path, pair, cluster=self.parts.name, user=user)
            write_if_changed(self.folder / f"{file}.conf", text, mode=0o600)

    def _process(self, name: str, module: str, flags: list[tuple[str, str]]) -> ProcessSpec:
        argv = [python(), "-m", module, *(part for pair in flags for part in pair)]
        log = self.folder / "log" / f"{name}.log"
        return ProcessSpec(f"cluster/{self.parts.key}/{name}", tuple(argv), log)

    def _api(self) -> ProcessSpec:
        pki = self.folder / "pki"
        outside = internet_netns(self.context.tag)
        flags = [
            ("--data", str(self.folder / "api")),
            ("--listen", f"127.0.0.1:{self.port}"),
            ("--listen", f"netns={outside},{self.address}:{API_PORT}"),
            ("--tls-cert", str(pki / "apiserver.crt")),
            ("--tls-key", str(pki / "apiserver.key")),
            ("--client-ca", str(self.authority.cert_path)),
            ("--service-account-key", str(pki / "sa.key")),
            ("--node-netns", router_netns(self.context.tag, str(self.parts.vnet))),
            ("--kubelet-ca", str(self.authority.cert_path)),
            ("--kubelet-client-cert", str(pki / "kubelet-client.crt")),
            ("--kubelet-client-key", str(pki / "kubelet-client.key")),
        ]
        flags += [
            ("--service-cidr", ",".join(self.parts.service_cidrs)),
            ("--advertise", f"{self.address}:{API_PORT}"),
        ]
        return self._process("api", "podloom.kube.api", flags)

    def _controllers(self) -> ProcessSpec:
        flags = [
            ("--kubeconfig", str(self.folder / "controllers.conf")),
            ("--cluster-ca", str(self.authority.cert_path)),
            ("--service-account-key", str(self.folder / "pki" / "sa.key")),
            ("--advertise-address", f"{self.address}:{API_PORT}"),
        ]
        return self._process("controllers", "podloom.kube.controllers", flags)

    def _operator(self) -> ProcessSpec:
        flags = [
            ("--kubeconfig", str(self.folder / "operator.conf")),
            ("--cloud-url", self.context.cloud_url),
            ("--cloud-ca", str(self.context.cloud_ca)),
            ("--routing-domain", str(self.parts.routing_domain)),
        ]
        flags += [("--pod-cidr", cidr) for cidr in self.parts.pod_cidrs]
        return self._process("operator", "podloom.operator", flags)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
