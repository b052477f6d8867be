"""The kubelet's HTTPS server: logs, exec, attach, port-forward, health, pods, stats, metrics.

The problem: the API server relays `kubectl logs`, `exec` and the rest to the node on port 10250 with a client
certificate of the cluster's CA; nobody without one may read logs or run commands in containers.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.http import HttpError, HttpServer, Request, Response
from podloom.kube.kubelet.logs import LogOptions, read_log, since_text
from podloom.kube.kubelet.manager import PodManager
from podloom.kube.kubelet.stats import metrics_text, stats_summary
from podloom.kube.kubelet.streams import Streams
from podloom.kube.kubelet.worker import PodWorker
from podloom.model.runtime import Container, State
from podloom.plan.kubelet.configs import every_container

_JSON = "application/json"
_PULLING = ("ErrImagePull", "ImagePullBackOff")


def tls_context(cert: str, key: str, client_ca: str) -> ssl.SSLContext:
    """Serve with the certificate; accept only clients signed by `client_ca`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None


class KubeletServer:
    """Answers under the paths the upstream kubelet has."""

    def __init__(self, node: Node, manager: PodManager) -> None:
        self._node, self._manager = node, manager
        self._streams = Streams(node)

    async def run(self) -> None:
        """Listen until cancelled."""
        settings = self._node.settings
        secure = tls_context(settings.tls_cert, settings.tls_key, settings.client_ca) if settings.tls_cert else None
        http = HttpServer(self.handle, secure)
        server = await http.start(settings.address, settings.port)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            http.close()

    async def handle(self, request: Request) -> Response | None:
        """One request; None when its connection was taken over."""
        parts = [part for part in request.path.split("/") if part]
        match parts:
            case ["healthz"]:
                return Response(body=b"ok")
            case ["pods" | "runningpods"]:
                return self._pods()
            case ["stats", "summary"]:
                return Response(body=orjson.dumps(await stats_summary(self._node, self._manager)), content_type=_JSON)
            case ["metrics"]:
                return Response(body=metrics_text(self._node, self._manager).encode())
            case ["containerLogs", namespace, pod, container]:
                return self._logs(request, self._worker(namespace, pod), container)
            case ["exec" | "attach" as verb, namespace, pod, *_, container]:
                await self._command(request, verb, self._worker(namespace, pod), container)
                return None
            case ["portForward", namespace, pod, *_]:
                await self._port_forward(request, self._worker(namespace, pod))
                return None
        raise HttpError(404, "404 page not found")

    def _pods(self) -> Response:
        items = [worker.reporter.view() for worker in self._manager.workers.values()]
        body = orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        return Response(body=body, content_type=_JSON)

    def _worker(self, namespace: str, name: str) -> PodWorker:
        worker = self._manager.by_name(namespace, name)
        if worker is None:
            raise HttpError(404, f'pod "{name}" not found in namespace "{namespace}"')
        return worker

    def _container(self, worker: PodWorker, name: str, *, previous: bool = False) -> Container:
        pod_name = worker.pod["metadata"]["name"]
        if name not in [one["name"] for one in every_container(worker.pod)]:
            raise HttpError(400, f"container {name} is not valid for pod {pod_name}")
        found = worker.runtime.previous(name) if previous else worker.runtime.latest(name)
        if found is not None and (found.state is not State.CREATED or found.log_path):
            return found
        if previous:
            raise HttpError(400, f'previous terminated container "{name}" in pod "{pod_name}" not found')
        reason, _ = worker.problems.get(name, ("ContainerCreating", ""))
        shown = "trying and failing to pull image" if reason in _PULLING else reason
        raise HttpError(400, f'container "{name}" in pod "{pod_name}" is waiting to start: {shown}')

    def _logs(self, request: Request, worker: PodWorker, name: str) -> Response:
        container = self._container(worker, name, previous=request.flag("previous"))
        options = LogOptions(
            follow=request.flag("follow"),
            tail=_number(request.one("tailLines")),
            since=since_text(_number(request.one("sinceSeconds")), request.one("sinceTime")),
            timestamps=request.flag("timestamps"),
            limit_bytes=_number(request.one("limitBytes")),
        )

        def running() -> bool:
            now = next((one for one in worker.runtime.containers if one.id == container.id), None)
            return now is not None and now.state in (State.RUNNING, State.CREATED) and not worker.task.done()

        path = Path(container.log_path)
        body: bytes | AsyncIterator[bytes] = read_log(path, options, running) if path.is_file() else b""
        return Response(body=body, content_type="text/plain")

    async def _command(self, request: Request, verb: str, worker: PodWorker, name: str) -> None:
        container = self._container(worker, name)
        if container.state is not State.RUNNING:
            raise HttpError(404, f'container not found ("{name}")')
        if verb == "exec":
            await self._streams.exec(request, container)
            return
        tty = next(bool(one.get("tty")) for one in every_container(worker.pod) if one["name"] == name)
        await self._streams.attach(request, container, tty=tty)

    async def _port_forward(self, request: Request, worker: PodWorker) -> None:
        sandbox = worker.runtime.sandbox
        if sandbox is None or not sandbox.ready:
            raise HttpError(400, f"pod {worker.pod['metadata']['name']} is not running")
        await self._streams.port_forward(request, sandbox)
