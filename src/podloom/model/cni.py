"""One plugin invocation and its result, as values.

The problem: seven specification versions spell the same few facts differently. Above `render.cni` there is only
one form: what was asked (`CniRequest`) and what was made (`CniResult`). Errors are the families of `model.errors`;
the subclasses here exist where the CNI specification ("Error") asks for a code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar

from podloom.model.errors import Rejected, Unavailable, Unsupported

SPEC_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = ("ADD", "DEL", "CHECK", "VERSION", "GC", "STATUS")

IPAddress = IPv4Address | IPv6Address


class IncompatibleVersion(Rejected):
    """The configuration's cniVersion is not spoken here, or has no such verb (CNI error 1)."""

    cni_code: ClassVar[int] = 1


class UnsupportedField(Unsupported):
    """A field of the configuration asks for what is not made here; key and value are named (CNI error 2)."""

    cni_code: ClassVar[int] = 2


class InvalidEnvironment(Rejected):
    """A CNI_* variable is missing or malformed (CNI error 4)."""

    cni_code: ClassVar[int] = 4


class Undecodable(Rejected):
    """Standard input is not a network configuration (CNI error 6)."""

    cni_code: ClassVar[int] = 6


class UnknownContainer(Rejected):
    """The container or its network namespace does not exist (CNI error 3)."""

    cni_code: ClassVar[int] = 3


class InvalidNamespace(Rejected):
    """CNI_NETNS is the node's own network namespace (CNI error 8)."""

    cni_code: ClassVar[int] = 8


class NotAvailable(Unavailable):
    """STATUS: the plugin cannot serve ADD now (CNI error 50)."""

    cni_code: ClassVar[int] = 50


def at_least(version: str, minimum: str) -> bool:
    """Whether specification `version` is `minimum` or newer; both must be in SPEC_VERSIONS."""
    return SPEC_VERSIONS.index(version) >= SPEC_VERSIONS.index(minimum)


@dataclass(frozen=True)
class Attachment:
    """The identity of one attachment: CNI keys everything by container and interface name."""

    container_id: str
    ifname: str


@dataclass(frozen=True)
class CniRequest:
    """One invocation, checked: whatever its command needs is present and well formed.

    `config` is the decoded network configuration; `version` its cniVersion; `args` CNI_ARGS as a mapping;
    `wanted` the addresses asked for by runtimeConfig.ips or IP= in CNI_ARGS.
    """

    command: str
    plugin: str
    version: str
    network: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    valid_attachments: tuple[Attachment, ...] = ()
    wanted: tuple[IPAddress, ...] = ()

    @property
    def attachment(self) -> Attachment:
        return Attachment(self.container_id, self.ifname)

    @property
    def pod_name(self) -> str:
        """K8S_POD_NAME; the container's id where a runtime names no pod (`ctr run --cni`)."""
        return self.args.get("K8S_POD_NAME") or self.container_id

    @property
    def pod_namespace(self) -> str:
        return self.args.get("K8S_POD_NAMESPACE", "")

    @property
    def pod_uid(self) -> str:
        return self.args.get("K8S_POD_UID", "")


@dataclass(frozen=True)
class CniInterface:
    """An interface of a result; sandbox is the namespace's path, empty for the host's own."""

    name: str
    mac: str
    sandbox: str = ""
    mtu: int = 0


@dataclass(frozen=True)
class CniAddress:
    """An address of a result; prefix length as set on the interface.

    `interface` is an index into the result's interfaces, None in an IPAM plugin's result, which has none.
    """

    address: IPAddress
    prefix_length: int
    gateway: IPAddress
    interface: int | None


@dataclass(frozen=True)
class CniRoute:
    """A route of a result, e.g. 0.0.0.0/0 by 169.254.1.1."""

    destination: str
    gateway: str = ""


@dataclass(frozen=True)
class CniResult:
    """What an ADD made, before a specification version gives it its shape."""

    interfaces: tuple[CniInterface, ...]
    addresses: tuple[CniAddress, ...]
    routes: tuple[CniRoute, ...]
    dns: Mapping[str, Any] = field(default_factory=dict)
