"""Images: pull policies and back-off after a failed pull.

The problem: a wrong image name must not be pulled in a loop, and its pod must say ErrImagePull, then
ImagePullBackOff with the reason. Waits double from 10 s to 300 s per pod and image, as the upstream kubelet's do.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from podloom.drivers.runtime.api import Config, RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.model.errors import Rejected, Unavailable
from podloom.model.runtime import Image

_FIRST_S, _MOST_S = 10.0, 300.0
_REFERENCE = re.compile(
    r"^(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9+._-]+:[a-fA-F0-9]{32,})?$"
)


class ImageProblem(Unavailable):
    """A container cannot start for its image; reason is what its state shows, retry_s when to look again."""

    def __init__(self, reason: str, text: str, retry_s: float) -> None:
        super().__init__("get an image", text)
        self.reason, self.retry_s = reason, retry_s


def pull_policy(container: Mapping[str, Any]) -> str:
    """The container's, else Always for :latest or no tag, IfNotPresent otherwise (Kubernetes docs, "Images")."""
    if container.get("imagePullPolicy"):
        return str(container["imagePullPolicy"])
    name = str(container.get("image", ""))
    last = name.rsplit("/", 1)[-1]
    if "@" in name or (":" in last and not last.endswith(":latest")):
        return "IfNotPresent"
    return "Always"


class Images:
    """Gets images for containers of this node's pods."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waits: dict[tuple[str, str], tuple[float, float, str]] = {}  # -> (delay, until, last error)

    async def ensure(self, pod: Mapping[str, Any], container: Mapping[str, Any], sandbox_config: Config) -> Image:
        """The image, pulled when the policy asks for it; ImageProblem says what the container waits for."""
        name, label = str(container.get("image") or ""), container["name"]
        record = self._node.recorder.pod
        if not _REFERENCE.match(name):
            parse = f'couldn\'t parse image name "{name}": invalid reference format'
            text = f'Failed to apply default image tag "{name}": {parse}'
            record(pod, "Warning", "InspectFailed", text, container=label)
            raise ImageProblem("InvalidImageName", text, _MOST_S)
        policy, there = pull_policy(container), await self._node.runtime.image(name)
        if there is not None and policy != "Always":
            text = f'Container image "{name}" already present on machine'
            record(pod, "Normal", "Pulled", text, container=label)
            return there
        if policy == "Never":
            if there is not None:
                record(pod, "Normal", "Pulled", f'Container image "{name}" already present on machine', container=label)
                return there
            text = f'Container image "{name}" is not present with pull policy of Never'
            record(pod, "Warning", "ErrImageNeverPull", text, container=label)
            raise ImageProblem("ErrImageNeverPull", text, 10.0)
        return await self._pull(pod, container, name, sandbox_config)

    async def _pull(self, pod: Mapping[str, Any], container: Mapping[str, Any], name: str, sandbox: Config) -> Image:
        key, label = (pod["metadata"]["uid"], name), container["name"]
        record, now = self._node.recorder.pod, time.monotonic()
        delay, until, before = self._waits.get(key, (0.0, 0.0, ""))
        if now < until:
            record(pod, "Normal", "BackOff", f'Back-off pulling image "{name}"', container=label)
            text = f'Back-off pulling image "{name}": ErrImagePull: {before}'
            raise ImageProblem("ImagePullBackOff", text, until - now)
        record(pod, "Normal", "Pulling", f'Pulling image "{name}"', container=label)
        try:
            reference = await self._pull_with_secrets(pod, name, sandbox)
            image = await self._node.runtime.image(reference) or await self._node.runtime.image(name)
        except RuntimeFailed as e:
            delay = min(_MOST_S, delay * 2) if delay else _FIRST_S
            self._waits[key] = (delay, time.monotonic() + delay, e.found)
            record(pod, "Warning", "Failed", f'Failed to pull image "{name}": {e.found}', container=label)
            record(pod, "Warning", "Failed", "Error: ErrImagePull", container=label)
            raise ImageProblem("ErrImagePull", e.found, 2.0) from e
        if image is None:
            raise ImageProblem("ErrImagePull", f'image "{name}" vanished after its pull', 2.0)
        self._waits.pop(key, None)
        took = time.monotonic() - now
        text = (
            f'Successfully pulled image "{name}" in {took:.3f}s ({took:.3f}s including waiting). '
            f"Image size: {image.size_bytes} bytes."
        )
        record(pod, "Normal", "Pulled", text, container=label)
        return image

    async def _pull_with_secrets(self, pod: Mapping[str, Any], name: str, sandbox: Config) -> str:
        """Try each matching pull secret, then none; the last error counts."""
        failure: RuntimeFailed | None = None
        for auth in [*await self._credentials(pod, name), None]:
            try:
                return await self._node.runtime.pull_image(name, auth, sandbox)
            except RuntimeFailed as e:
                failure = failure or e
        assert failure is not None
        raise failure

    async def _credentials(self, pod: Mapping[str, Any], name: str) -> list[Config]:
        host = name.split("/", 1)[0] if "/" in name and any(c in name.split("/", 1)[0] for c in ".:") else "docker.io"
        out: list[Config] = []
        for ref in pod["spec"].get("imagePullSecrets") or ():
            secret = await self._node.objects.get("secret", pod["metadata"]["namespace"], ref.get("name", ""))
            if secret is not None:
                out += _auths(secret, host)
        return out

    def forget_pod(self, uid: str) -> None:
        for key in [key for key in self._waits if key[0] == uid]:
            del self._waits[key]


def _auths(secret: Mapping[str, Any], host: str) -> list[Config]:
    """The AuthConfigs of a kubernetes.io/dockerconfigjson secret for this registry host."""
    raw = (secret.get("data") or {}).get(".dockerconfigjson")
    if not raw:
        return []
    try:
        entries = orjson.loads(base64.b64decode(raw)).get("auths") or {}
        found = [one for key, one in entries.items() if host in key]
        return [_auth(one) for one in found]
    except (ValueError, AttributeError, binascii.Error) as e:
        raise Rejected(f"read pull secret {secret['metadata']['name']}", str(e)) from e


def _auth(entry: Mapping[str, Any]) -> Config:
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        return {"username": user, "password": password}
    return {"username": entry.get("username", ""), "password": entry.get("password", "")}
