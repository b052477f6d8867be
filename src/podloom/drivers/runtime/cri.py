"""CRI over gRPC on containerd's unix socket.

The problem: speak runtime v1 with whatever containerd is installed (1.6, 1.7, 2.x) and hear of exits at once. The
messages come from containerd's own executable (descriptors.py). 1.7 and later tell events by GetContainerEvents;
1.6 declares but does not serve it, there the events service of containerd itself tells of task exits.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from podloom.drivers.runtime.api import Config, RuntimeFailed, RuntimeNotFound
from podloom.drivers.runtime.descriptors import Messages
from podloom.model.errors import Unavailable, Unsupported
from podloom.model.runtime import (
    LABEL_POD_UID,
    Condition,
    Container,
    Event,
    Image,
    Sandbox,
    State,
    Usage,
)

_RUNTIME = "runtime.v1.RuntimeService"
_IMAGES = "runtime.v1.ImageService"
_EVENTS = "containerd.services.events.v1.Events"
_EXIT = "containerd.events.TaskExit"
_CALL_S = 120.0
_START_S = 240.0
_PULL_S = 1800.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_CREATED_EVENT, _STARTED_EVENT, _STOPPED_EVENT, _DELETED_EVENT = range(4)


def server_executable(path: str) -> Path:
    """The executable that listens on the unix socket `path`, by its peer credentials; else containerd on PATH."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(5)
            one.connect(path)
            size = struct.calcsize("3i")
            pid, _, _ = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        executable = Path(f"/proc/{pid}/exe")
        if pid and executable.exists():
            return executable
    except OSError as e:
        raise Unavailable(f"connect to the container runtime at {path}", str(e), "is containerd running?") from e
    found = shutil.which("containerd")
    if not found:
        raise Unavailable("find the containerd executable", "not on PATH", "install containerd")
    return Path(found)


class CriClient:
    """Runtime (see api.py) over a unix socket. `connect` reads the message types; gRPC reconnects by itself."""

    def __init__(self, path: str, messages: Messages) -> None:
        self._path, self._messages = path, messages
        self._channel = grpc.aio.insecure_channel(f"unix://{path}", options=_OPTIONS)
        self._calls: dict[str, tuple[Any, Any]] = {}
        self._cri_events = True

    @classmethod
    def connect(cls, path: str) -> CriClient:
        """Unavailable when nothing listens there, Unsupported when its executable carries no CRI v1."""
        return cls(path, _messages(path, _RUNTIME))

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, service: str, method: str, about: str, timeout_s: float = _CALL_S, **fields: Any) -> Any:
        known = self._calls.get(method)
        if known is None:
            request, response = self._messages.method(service, method)
            stub = self._channel.unary_unary(
                f"/{service}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            known = self._calls[method] = (request, stub)
        request, stub = known
        try:
            return await stub(request(**fields), timeout=timeout_s)
        except grpc.aio.AioRpcError as e:
            raise _failed(f"{method} {about}".strip(), e) from None

    async def _runtime(self, method: str, about: str = "", timeout_s: float = _CALL_S, **fields: Any) -> Any:
        return await self._call(_RUNTIME, method, about, timeout_s, **fields)

    async def version(self) -> str:
        answer = await self._runtime("Version")
        return f"{answer.runtime_name}://{answer.runtime_version.removeprefix('v').partition('~')[0]}"

    async def conditions(self) -> list[Condition]:
        answer = await self._runtime("Status")
        return [Condition(c.type, c.status, c.reason, c.message) for c in answer.status.conditions]

    async def list_sandboxes(self, uid: str = "") -> list[Sandbox]:
        answer = await self._runtime("ListPodSandbox", uid, filter=_filter(uid))
        return [_sandbox(one) for one in answer.items if LABEL_POD_UID in one.labels]

    async def sandbox(self, sandbox_id: str, *, verbose: bool = False) -> Sandbox:
        answer = await self._runtime("PodSandboxStatus", sandbox_id, pod_sandbox_id=sandbox_id, verbose=verbose)
        network = answer.status.network
        ips = tuple(ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip)
        return _sandbox(answer.status, ips, _netns(answer.info.get("info", "")) if verbose else "")

    async def run_sandbox(self, config: Config) -> str:
        about = f"{config['metadata']['namespace']}/{config['metadata']['name']}"
        answer = await self._runtime("RunPodSandbox", about, _START_S, config=config)
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._runtime("StopPodSandbox", sandbox_id, pod_sandbox_id=sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._runtime("RemovePodSandbox", sandbox_id, pod_sandbox_id=sandbox_id)

    async def list_containers(self, uid: str = "") -> list[Container]:
        answer = await self._runtime("ListContainers", uid, filter=_filter(uid))
        return [_listed(one) for one in answer.containers if LABEL_POD_UID in one.labels]

    async def container(self, container_id: str, sandbox_id: str = "") -> Container:
        answer = await self._runtime("ContainerStatus", container_id, container_id=container_id)
        return _container(answer.status, sandbox_id)

    async def create_container(self, sandbox_id: str, config: Config, sandbox_config: Config) -> str:
        answer = await self._runtime(
            "CreateContainer",
            config["metadata"]["name"],
            _START_S,
            pod_sandbox_id=sandbox_id,
            config=config,
            sandbox_config=sandbox_config,
        )
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        await self._runtime("StartContainer", container_id, _START_S, container_id=container_id)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        try:
            await self._runtime(
                "StopContainer", container_id, _CALL_S + timeout_s, container_id=container_id, timeout=timeout_s
            )
        except RuntimeNotFound:
            return

    async def remove_container(self, container_id: str) -> None:
        await self._runtime("RemoveContainer", container_id, container_id=container_id)

    async def reopen_log(self, container_id: str) -> None:
        await self._runtime("ReopenContainerLog", container_id, container_id=container_id)

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: int) -> tuple[bytes, bytes, int]:
        answer = await self._runtime(
            "ExecSync", container_id, timeout_s + 5.0, container_id=container_id, cmd=command, timeout=timeout_s
        )
        return answer.stdout, answer.stderr, answer.exit_code

    async def exec_url(
        self, container_id: str, command: list[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        answer = await self._runtime(
            "Exec",
            container_id,
            container_id=container_id,
            cmd=command,
            tty=tty,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        return str(answer.url)

    async def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        answer = await self._runtime(
            "Attach", container_id, container_id=container_id, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr
        )
        return str(answer.url)

    async def port_forward_url(self, sandbox_id: str) -> str:
        return str((await self._runtime("PortForward", sandbox_id, pod_sandbox_id=sandbox_id)).url)

    async def image(self, name: str) -> Image | None:
        answer = await self._call(_IMAGES, "ImageStatus", name, image={"image": name})
        return _image(answer.image) if answer.image.id else None

    async def list_images(self) -> list[Image]:
        return [_image(one) for one in (await self._call(_IMAGES, "ListImages", "")).images]

    async def pull_image(self, name: str, auth: Config | None, sandbox_config: Config) -> str:
        answer = await self._call(
            _IMAGES, "PullImage", name, _PULL_S, image={"image": name}, auth=auth, sandbox_config=sandbox_config
        )
        return str(answer.image_ref)

    async def usage(self) -> list[Usage]:
        answer = await self._runtime("ListContainerStats")
        return [
            Usage(
                one.attributes.id,
                one.attributes.labels.get(LABEL_POD_UID, ""),
                one.attributes.metadata.name,
                one.cpu.usage_core_nano_seconds.value,
                one.memory.working_set_bytes.value,
                one.writable_layer.used_bytes.value,
            )
            for one in answer.stats
        ]

    async def events(self) -> AsyncIterator[Event]:
        if self._cri_events and self._serves(_RUNTIME, "GetContainerEvents"):
            try:
                async for event in self._events_cri():
                    yield event
                return
            except RuntimeFailed as e:
                if e.code != "UNIMPLEMENTED":
                    raise
                self._cri_events = False
        async for event in self._events_containerd():
            yield event

    async def _stream(self, messages: Messages, service: str, method: str, **fields: Any) -> AsyncIterator[Any]:
        request, response = messages.method(service, method)
        stub = self._channel.unary_stream(
            f"/{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            async for message in stub(request(**fields), wait_for_ready=True):
                yield message
        except grpc.aio.AioRpcError as e:
            raise _failed(method, e) from None

    def _serves(self, service: str, method: str) -> bool:
        try:
            self._messages.method(service, method)
        except KeyError:
            return False
        return True

    async def _events_cri(self) -> AsyncIterator[Event]:
        async for message in self._stream(self._messages, _RUNTIME, "GetContainerEvents"):
            yield Event(message.container_id, message.container_event_type == _STOPPED_EVENT)

    async def _events_containerd(self) -> AsyncIterator[Event]:
        """Task exits of containers; those of exec processes carry an id of their own and are left out."""
        try:
            messages = _messages(self._path, _EVENTS, _EXIT)
        except Unsupported as e:
            raise RuntimeFailed("hear the runtime's events", e.message, "UNIMPLEMENTED") from e
        task_exit = messages.get(_EXIT)
        async for message in self._stream(messages, _EVENTS, "Subscribe", filters=['topic=="/tasks/exit"']):
            if message.namespace != "k8s.io":
                continue
            exit_ = task_exit.FromString(message.event.value)
            if exit_.id == exit_.container_id:
                yield Event(exit_.container_id, True)


def _messages(path: str, *full_names: str) -> Messages:
    """The message types of whoever listens at `path`. Unavailable, Unsupported."""
    executable = server_executable(path)
    try:
        return Messages(executable, *full_names)
    except OSError as e:  # it ended between the connection and the look at its file
        raise Unavailable(f"read the messages of {executable}", str(e)) from e


def _failed(attempted: str, error: grpc.aio.AioRpcError) -> RuntimeFailed:
    kind = RuntimeNotFound if error.code() is grpc.StatusCode.NOT_FOUND else RuntimeFailed
    return kind(attempted, error.details() or error.code().name, error.code().name)


def _filter(uid: str) -> Config:
    return {"label_selector": {LABEL_POD_UID: uid}} if uid else {}


def _sandbox(one: Any, ips: tuple[str, ...] = (), netns: str = "") -> Sandbox:
    meta = one.metadata
    return Sandbox(
        one.id, meta.uid, meta.namespace, meta.name, meta.attempt, one.state == 0, one.created_at, ips, netns
    )


def _netns(info: str) -> str:
    """The sandbox's network namespace in containerd's verbose answer (its own JSON)."""
    try:
        namespaces = json.loads(info)["runtimeSpec"]["linux"]["namespaces"]
    except (ValueError, KeyError, TypeError):
        return ""
    return next((str(one.get("path", "")) for one in namespaces if one.get("type") == "network"), "")


def _listed(one: Any) -> Container:
    return Container(
        one.id,
        one.pod_sandbox_id,
        one.labels.get(LABEL_POD_UID, ""),
        one.metadata.name,
        one.metadata.attempt,
        State(one.state),
        one.image.image,
        one.image_ref,
        one.created_at,
        annotations=dict(one.annotations),
    )


def _container(one: Any, sandbox_id: str) -> Container:
    return Container(
        one.id,
        sandbox_id,
        one.labels.get(LABEL_POD_UID, ""),
        one.metadata.name,
        one.metadata.attempt,
        State(one.state),
        one.image.image,
        one.image_ref,
        one.created_at,
        one.started_at,
        one.finished_at,
        one.exit_code,
        one.reason,
        one.message,
        one.log_path,
        dict(one.annotations),
        {mount.container_path: mount.host_path for mount in one.mounts},
    )


def _image(one: Any) -> Image:
    return Image(
        one.id,
        tuple(one.repo_tags),
        tuple(one.repo_digests),
        one.size,
        one.uid.value if one.HasField("uid") else None,
        one.username,
    )


async def connect_when_up(path: str, *, every_s: float = 0.1) -> CriClient:
    """A client as soon as something listens at `path`; waits for ever, in bounded steps."""
    wait_s = every_s
    while True:
        try:
            return CriClient.connect(path)
        except Unavailable:
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, 2.0)
