"""One contract for every container runtime body: in memory, and containerd itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.kubelet.nodekit import NodeKit
from podloom.drivers.runtime.api import Config, Runtime, RuntimeFailed, RuntimeNotFound
from podloom.drivers.runtime.cri import CriClient
from podloom.drivers.runtime.descriptors import Messages, read_descriptor
from podloom.drivers.runtime.fake import FakeRuntime
from podloom.model.errors import Unavailable, Unsupported
from podloom.model.runtime import State
from podloom.plan.kubelet.configs import plan_container, plan_sandbox
from podloom.plan.kubelet.fields import NodeFacts

NODE = NodeFacts("node", ("10.99.0.1",))


@pytest.fixture(params=["memory", pytest.param("containerd", marks=pytest.mark.lab)])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    if request.param == "memory":
        fake = FakeRuntime()
        fake.images.add("docker.io/library/busybox:1")
        yield fake
        return
    kit = NodeKit(tmp_path, f"tr{os.getpid() % 100000}")
    try:
        kit.up(api=False)
        client = CriClient.connect(f"/proc/{kit.pids['holder']}/root/run/containerd/containerd.sock")
        yield client
        await client.close()
    finally:
        kit.close()


def pod(uid: str) -> Config:
    container = {"name": "main", "image": "docker.io/library/busybox:1"}
    meta = {"name": f"pod-{uid}", "namespace": "default", "uid": uid}
    return {"metadata": meta, "spec": {"containers": [container]}}


def container_config(subject: Config, attempt: int, command: list[str]) -> Config:
    return plan_container(
        subject,
        subject["spec"]["containers"][0],
        image_ref="docker.io/library/busybox:1",
        attempt=attempt,
        backoff_level=attempt,
        command=command,
        args=[],
        env={"A": "b"},
        mounts=[],
        node=NODE,
    )


async def wait_state(runtime: Runtime, container_id: str, wanted: State) -> None:
    for _ in range(300):
        if (await runtime.container(container_id)).state is wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{container_id} is not {wanted}")


async def test_the_life_of_a_pod(runtime: Runtime) -> None:
    """Sandbox, container, exec, exit event, restart under the next attempt, removal; names are reserved meanwhile."""
    subject = pod("u1")
    sandbox_config = plan_sandbox(subject, NODE, 0, {})
    sandbox_id = await runtime.run_sandbox(sandbox_config)
    sandbox = await runtime.sandbox(sandbox_id)
    assert sandbox.ready and len(sandbox.ips) == 1 and (sandbox.uid, sandbox.attempt) == ("u1", 0)
    with pytest.raises(RuntimeFailed):
        await runtime.run_sandbox(sandbox_config)
    config = container_config(subject, 0, ["sleep", "1000"])
    container_id = await runtime.create_container(sandbox_id, config, sandbox_config)
    assert (await runtime.container(container_id)).state is State.CREATED
    await runtime.start_container(container_id)
    running = await runtime.container(container_id, sandbox_id)
    assert running.state is State.RUNNING and running.started_at_ns and running.restart_count == 0
    assert (await runtime.exec_sync(container_id, ["true"], 5))[2] == 0
    with pytest.raises(RuntimeFailed):
        await runtime.create_container(sandbox_id, config, sandbox_config)
    assert [one.id for one in await runtime.list_containers("u1")] == [container_id]
    assert await runtime.list_containers("other") == []
    events: list[str] = []

    async def listen() -> None:
        async for event in runtime.events():
            if event.exited:
                events.append(event.container_id)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    await runtime.stop_container(container_id, 1)
    await wait_state(runtime, container_id, State.EXITED)
    for _ in range(100):
        if container_id in events:
            break
        await asyncio.sleep(0.02)
    listening.cancel()
    assert container_id in events
    second = await runtime.create_container(sandbox_id, container_config(subject, 1, ["sleep", "9"]), sandbox_config)
    assert second != container_id
    await runtime.remove_container(container_id)
    await runtime.stop_sandbox(sandbox_id)
    assert not (await runtime.sandbox(sandbox_id)).ready
    await runtime.stop_sandbox(sandbox_id)
    await runtime.remove_sandbox(sandbox_id)
    await runtime.remove_sandbox(sandbox_id)
    assert await runtime.list_sandboxes("u1") == [] and await runtime.list_containers("u1") == []
    with pytest.raises(RuntimeNotFound):
        await runtime.container(container_id)
    await runtime.stop_container(container_id, 1)
    assert await runtime.image("docker.io/library/busybox:1") is not None
    assert await runtime.image("docker.io/library/nope:1") is None
    conditions = {one.type: one.status for one in await runtime.conditions()}
    assert conditions["RuntimeReady"] and conditions["NetworkReady"]
    assert "://" in await runtime.version()


async def test_no_runtime_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        CriClient.connect(str(tmp_path / "none.sock"))


def test_an_executable_without_cri_is_unsupported(tmp_path: Path) -> None:
    empty = tmp_path / "program"
    empty.write_bytes(b"\x7fELF" + b"\0" * 5000 + b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff broken")
    assert read_descriptor(empty, "runtime.v1.RuntimeService") is None
    with pytest.raises(Unsupported):
        Messages(empty, "runtime.v1.RuntimeService")


def test_plain_descriptors_are_found(tmp_path: Path) -> None:
    """google.golang.org/protobuf stores descriptors uncompressed."""
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(name="pkg/apis/v9/api.proto", package="runtime.v9", syntax="proto3")
    file.message_type.add(name="Ping").field.add(name="text", number=1, type=9, label=1)
    program = tmp_path / "program"
    program.write_bytes(os.urandom(1000) + file.SerializeToString() + os.urandom(1000))
    message = Messages(program, "runtime.v9.Ping").get("runtime.v9.Ping")
    assert message.FromString(message(text="x").SerializeToString()).text == "x"
