"""The plugin executable against the agent's server: real processes, real socket, kernel in memory."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agentkit import MemoryNode, frame
from podloom.agent.server import PluginServer
from podloom.agent.spool import Spool
from podloom.native import native_path
from podloom.plan.endpoint import host_ifname
from podloom.render.relay import HEADER, parse_request, render_request


class Place:
    """A folder with socket and spool, and a way to run the plugin there."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "agent.sock"
        self.spool = folder / "spool"

    async def run(self, command: str, container: str = "c1", **more: Any) -> tuple[int, Any]:
        """Exit code and decoded output of one plugin process."""
        process = await self.start(command, container, **more)
        output, _ = await process.communicate(frame(command, container, **more).stdin)
        return process.returncode or 0, orjson.loads(output) if output else None

    async def start(self, command: str, container: str = "c1", **more: Any) -> asyncio.subprocess.Process:
        environment = {**frame(command, container, **more).environment, **self.places()}
        return await asyncio.create_subprocess_exec(
            native_path("azure-vnet"),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    def places(self) -> dict[str, str]:
        return {"PODLOOM_SOCKET": str(self.socket), "PODLOOM_SPOOL": str(self.spool)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
async def node(place: Place) -> AsyncIterator[MemoryNode]:
    made = MemoryNode()
    server = PluginServer(place.socket, made.verbs)
    await server.start()
    yield made
    await server.close()
    made.close()


async def test_answer_and_exit_code_come_through(place: Place, node: MemoryNode) -> None:
    """What the agent answers is what the runtime sees."""
    node.netns("c1")
    code, body = await place.run("ADD")
    assert code == 0 and body["ips"][0]["address"] == "192.168.1.1/32"
    code, body = await place.run("ADD")
    assert code == 1 and body["code"] == 7
    assert await place.run("DEL") == (0, None)


async def test_large_configuration(place: Place, node: MemoryNode) -> None:
    """A megabyte of configuration passes; more than eight are refused with error 6."""
    node.netns("c1")
    assert (await place.run("ADD", config={"x": "y" * (1 << 20)}))[0] == 0
    process = await place.start("ADD")
    output, _ = await process.communicate(b" " * (9 << 20))
    assert process.returncode == 1 and orjson.loads(output)["code"] == 6


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
async def test_without_an_agent(place: Place, command: str, code: int) -> None:
    """Agent away: an error of the right code at once."""
    exit_code, body = await asyncio.wait_for(place.run(command), 2)
    assert exit_code == 1 and body["code"] == code


async def test_version_needs_no_agent(place: Place) -> None:
    """VERSION is answered by the executable itself."""
    code, body = await place.run("VERSION")
    assert code == 0 and body["supportedVersions"][0] == "0.1.0"


async def test_no_command_is_error_4(place: Place) -> None:
    """Started by hand it says what it is."""
    process = await asyncio.create_subprocess_exec(
        native_path("azure-vnet"), env={}, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    assert process.returncode == 1 and orjson.loads(output)["code"] == 4


async def test_del_without_an_agent_is_kept_and_worked_off(place: Place) -> None:
    """DEL succeeds, lies in the spool folder, and takes effect when an agent comes."""
    node = MemoryNode()
    await node.add("c1")
    assert await place.run("DEL") == (0, None)
    kept = list(place.spool.iterdir())
    assert len(kept) == 1 and parse_request(kept[0].read_bytes()).environment["CNI_CONTAINERID"] == "c1"
    assert await Spool(place.spool, node.verbs).drain() == 1
    assert node.table() == [] and list(place.spool.iterdir()) == []
    node.close()


async def test_bad_spool_files_are_set_aside(place: Place) -> None:
    """Half a file, another verb, and a request with a mistake are not tried for ever."""
    node = MemoryNode()
    spool = Spool(place.spool, node.verbs)
    spool.prepare()
    (place.spool / "1").write_bytes(render_request(frame("DEL", "c1"))[:-1])
    (place.spool / "2").write_bytes(render_request(frame("ADD", "c1")))
    (place.spool / "3").write_bytes(render_request(frame("DEL", "")))
    (place.spool / ".4").write_bytes(b"being written")
    assert await spool.drain() == 0 and spool.waiting() == []
    assert sorted(path.name for path in place.spool.iterdir()) == [".4", ".bad-1", ".bad-2", ".bad-3"]
    node.close()


@pytest.mark.parametrize("answer", [b"", b"PL", b"PLA1\0\0\0\0\x10\0\0\0{}", b"XXXX\0\0\0\0\2\0\0\0{}"])
async def test_an_agent_that_dies_in_the_middle(place: Place, answer: bytes) -> None:
    """A cut or foreign answer is no answer: ADD is error 11, DEL is kept."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.socket))
    listener.listen()

    def die() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            peer.recv(1 << 16)
            peer.sendall(answer)
            peer.close()

    thread = threading.Thread(target=die)
    thread.start()
    code, body = await place.run("ADD")
    assert code == 1 and body["code"] == 11
    assert await place.run("DEL") == (0, None)
    thread.join()
    listener.close()
    assert len(list(place.spool.iterdir())) == 1


async def test_a_plugin_killed_in_the_middle_of_its_request(place: Place, node: MemoryNode) -> None:
    """Half a request is never acted on; the next one is served."""
    data = render_request(frame("DEL", "c1"))
    await node.add("c1")
    for cut in (1, HEADER.size, HEADER.size + 5, len(data) - 1):
        _, writer = await asyncio.open_unix_connection(str(place.socket))
        writer.write(data[:cut])
        await writer.drain()
        writer.close()
    await asyncio.sleep(0.05)
    assert len(node.book.leases) == 1
    assert (await place.run("DEL"))[0] == 0 and not node.book.leases


async def test_a_plugin_killed_while_it_waits(place: Place, node: MemoryNode) -> None:
    """A client's deadline kills the plugin; the DEL that follows waits for the ADD and leaves nothing."""
    node.netns("c1")
    async with node.pods.turns.of(host_ifname("default", "web")):
        process = await place.start("ADD")
        assert process.stdin
        process.stdin.write(frame("ADD", "c1").stdin)
        process.stdin.close()
        await asyncio.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        deleting = asyncio.create_task(place.run("DEL"))
        await asyncio.sleep(0.1)
        assert not deleting.done()
    assert (await deleting)[0] == 0
    assert node.book.leases == {} and node.table() == []


async def test_thirty_at_once(place: Place, node: MemoryNode) -> None:
    """Thirty processes at once are all served."""
    for number in range(30):
        node.netns(f"c{number}")
    answers = await asyncio.gather(*(place.run("ADD", f"c{i}", pod=f"p{i}") for i in range(30)))
    assert all(code == 0 for code, _ in answers)
    assert len({body["ips"][0]["address"] for _, body in answers}) == 30
