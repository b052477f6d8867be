"""The node agent's HTTP API as values (azure-behaviour.md section 3).

The problem: clients written for the real node agent read a number, `ReturnCode`, and decide by it; and they name a pod
by several of container, interface and pod name. Here is the list of numbers we answer, and one reading of a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from podloom.model.cni import Attachment, IPAddress


class ReturnCode(IntEnum):
    """What an answer's `ReturnCode` says."""

    SUCCESS = 0
    INVALID_PARAMETER = 2
    NOT_FOUND = 14
    ADDRESS_UNAVAILABLE = 15
    UNKNOWN_CONTAINER = 18
    FAILED_TO_ALLOCATE = 32
    UNSUPPORTED_API = 43
    UNEXPECTED = 99


class AddressState(StrEnum):
    """The states of an address; the overlay's node range knows the first two only."""

    AVAILABLE = "Available"
    ASSIGNED = "Assigned"
    PENDING_PROGRAMMING = "PendingProgramming"
    PENDING_RELEASE = "PendingRelease"


@dataclass(frozen=True)
class AddressRequest:
    """A request for a pod's addresses, or to give them back; the attachment is the pod's key."""

    attachment: Attachment
    pod_namespace: str
    pod_name: str
    wanted: tuple[IPAddress, ...] = ()


@dataclass(frozen=True)
class HostFacts:
    """What answers say of the node: its address, gateway and subnet ("" where unknown), and its network container."""

    address: str = ""
    gateway: str = ""
    subnet: str = ""
    container_id: str = ""
