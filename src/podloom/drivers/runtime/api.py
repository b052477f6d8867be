"""What every container runtime body offers: the CRI calls a node runtime makes, in our nouns.

The problem: the pod workers must run the same over containerd, over a runtime in memory and over one that
fails every tenth call. Configurations go in as plain dicts with the field names of runtime v1 (they are spelled by
plan); what comes back are the frozen values of model.runtime. Every call may raise RuntimeFailed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from podloom.model.errors import Stale, Unavailable
from podloom.model.runtime import Condition, Container, Event, Image, Sandbox, Usage

Config = dict[str, Any]


class RuntimeFailed(Unavailable):
    """The runtime answered with an error, or not at all; `code` is the gRPC status name, found its own words."""

    def __init__(self, attempted: str, found: str, code: str) -> None:
        super().__init__(attempted, found)
        self.code = code


class RuntimeNotFound(RuntimeFailed, Stale):
    """The container, sandbox or image is not there (any more)."""


class Runtime(Protocol):
    """CRI runtime v1, as much as a node runtime needs."""

    async def version(self) -> str:
        """The runtime and its version as nodeInfo spells it: containerd://1.6.20."""
        ...

    async def conditions(self) -> list[Condition]:
        """RuntimeReady and NetworkReady."""
        ...

    async def list_sandboxes(self, uid: str = "") -> list[Sandbox]:
        """All pod sandboxes, or those of one pod; without addresses."""
        ...

    async def sandbox(self, sandbox_id: str, *, verbose: bool = False) -> Sandbox:
        """One sandbox with its addresses; verbose adds its network namespace's path."""
        ...

    async def run_sandbox(self, config: Config) -> str:
        """Make a sandbox (this calls CNI ADD); its id."""
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Stop what runs in it and release its network (CNI DEL); done twice is done once."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget it and its containers; gone already is success."""
        ...

    async def list_containers(self, uid: str = "") -> list[Container]:
        """All containers, or those of one pod; without times, exit codes and mounts."""
        ...

    async def container(self, container_id: str, sandbox_id: str = "") -> Container:
        """One container in full; its sandbox only a listing tells, so the caller passes it."""
        ...

    async def create_container(self, sandbox_id: str, config: Config, sandbox_config: Config) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Send its stop signal, wait, then kill; gone already is success."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def reopen_log(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: int) -> tuple[bytes, bytes, int]:
        """(stdout, stderr, exit code); DEADLINE_EXCEEDED when it takes longer."""
        ...

    async def exec_url(
        self, container_id: str, command: list[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        """Where the stream of this command can be had, once, by SPDY/3.1."""
        ...

    async def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str: ...

    async def port_forward_url(self, sandbox_id: str) -> str: ...

    async def image(self, name: str) -> Image | None:
        """The image by this name, None when it is not in the store."""
        ...

    async def list_images(self) -> list[Image]: ...

    async def pull_image(self, name: str, auth: Config | None, sandbox_config: Config) -> str:
        """Fetch it; the reference to start containers from."""
        ...

    async def usage(self) -> list[Usage]: ...

    def events(self) -> AsyncIterator[Event]:
        """What happens, until the connection ends; RuntimeFailed UNIMPLEMENTED when this runtime tells nothing."""
        ...

    async def close(self) -> None: ...
