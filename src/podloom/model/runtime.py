"""Nouns of the container runtime interface (CRI): sandboxes, containers, images, events.

The problem: decisions (plan) and hands (drivers) speak about what a container runtime runs, and neither may
import the other. These frozen values are what both see: the parts of k8s.io/cri-api runtime v1 messages that
a node runtime reads. Times are nanoseconds since the epoch, 0 when not yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

# Labels and annotations every kubelet puts on sandboxes and containers: state is read back from them.
LABEL_POD_NAME = "io.kubernetes.pod.name"
LABEL_POD_NAMESPACE = "io.kubernetes.pod.namespace"
LABEL_POD_UID = "io.kubernetes.pod.uid"
LABEL_CONTAINER_NAME = "io.kubernetes.container.name"
ANNOTATION_RESTART_COUNT = "io.kubernetes.container.restartCount"
ANNOTATION_HASH = "io.kubernetes.container.hash"
ANNOTATION_MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
ANNOTATION_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
ANNOTATION_BACKOFF = "podloom.io/restart-backoff-level"


class State(Enum):
    """ContainerState of runtime v1."""

    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


@dataclass(frozen=True)
class Sandbox:
    """A pod's sandbox: the network namespace and what keeps it."""

    id: str
    uid: str
    namespace: str
    name: str
    attempt: int
    ready: bool
    created_at_ns: int
    ips: tuple[str, ...] = ()
    netns: str = ""  # path; filled by a verbose status only


@dataclass(frozen=True)
class Container:
    """One container of a pod, as the runtime reports it."""

    id: str
    sandbox_id: str
    uid: str
    name: str
    attempt: int
    state: State
    image: str
    image_ref: str
    created_at_ns: int = 0
    started_at_ns: int = 0
    finished_at_ns: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)  # container path -> host path

    @property
    def restart_count(self) -> int:
        value = self.annotations.get(ANNOTATION_RESTART_COUNT, "")
        return int(value) if value.isdigit() else self.attempt


@dataclass(frozen=True)
class Image:
    """An image in the runtime's store; user is what its config runs as: a number or a name."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    user_id: int | None = None
    username: str = ""


@dataclass(frozen=True)
class Event:
    """Something happened to a container or sandbox: an exit, a start, a removal."""

    container_id: str
    exited: bool


@dataclass(frozen=True)
class Condition:
    """RuntimeReady or NetworkReady."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Usage:
    """What a container uses now; bytes and nanoseconds of CPU."""

    container_id: str
    uid: str
    name: str
    cpu_ns: int
    working_set_bytes: int
    writable_bytes: int
