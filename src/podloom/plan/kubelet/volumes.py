"""What a volume holds: files computed from objects, an empty directory, or a path of the host.

The problem: ConfigMaps, Secrets, tokens and pod fields all end as files with modes; which files, with which modes
and which errors is decided here, and writing them is somebody else's. Claims that need a storage provider
are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podloom.model.errors import Unsupported
from podloom.plan.kubelet.env import EnvInputs, Object, config_error, expand
from podloom.plan.kubelet.fields import field_value
from podloom.plan.kubelet.quantity import whole
from podloom.plan.kubelet.resources import containers_of, resource_field

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600


@dataclass(frozen=True)
class File:
    data: bytes
    mode: int


@dataclass(frozen=True)
class Files:
    """A directory of computed files; secret ones live in memory only."""

    files: Mapping[str, File]
    secret: bool


@dataclass(frozen=True)
class Empty:
    """emptyDir; in memory (tmpfs) with an optional limit in bytes."""

    memory: bool
    size_bytes: int = 0


@dataclass(frozen=True)
class HostPath:
    """A path of the node; type as Kubernetes names it: "", DirectoryOrCreate, File ..."""

    path: str
    type: str = ""


VolumePlan = Files | Empty | HostPath
TokenKey = tuple[str, int]  # (audience, seconds asked for)


def token_keys(pod: Object) -> set[TokenKey]:
    """The service account tokens the pod's projected volumes want."""
    out: set[TokenKey] = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if token := source.get("serviceAccountToken"):
                out.add(_token_key(token))
    return out


def _token_key(token: Object) -> TokenKey:
    return token.get("audience") or "", int(token.get("expirationSeconds") or TOKEN_SECONDS)


def _chosen(data: Mapping[str, bytes], items: Iterable[Object] | None, mode: int, what: str) -> dict[str, File]:
    """All keys, or the listed ones at their paths; `what` names the object in the error."""
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    out = {}
    for item in items:
        if item["key"] not in data:
            raise config_error(f"{what} references non-existent config key: {item['key']}")
        out[item["path"]] = File(data[item["key"]], item.get("mode") or mode)
    return out


def _object_files(kind: str, source: Object, inputs: EnvInputs, mode: int) -> dict[str, File]:
    name = source.get("secretName") or source.get("name", "")
    optional = bool(source.get("optional"))
    data = inputs.sources.data(kind, name, optional)
    if data is None:
        return {}
    items = [item for item in source.get("items") or () if not optional or item["key"] in data]
    if source.get("items") and not items:
        return {}
    return _chosen(data, items, mode, kind)


def _downward_files(source: Object, pod: Object, inputs: EnvInputs, mode: int) -> dict[str, File]:
    by_name = {one["name"]: one for one in containers_of(pod)}
    out = {}
    for item in source.get("items") or ():
        if ref := item.get("fieldRef"):
            text = field_value(pod, ref["fieldPath"], inputs.node, inputs.pod_ips)
        else:
            ref = item["resourceFieldRef"]
            text = resource_field(
                by_name.get(ref.get("containerName", ""), {}),
                ref["resource"],
                ref.get("divisor"),
                inputs.node.allocatable,
            )
        out[item["path"]] = File(text.encode(), item.get("mode") or mode)
    return out


def _projected_files(
    source: Object, pod: Object, inputs: EnvInputs, tokens: Mapping[TokenKey, str], mode: int
) -> dict[str, File]:
    out: dict[str, File] = {}
    for one in source.get("sources") or ():
        if "configMap" in one:
            out |= _object_files("configmap", one["configMap"], inputs, mode)
        elif "secret" in one:
            out |= _object_files("secret", one["secret"], inputs, mode)
        elif "downwardAPI" in one:
            out |= _downward_files(one["downwardAPI"], pod, inputs, mode)
        elif "serviceAccountToken" in one:
            token = one["serviceAccountToken"]
            readable = mode if _shared_token(pod) else mode & ~0o077
            out[token["path"]] = File(tokens[_token_key(token)].encode(), readable)
        else:
            raise Unsupported("project a volume source", f"{', '.join(one) or 'nothing'} is not served here")
    return out


def _shared_token(pod: Object) -> bool:
    """Whether users besides root must read the token: the mode stays wide (kubelet projected volume rules)."""
    security = pod["spec"].get("securityContext") or {}
    users = [
        (one.get("securityContext") or {}).get("runAsUser", security.get("runAsUser")) for one in containers_of(pod)
    ]
    return security.get("fsGroup") is None or any(user for user in users)


def plan_volume(volume: Object, pod: Object, inputs: EnvInputs, tokens: Mapping[TokenKey, str]) -> VolumePlan:
    """What to put on disk for one volume; ConfigError when a source is missing, Unsupported for other kinds."""
    if "configMap" in volume:
        source = volume["configMap"]
        return Files(_object_files("configmap", source, inputs, source.get("defaultMode") or DEFAULT_MODE), False)
    if "secret" in volume:
        source = volume["secret"]
        return Files(_object_files("secret", source, inputs, source.get("defaultMode") or DEFAULT_MODE), True)
    if "downwardAPI" in volume:
        source = volume["downwardAPI"]
        return Files(_downward_files(source, pod, inputs, source.get("defaultMode") or DEFAULT_MODE), False)
    if "projected" in volume:
        source = volume["projected"]
        mode = source.get("defaultMode") or DEFAULT_MODE
        return Files(_projected_files(source, pod, inputs, tokens, mode), True)
    if "hostPath" in volume:
        return HostPath(volume["hostPath"]["path"], volume["hostPath"].get("type") or "")
    kinds = [key for key in volume if key != "name"]
    if not kinds or "emptyDir" in volume:
        source = volume.get("emptyDir") or {}
        limit = source.get("sizeLimit")
        return Empty(source.get("medium") == "Memory", whole(limit) if limit else 0)
    raise Unsupported(f"set up volume {volume['name']}", f"volume type {kinds[0]} is not served by this node")


@dataclass(frozen=True)
class MountPlan:
    """One volumeMount of a container: which volume, where in it, where to."""

    volume: str
    sub_path: str
    container_path: str
    read_only: bool
    propagation: str


_PROPAGATION = {"HostToContainer": "PROPAGATION_HOST_TO_CONTAINER", "Bidirectional": "PROPAGATION_BIDIRECTIONAL"}


def plan_mounts(container: Object, env: Mapping[str, str]) -> list[MountPlan]:
    """The container's volume mounts with subPathExpr expanded."""
    out = []
    for mount in container.get("volumeMounts") or ():
        sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env.get)
        path = mount["mountPath"]
        out.append(
            MountPlan(
                mount["name"],
                sub_path,
                path if path.startswith("/") else f"/{path}",
                bool(mount.get("readOnly")),
                _PROPAGATION.get(mount.get("mountPropagation") or "", "PROPAGATION_PRIVATE"),
            )
        )
    return out


def changing_volumes(pod: Object) -> bool:
    """Whether any volume's content may change while the pod runs."""
    kinds = {"configMap", "secret", "projected", "downwardAPI"}
    return any(kinds & set(volume) for volume in pod["spec"].get("volumes") or ())


def file_config(volume: Mapping[str, Any]) -> bool:
    return bool({"configMap", "secret", "projected", "downwardAPI"} & set(volume))
