"""Starting: a sandbox, then a container in it; every step's failure is an event and a reason in the status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podloom.drivers.runtime.api import Config, RuntimeFailed
from podloom.kube.kubelet.context import Node
from podloom.kube.kubelet.images import ImageProblem, Images
from podloom.kube.kubelet.volumes import sub_path
from podloom.model.errors import PodloomError
from podloom.model.runtime import Sandbox
from podloom.plan.kubelet.configs import check_non_root, every_container, plan_container, plan_sandbox
from podloom.plan.kubelet.env import ConfigError, EnvInputs, needed_objects, plan_command, plan_env
from podloom.plan.kubelet.files import dns_config, hosts_file
from podloom.plan.kubelet.sync import Start
from podloom.plan.kubelet.volumes import file_config, plan_mounts, plan_volume, token_keys

Pod = Mapping[str, Any]


class StartProblem(PodloomError):
    """A container did not start: (reason, text) for its waiting state, and when to try again."""

    def __init__(self, reason: str, text: str, retry_s: float) -> None:
        super().__init__("start a container", text)
        self.reason, self.text, self.retry_s = reason, text, retry_s


class Starter:
    """Turns plans into runtime calls for one node's pods."""

    def __init__(self, node: Node, images: Images) -> None:
        self.node, self.images = node, images

    def sandbox_config(self, pod: Pod, attempt: int) -> Config:
        node = self.node
        dns = dns_config(pod, node.facts, node.host_text(node.settings.resolv_conf))
        settings = node.settings
        return plan_sandbox(pod, node.facts, attempt, dns, cgroup_root=settings.cgroup_root, log_root=settings.log_root)

    async def sandbox(self, pod: Pod, attempt: int) -> str:
        """Make the pod's sandbox; RuntimeFailed after telling FailedCreatePodSandBox with the network's words."""
        config = self.sandbox_config(pod, attempt)
        Path(config["log_directory"]).mkdir(parents=True, exist_ok=True)
        try:
            async with self.node.starts:
                return await self.node.runtime.run_sandbox(config)
        except RuntimeFailed as e:
            text = f"Failed to create pod sandbox: rpc error: code = {_camel(e.code)} desc = {e.found}"
            self.node.recorder.pod(pod, "Warning", "FailedCreatePodSandBox", text)
            raise

    async def inputs(self, pod: Pod, ips: tuple[str, ...]) -> EnvInputs:
        """Everything environment and volumes are computed from."""
        namespace = pod["metadata"]["namespace"]
        sources = await self.node.objects.sources(namespace, needed_objects(pod))
        return EnvInputs(self.node.facts, sources, self.node.service_objects(), ips)

    async def volumes(self, pod: Pod, inputs: EnvInputs, *, only_files: bool = False) -> dict[str, Path]:
        """Set up (or refresh) the pod's volumes: name -> path. A failure is a FailedMount event and an error."""
        out = {}
        try:
            tokens = await self.node.objects.tokens(pod, token_keys(pod))
        except PodloomError as e:
            self.node.recorder.pod(pod, "Warning", "FailedMount", f"failed to fetch token: {e.message}")
            raise StartProblem("ContainerCreating", "", 2.0) from e
        for volume in pod["spec"].get("volumes") or ():
            if only_files and not file_config(volume):
                continue
            try:
                plan = plan_volume(volume, pod, inputs, tokens)
                out[volume["name"]] = self.node.volumes.set_up(pod, volume["name"], plan)
            except (PodloomError, OSError) as e:
                text = e.message if isinstance(e, PodloomError) else str(e)
                full = (
                    text
                    if text.startswith("MountVolume")
                    else f'MountVolume.SetUp failed for volume "{volume["name"]}" : {text}'
                )
                self.node.recorder.pod(pod, "Warning", "FailedMount", full)
                raise StartProblem("ContainerCreating", "", 2.0) from e
        return out

    def _mounts(
        self, pod: Pod, container: Pod, env: Mapping[str, str], volumes: Mapping[str, Path], start: Start
    ) -> list[Config]:
        out: list[Config] = []
        for mount in plan_mounts(container, env):
            if mount.volume not in volumes:
                raise StartProblem("CreateContainerConfigError", f'volume "{mount.volume}" is not in the pod', 10.0)
            path = volumes[mount.volume]
            if mount.sub_path:
                path = sub_path(path, mount.sub_path)
            out.append(
                {
                    "container_path": mount.container_path,
                    "host_path": str(path),
                    "readonly": mount.read_only,
                    "propagation": mount.propagation,
                }
            )
        taken = {one["container_path"] for one in out}
        uid = pod["metadata"]["uid"]
        if "/etc/hosts" not in taken:
            out.append({"container_path": "/etc/hosts", "host_path": str(self.node.volumes.pod_dir(uid) / "etc-hosts")})
        log = container.get("terminationMessagePath") or "/dev/termination-log"
        file = self.node.volumes.termination_log(uid, start.name, start.attempt)
        out.append({"container_path": log, "host_path": str(file)})
        return out

    async def container(
        self, pod: Pod, start: Start, sandbox: Sandbox, volumes: Mapping[str, Path], inputs: EnvInputs
    ) -> str:
        """Pull, configure, create and start one container; StartProblem or ImageProblem says what it waits for."""
        spec = next(one for one in every_container(pod) if one["name"] == start.name)
        record = self.node.recorder.pod
        sandbox_config = self.sandbox_config(pod, sandbox.attempt)
        image = await self.images.ensure(pod, spec, sandbox_config)
        try:
            check_non_root(pod, spec, image.user_id, image.username)
            env = plan_env(pod, spec, inputs)
            command, args = plan_command(spec, env)
            text = hosts_file(pod, self.node.facts, sandbox.ips, self.node.host_text("/etc/hosts"))
            self.node.volumes.hosts_file(pod["metadata"]["uid"], text)
            mounts = self._mounts(pod, spec, env, volumes, start)
        except (ConfigError, PodloomError) as e:
            record(pod, "Warning", "Failed", f"Error: {e.message}", container=start.name)
            raise StartProblem("CreateContainerConfigError", e.message, 5.0) from e
        config = plan_container(
            pod,
            spec,
            image_ref=image.id,
            attempt=start.attempt,
            backoff_level=start.backoff_level,
            command=command,
            args=args,
            env=env,
            mounts=mounts,
            node=self.node.facts,
            target=start.target,
        )
        return await self._create_and_start(pod, start, sandbox, config, sandbox_config)

    async def _create_and_start(
        self, pod: Pod, start: Start, sandbox: Sandbox, config: Config, sandbox_config: Config
    ) -> str:
        runtime, record = self.node.runtime, self.node.recorder.pod
        Path(sandbox_config["log_directory"], start.name).mkdir(parents=True, exist_ok=True)
        async with self.node.starts:
            try:
                container_id = await runtime.create_container(sandbox.id, config, sandbox_config)
            except RuntimeFailed as e:
                record(pod, "Warning", "Failed", f"Error: {e.found}", container=start.name)
                raise StartProblem("CreateContainerError", e.found, 5.0) from e
            record(pod, "Normal", "Created", f"Created container: {start.name}", container=start.name)
            try:
                await runtime.start_container(container_id)
            except RuntimeFailed as e:
                record(pod, "Warning", "Failed", f"Error: {e.found}", container=start.name)
                raise StartProblem("RunContainerError", e.found, 0.0) from e
        record(pod, "Normal", "Started", f"Started container {start.name}", container=start.name)
        await asyncio.to_thread(
            _link_log,
            self.node.log_root,
            pod,
            start.name,
            container_id,
            Path(sandbox_config["log_directory"]) / config["log_path"],
        )
        return container_id


def _link_log(root: Path, pod: Pod, name: str, container_id: str, target: Path) -> None:
    """/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log, where log collectors look."""
    folder = root / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / f"{pod['metadata']['name']}_{pod['metadata']['namespace']}_{name}-{container_id}.log"
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _camel(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("_"))


__all__ = ["ImageProblem", "StartProblem", "Starter"]
