"""The walk "CNI ADD" of ARCHITECTURE.md as one golden: pods -> rows -> kernel -> delete -> empty.

Run plainly, and with a tenth of all kernel calls failing; the tables must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentkit import MemoryNode
from podloom.drivers.kernel import FaultyKernel, Kernel

GOLDEN = Path(__file__).with_name("cni_add.txt")


TITLE = "CNI ADD and DEL of three containers, two of them incarnations of one pod"


async def _until_done(node: MemoryNode, command: str, container: str, pod: str) -> None:
    """As a runtime does: a failed ADD is followed by a DEL and tried again; a failed DEL is tried again."""
    for _ in range(50):
        code, _ = await node.call(command, container, pod, uid=f"uid-{container}")
        if code == 0:
            return
        if command == "ADD":
            await _until_done(node, "DEL", container, pod)
    raise AssertionError(f"{command} of {container} never succeeded")


async def _walk(wrap: Callable[[Kernel], Kernel]) -> str:
    node = MemoryNode(wrap=wrap)
    lines = [f"# {TITLE}"]
    try:
        for container, pod in (("aaaa", "web-0"), ("bbbb", "db-0"), ("cccc", "web-0")):
            node.netns(container)
            await _until_done(node, "ADD", container, pod)
            lines += ["", f"## ADD {container} (pod default/{pod})", *_without_addresses(node)]
        for container, pod in (("aaaa", "web-0"), ("bbbb", "db-0"), ("cccc", "web-0")):
            await _until_done(node, "DEL", container, pod)
            lines += ["", f"## DEL {container}", *(_without_addresses(node) or ["(empty)"])]
    finally:
        node.close()
    return "\n".join(lines) + "\n"


def _without_addresses(node: MemoryNode) -> list[str]:
    """The table with each pod's address replaced by its container: a failed try spends an address."""
    text = "\n".join(node.table())
    for attachment, lease in node.book.leases.items():
        text = text.replace(f"{lease.addresses[0]}/32", f"<{attachment.container_id}>/32")
    return sorted(text.splitlines())


async def test_walk_is_the_golden() -> None:
    """The tables after each step are those of the golden file (delete the file to write it anew)."""
    found = await _walk(lambda kernel: kernel)
    if not GOLDEN.exists():
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


@pytest.mark.parametrize("seed", range(3))
async def test_walk_with_failing_calls_is_the_same(seed: int) -> None:
    """A tenth of the kernel's calls failing changes nothing of the tables."""

    def wrap(kernel: Kernel) -> Kernel:
        return FaultyKernel(kernel, share=0.1, seed=seed)

    found = await _walk(wrap)
    assert found == GOLDEN.read_text()
