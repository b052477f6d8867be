"""A container's environment: services, envFrom, env with valueFrom, and $(VAR) expansion.

The problem: order matters. Service variables come first and lose against everything; envFrom in order; env in
order, each value expanded with what is known so far (Kubernetes docs, "Define Dependent Environment Variables").
A missing ConfigMap, Secret or key that is not optional is an error the user mends: CreateContainerConfigError.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podloom.model.errors import Rejected
from podloom.plan.kubelet.fields import NodeFacts, field_value
from podloom.plan.kubelet.resources import resource_field

Object = Mapping[str, Any]
_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


class ConfigError(Rejected):
    """A container cannot be configured as its pod says; the message is kubectl's text."""

    @property
    def message(self) -> str:
        return self.found


def config_error(found: str) -> ConfigError:
    return ConfigError("configure a container", found)


@dataclass(frozen=True)
class Sources:
    """ConfigMaps and Secrets of the pod's namespace by name; None: looked for and not there."""

    configmaps: Mapping[str, Object | None] = field(default_factory=dict)
    secrets: Mapping[str, Object | None] = field(default_factory=dict)

    def data(self, kind: str, name: str, optional: bool) -> dict[str, bytes] | None:
        """All keys as bytes; None when absent and optional; ConfigError when absent."""
        found = (self.configmaps if kind == "configmap" else self.secrets).get(name)
        if found is None:
            if optional:
                return None
            raise config_error(f'{kind} "{name}" not found')
        if kind == "secret":
            return {key: base64.b64decode(value or "") for key, value in (found.get("data") or {}).items()}
        out = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
        out.update({key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()})
        return out


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """Replace $(NAME) by its value; $$ is a literal $; an unknown name stays as written (k8s expansion rules)."""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) > 0:
            value = lookup(text[at + 2 : end])
            out.append(text[at : end + 1] if value is None else value)
            at = end + 1
        else:
            out.append("$" + text[at + 1])
            at += 2
    return "".join(out)


def service_env(services: Iterable[Object], namespace: str, *, links: bool) -> dict[str, str]:
    """Variables of the services a container may use: its namespace's (when links) and kubernetes.default, always."""
    out: dict[str, str] = {}
    chosen: dict[str, Object] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        if not spec.get("clusterIP") or spec["clusterIP"] == "None" or not spec.get("ports"):
            continue
        master = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        if (links and meta["namespace"] == namespace) or (master and meta["name"] not in chosen):
            chosen[meta["name"]] = service
    for name in sorted(chosen):
        out.update(_one_service_env(name, chosen[name]["spec"]))
    return out


def _one_service_env(name: str, spec: Object) -> dict[str, str]:
    prefix = name.upper().replace("-", "_").replace(".", "_")
    ip, ports = str(spec["clusterIP"]), spec["ports"]
    host = f"[{ip}]" if ":" in ip else ip
    out = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for number, port in enumerate(ports):
        if port.get("name"):
            out[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if number == 0:
            out[f"{prefix}_PORT"] = url
        each = f"{prefix}_PORT_{port['port']}_{protocol}"
        out |= {each: url, f"{each}_PROTO": protocol.lower(), f"{each}_PORT": str(port["port"]), f"{each}_ADDR": ip}
    return out


@dataclass(frozen=True)
class EnvInputs:
    """What a container's environment is computed from, besides its pod."""

    node: NodeFacts
    sources: Sources
    services: Sequence[Object] = ()
    pod_ips: tuple[str, ...] = ()


def _from_source(entry: Object, sources: Sources) -> dict[str, str]:
    prefix = entry.get("prefix") or ""
    for key, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
        ref = entry.get(key)
        if ref:
            data = sources.data(kind, ref.get("name", ""), bool(ref.get("optional"))) or {}
            return {
                prefix + name: value.decode(errors="replace")
                for name, value in data.items()
                if _NAME.match(prefix + name)
            }
    return {}


def _key_ref(ref: Object, kind: str, sources: Sources, pod: Object) -> str | None:
    optional = bool(ref.get("optional"))
    data = sources.data(kind, ref.get("name", ""), optional)
    if data is None:
        return None
    if ref["key"] not in data:
        if optional:
            return None
        shown = "ConfigMap" if kind == "configmap" else "Secret"
        raise config_error(f"couldn't find key {ref['key']} in {shown} {pod['metadata']['namespace']}/{ref['name']}")
    return data[ref["key"]].decode(errors="replace")


def _value_from(source: Object, pod: Object, container: Object, inputs: EnvInputs) -> str | None:
    if ref := source.get("fieldRef"):
        return field_value(pod, ref["fieldPath"], inputs.node, inputs.pod_ips)
    if ref := source.get("resourceFieldRef"):
        named = {one["name"]: one for one in pod["spec"].get("containers") or ()}
        target = named.get(ref.get("containerName") or "", container)
        return resource_field(target, ref["resource"], ref.get("divisor"), inputs.node.allocatable)
    if ref := source.get("configMapKeyRef"):
        return _key_ref(ref, "configmap", inputs.sources, pod)
    if ref := source.get("secretKeyRef"):
        return _key_ref(ref, "secret", inputs.sources, pod)
    return ""


def plan_env(pod: Object, container: Object, inputs: EnvInputs) -> dict[str, str]:
    """The container's variables, in order; ConfigError when a required source is missing."""
    links = pod["spec"].get("enableServiceLinks", True) is not False
    services = service_env(inputs.services, pod["metadata"]["namespace"], links=links)
    known: dict[str, str] = {}
    for entry in container.get("envFrom") or ():
        known.update(_from_source(entry, inputs.sources))
    for entry in container.get("env") or ():
        if entry.get("valueFrom"):
            value = _value_from(entry["valueFrom"], pod, container, inputs)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", lambda name: known.get(name, services.get(name)))
        known.pop(entry["name"], None)
        known[entry["name"]] = value
    return {**{name: value for name, value in services.items() if name not in known}, **known}


def plan_command(container: Object, env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(command, args) with $(VAR) expanded."""
    return (
        [expand(word, env.get) for word in container.get("command") or ()],
        [expand(word, env.get) for word in container.get("args") or ()],
    )


def needed_objects(pod: Object) -> set[tuple[str, str]]:
    """(configmap|secret, name) of everything the pod's containers and volumes read."""
    out: set[tuple[str, str]] = set()
    spec = pod["spec"]
    groups = ("initContainers", "containers", "ephemeralContainers")
    for container in (one for group in groups for one in spec.get(group) or ()):
        for entry in container.get("envFrom") or ():
            out |= _refs(entry, "configMapRef", "secretRef")
        for entry in container.get("env") or ():
            out |= _refs(entry.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef")
    for volume in spec.get("volumes") or ():
        out |= volume_objects(volume)
    return out


def volume_objects(volume: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets one volume reads."""
    out = _refs(volume, "configMap", "secret")
    for source in (volume.get("projected") or {}).get("sources") or ():
        out |= _refs(source, "configMap", "secret")
    return out


def _refs(holder: Object, configmap: str, secret: str) -> set[tuple[str, str]]:
    out: set[tuple[str, str]] = set()
    if holder.get(configmap):
        out.add(("configmap", holder[configmap].get("name", "")))
    if holder.get(secret):
        out.add(("secret", holder[secret].get("secretName") or holder[secret].get("name", "")))
    return out
