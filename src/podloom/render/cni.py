"""CNI on the wire: environment and configuration in, results and errors out, for 0.1.0 to 1.1.0.

The problem: a runtime speaks any of seven specification versions, and each mistake has its own error code. Reading
checks everything a command needs before anything is touched (specification, "Section 2" parameters and
"Section 4" verbs; names additionally by azure-behaviour.md section 2). Writing gives one `CniResult` the shape of the
version asked for: ip4/ip6 before 0.3.0, ips with a family before 1.0.0, mtu from 1.1.0 on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from podloom.model.cni import (
    COMMANDS,
    SPEC_VERSIONS,
    Attachment,
    CniAddress,
    CniInterface,
    CniRequest,
    CniResult,
    CniRoute,
    IncompatibleVersion,
    InvalidEnvironment,
    Undecodable,
    at_least,
)
from podloom.model.errors import PodloomError, Rejected
from podloom.render.cniargs import check_args, check_runtime_config, parse_args, previous_result, wanted_addresses

_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")
_AZURE_NAME = re.compile(r"[a-zA-Z0-9._\-\(\) ]*\Z")
_IFNAME_BYTES_MAX = 15
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_POD_ARGS = ("K8S_POD_NAMESPACE", "K8S_POD_NAME")
_GC_LISTS = frozenset({"cni.dev/valid-attachments", "cni.dev/attachments"})


def parse_cni_request(environment: Mapping[str, str], stdin: bytes) -> CniRequest:
    """The checked request.

    Raises InvalidEnvironment (4), Undecodable (6), IncompatibleVersion (1), Rejected (7), UnsupportedField (2). DEL
    reads neither CNI_ARGS nor runtimeConfig: a container must go whatever they say.
    """
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise _environment("CNI_COMMAND", f"is {command!r}", f"set one of {', '.join(COMMANDS)}")
    config = _decode(stdin, command)
    version = _version(config, command)
    network = config.get("name", "")
    if command != "VERSION" and (not isinstance(network, str) or not _CONTAINER.match(network)):
        raise Rejected(
            "read the network configuration",
            f"its name is {network!r}",
            "give a name that starts with a letter or digit",
        )
    attaching = command in ("ADD", "CHECK")
    if attaching:
        _check_text(environment)
    args = parse_args(environment.get("CNI_ARGS", "")) if attaching else {}
    request = CniRequest(
        command=command,
        plugin=environment.get("PODLOOM_PLUGIN", ""),
        version=version,
        network=network,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        ifname=environment.get("CNI_IFNAME", ""),
        args=args,
        config=config,
        valid_attachments=_valid_attachments(config) if command == "GC" else (),
        wanted=wanted_addresses(args, config) if attaching else (),
    )
    if command in ("ADD", "DEL", "CHECK"):
        _check_attachment(request)
    if attaching:
        check_args(args)
        check_runtime_config(config)
    return request


def render_result(result: CniResult, version: str) -> bytes:
    """The result of an ADD as `version` shapes it (a member of SPEC_VERSIONS), one JSON document.

    A result without interfaces is an IPAM plugin's: it has no such field (specification, "Delegated plugins").
    """
    if not at_least(version, "0.3.0"):
        return orjson.dumps(_result_02(result, version))
    interfaces = [_interface(item, version) for item in result.interfaces]
    body: dict[str, Any] = {
        "cniVersion": version,
        **({"interfaces": interfaces} if interfaces else {}),
        "ips": [_address(item, version) for item in result.addresses],
        "routes": [_route(item) for item in result.routes],
        "dns": dict(result.dns),
    }
    return orjson.dumps(body)


def render_error(error: PodloomError, version: str = "1.0.0") -> bytes:
    """An error result; the code is the family's (model.errors), msg the attempt, details what was found."""
    details = f"{error.found}; {error.remedy}" if error.remedy else error.found
    return orjson.dumps({"cniVersion": version, "code": error.cni_code, "msg": error.attempted, "details": details})


def render_versions() -> bytes:
    """The answer to VERSION (also compiled into the plugin executable)."""
    return orjson.dumps({"cniVersion": SPEC_VERSIONS[-1], "supportedVersions": SPEC_VERSIONS})


def error_version(stdin: bytes) -> str:
    """The version to spell an error in: the configuration's where it is one of ours, else 1.0.0."""
    try:
        version = orjson.loads(stdin)["cniVersion"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        version = ""
    return version if version in SPEC_VERSIONS else "1.0.0"


def result_addresses(config: Mapping[str, Any]) -> frozenset[str]:
    """The addresses (without prefix length) of a configuration's prevResult, of any version's shape."""
    return previous_result(config)[0]


def _decode(stdin: bytes, command: str) -> dict[str, Any]:
    if command == "VERSION" and not stdin.strip():
        return {}
    try:
        config = orjson.loads(stdin)
    except orjson.JSONDecodeError as error:
        raise Undecodable(
            "read the network configuration", f"{error}", "pass one JSON object on standard input"
        ) from None
    if not isinstance(config, dict):
        raise Undecodable("read the network configuration", "it is not a JSON object")
    return config


def _version(config: Mapping[str, Any], command: str) -> str:
    version = config.get("cniVersion") or "0.1.0"
    if command == "VERSION":
        return version if version in SPEC_VERSIONS else SPEC_VERSIONS[-1]
    if version not in SPEC_VERSIONS:
        raise IncompatibleVersion(
            "read the network configuration", f"cniVersion is {version!r}", f"use one of {', '.join(SPEC_VERSIONS)}"
        )
    since = _SINCE.get(command, "0.1.0")
    if not at_least(version, since):
        raise IncompatibleVersion(command, f"cniVersion {version} has no {command}", f"use {since} or newer")
    return str(version)


def _check_attachment(request: CniRequest) -> None:
    if not _CONTAINER.match(request.container_id):
        raise _environment("CNI_CONTAINERID", f"is {request.container_id!r}", "set the container's id")
    name = request.ifname
    if (
        not name
        or len(name.encode(errors="surrogateescape")) > _IFNAME_BYTES_MAX
        or name in (".", "..")
        or any(c in "/:" or c.isspace() for c in name)
        or not name.isprintable()
    ):
        raise _environment("CNI_IFNAME", f"is {name!r}", "set an interface name of 1 to 15 characters")
    if request.command == "DEL":
        return
    if not request.netns:
        raise _environment("CNI_NETNS", "is empty", "set the path of the container's network namespace")
    for key in _POD_ARGS:
        value = request.args.get(key, "")
        if not _AZURE_NAME.match(value):
            raise _environment("CNI_ARGS", f"has {key}={value!r}", "name the pod by letters, digits and ._-() ")


def _valid_attachments(config: Mapping[str, Any]) -> tuple[Attachment, ...]:
    if _GC_LISTS.isdisjoint(config):
        raise Rejected(
            "collect what is not listed",
            "cni.dev/valid-attachments is missing",
            "list what is to stay; an empty list ends all",
        )
    items = config.get("cni.dev/valid-attachments", config.get("cni.dev/attachments"))
    try:
        return tuple(Attachment(str(item["containerID"]), str(item["ifname"])) for item in items or ())
    except (KeyError, TypeError) as error:
        raise Rejected(
            "read cni.dev/valid-attachments", f"malformed: {error}", "list objects with containerID and ifname"
        ) from None


def _check_text(environment: Mapping[str, str]) -> None:
    """Refuse variables whose bytes are not UTF-8: neither answers nor the lease store could hold them."""
    for variable in ("CNI_NETNS", "CNI_ARGS"):
        value = environment.get(variable, "")
        if not value.isascii() and any("\udc80" <= character <= "\udcff" for character in value):
            raise _environment(variable, f"is {value!r}", "use UTF-8")


def _environment(variable: str, found: str, remedy: str) -> InvalidEnvironment:
    return InvalidEnvironment(f"read {variable}", found, remedy, target=variable)


def _interface(item: CniInterface, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {"name": item.name, "mac": item.mac}
    if item.sandbox:
        body["sandbox"] = item.sandbox
    if item.mtu and at_least(version, "1.1.0"):
        body["mtu"] = item.mtu
    return body


def _address(item: CniAddress, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        **({"interface": item.interface} if item.interface is not None else {}),
        "address": f"{item.address}/{item.prefix_length}",
        "gateway": str(item.gateway),
    }
    return body if at_least(version, "1.0.0") else {"version": str(item.address.version), **body}


def _route(item: CniRoute) -> dict[str, str]:
    return {"dst": item.destination, "gw": item.gateway} if item.gateway else {"dst": item.destination}


def _result_02(result: CniResult, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {"cniVersion": version}
    for item in result.addresses:
        body.setdefault(
            f"ip{item.address.version}",
            {
                "ip": f"{item.address}/{item.prefix_length}",
                "gateway": str(item.gateway),
                "routes": [_route(r) for r in result.routes if (":" in r.destination) == (item.address.version == 6)],
            },
        )
    body["dns"] = dict(result.dns)
    return body
