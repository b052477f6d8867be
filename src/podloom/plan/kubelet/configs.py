"""Pod to PodSandboxConfig and ContainerConfig of CRI runtime v1, as dicts with the message's field names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from podloom.model.runtime import (
    ANNOTATION_BACKOFF,
    ANNOTATION_HASH,
    ANNOTATION_MESSAGE_PATH,
    ANNOTATION_MESSAGE_POLICY,
    ANNOTATION_RESTART_COUNT,
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
)
from podloom.plan.kubelet.env import Object, config_error
from podloom.plan.kubelet.fields import NodeFacts
from podloom.plan.kubelet.files import hostname_of
from podloom.plan.kubelet.resources import linux_resources, qos_class

Config = dict[str, Any]
LOG_ROOT = "/var/log"
_MASKED = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
]
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def log_directory(pod: Object, root: str = LOG_ROOT) -> str:
    """Where the runtime writes the pod's logs: ROOT/pods/namespace_name_uid."""
    meta = pod["metadata"]
    return f"{root}/pods/{meta['namespace']}_{meta['name']}_{meta['uid']}"


def container_hash(container: Object) -> str:
    """Changes when a running container must be replaced: its image and name (the rest of a pod is immutable)."""
    text = json.dumps([container["name"], container.get("image")])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def cgroup_parent(pod: Object, root: str) -> str:
    """ROOT/kubepods/[quality/]podUID, as the cgroupfs driver names it."""
    quality = qos_class(pod).lower()
    middle = "" if quality == "guaranteed" else f"/{quality}"
    return f"{root.rstrip('/')}/kubepods{middle}/pod{pod['metadata']['uid']}"


def namespace_options(pod: Object, target: str = "") -> Config:
    """NamespaceOption: which namespaces the pod shares with its node or among its containers, or those of `target`."""
    spec = pod["spec"]
    pid = "NODE" if spec.get("hostPID") else "POD" if spec.get("shareProcessNamespace") else "CONTAINER"
    shared = {"pid": "TARGET", "target_id": target} if target else {"pid": pid}
    return {
        "network": "NODE" if spec.get("hostNetwork") else "POD",
        **shared,
        "ipc": "NODE" if spec.get("hostIPC") else "POD",
    }


def _profile(security: Object, privileged: bool) -> Config:
    if privileged:
        return {"profile_type": "Unconfined"}
    wanted = security.get("seccompProfile") or {}
    kind = wanted.get("type") or "Unconfined"
    out: Config = {"profile_type": kind}
    if kind == "Localhost":
        out["localhost_ref"] = f"/var/lib/kubelet/seccomp/{wanted.get('localhostProfile', '')}"
    return out


def _ids(security: Object) -> Config:
    out: Config = {}
    if security.get("runAsUser") is not None:
        out["run_as_user"] = {"value": security["runAsUser"]}
    if security.get("runAsGroup") is not None:
        out["run_as_group"] = {"value": security["runAsGroup"]}
    return out


def _groups(pod: Object) -> list[int]:
    security = pod["spec"].get("securityContext") or {}
    out = [int(group) for group in security.get("supplementalGroups") or ()]
    if security.get("fsGroup") is not None:
        out.append(int(security["fsGroup"]))
    return out


def _privileged(container: Object) -> bool:
    return bool((container.get("securityContext") or {}).get("privileged"))


def every_container(pod: Object) -> list[Object]:
    """Init, main and ephemeral containers of a pod."""
    spec = pod["spec"]
    return [
        *(spec.get("initContainers") or ()),
        *(spec.get("containers") or ()),
        *(spec.get("ephemeralContainers") or ()),
    ]


def _port_mappings(pod: Object) -> list[Config]:
    if pod["spec"].get("hostNetwork"):
        return []
    return [
        {
            "protocol": port.get("protocol") or "TCP",
            "container_port": port["containerPort"],
            "host_port": port["hostPort"],
            "host_ip": port.get("hostIP") or "",
        }
        for container in every_container(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


def plan_sandbox(
    pod: Object,
    node: NodeFacts,
    attempt: int,
    dns: Mapping[str, Sequence[str]],
    *,
    cgroup_root: str = "",
    log_root: str = LOG_ROOT,
) -> Config:
    """PodSandboxConfig of the pod's `attempt`-th sandbox."""
    meta, security = pod["metadata"], pod["spec"].get("securityContext") or {}
    context: Config = {
        "namespace_options": namespace_options(pod),
        "privileged": any(_privileged(one) for one in every_container(pod)),
        "supplemental_groups": _groups(pod),
        "seccomp": {"profile_type": "RuntimeDefault" if security.get("seccompProfile") else "Unconfined"},
        **_ids(security),
    }
    linux: Config = {
        "security_context": context,
        "sysctls": {one["name"]: one["value"] for one in security.get("sysctls") or ()},
        "cgroup_parent": cgroup_parent(pod, cgroup_root),
    }
    return {
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "attempt": attempt,
        },
        "hostname": "" if pod["spec"].get("hostNetwork") else hostname_of(pod, node),
        "log_directory": log_directory(pod, log_root),
        "dns_config": {key: list(value) for key, value in dns.items()},
        "port_mappings": _port_mappings(pod),
        "labels": {
            **{key: str(value) for key, value in (meta.get("labels") or {}).items()},
            LABEL_POD_NAME: meta["name"],
            LABEL_POD_NAMESPACE: meta["namespace"],
            LABEL_POD_UID: meta["uid"],
        },
        "annotations": {key: str(value) for key, value in (meta.get("annotations") or {}).items()},
        "linux": linux,
    }


def _capabilities(security: Object) -> Config:
    wanted = security.get("capabilities") or {}
    return {
        "add_capabilities": [str(one).removeprefix("CAP_") for one in wanted.get("add") or ()],
        "drop_capabilities": [str(one).removeprefix("CAP_") for one in wanted.get("drop") or ()],
    }


def check_non_root(pod: Object, container: Object, image_user: int | None, image_username: str) -> None:
    """ConfigError when runAsNonRoot is asked for and the container would run as root, or nobody can tell."""
    security = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    if not security.get("runAsNonRoot"):
        return
    meta = pod["metadata"]
    full_name = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    where = f'pod: "{full_name}", container: {container["name"]}'
    user = security.get("runAsUser")
    if user == 0:
        raise config_error(f"container's runAsUser breaks non-root policy ({where})")
    if user is not None:
        return
    if image_user == 0:
        raise config_error(f"container has runAsNonRoot and image will run as root ({where})")
    if image_user is None and image_username:
        raise config_error(
            f"container has runAsNonRoot and image has non-numeric user ({image_username}), "
            f"cannot verify user is non-root ({where})"
        )
    if image_user is None:
        raise config_error(f"container has runAsNonRoot and image will run as root ({where})")


def _security_context(pod: Object, container: Object, target: str) -> Config:
    security = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    privileged = bool(security.get("privileged"))
    out: Config = {
        "capabilities": _capabilities(security),
        "privileged": privileged,
        "namespace_options": namespace_options(pod, target),
        "readonly_rootfs": bool(security.get("readOnlyRootFilesystem")),
        "supplemental_groups": _groups(pod),
        "no_new_privs": security.get("allowPrivilegeEscalation") is False and not privileged,
        "seccomp": _profile(security, privileged),
        **_ids(security),
    }
    if not privileged and security.get("procMount") != "Unmasked":
        out |= {"masked_paths": list(_MASKED), "readonly_paths": list(_READONLY)}
    return out


def plan_container(
    pod: Object,
    container: Object,
    *,
    image_ref: str,
    attempt: int,
    backoff_level: int,
    command: Sequence[str],
    args: Sequence[str],
    env: Mapping[str, str],
    mounts: Sequence[Config],
    node: NodeFacts,
    target: str = "",
) -> Config:
    """ContainerConfig of the container's `attempt`-th start; our own state is read back from its annotations."""
    meta, name = pod["metadata"], container["name"]
    return {
        "metadata": {"name": name, "attempt": attempt},
        "image": {"image": image_ref},
        "command": list(command),
        "args": list(args),
        "working_dir": container.get("workingDir") or "",
        "envs": [{"key": key, "value": value} for key, value in env.items()],
        "mounts": list(mounts),
        "labels": {
            LABEL_CONTAINER_NAME: name,
            LABEL_POD_NAME: meta["name"],
            LABEL_POD_NAMESPACE: meta["namespace"],
            LABEL_POD_UID: meta["uid"],
        },
        "annotations": {
            ANNOTATION_HASH: container_hash(container),
            ANNOTATION_RESTART_COUNT: str(attempt),
            ANNOTATION_MESSAGE_PATH: container.get("terminationMessagePath") or "/dev/termination-log",
            ANNOTATION_MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
            ANNOTATION_BACKOFF: str(backoff_level),
        },
        "log_path": f"{name}/{attempt}.log",
        "stdin": bool(container.get("stdin")),
        "stdin_once": bool(container.get("stdinOnce")),
        "tty": bool(container.get("tty")),
        "linux": {
            "resources": linux_resources(pod, container, node.memory_bytes),
            "security_context": _security_context(pod, container, target),
        },
    }
