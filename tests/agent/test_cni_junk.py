"""Whatever comes in: an answer with a code of the specification, never a fault, and what was there stays."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit import MemoryNode, frame
from podloom.render.relay import Frame, parse_request, render_request

CODES = {1, 2, 3, 4, 6, 7, 8, 11}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from(["1.0.0", "eth0", "c1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ips", "dns", "mac", "address", "name", "servers", "containerID"]), inner)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["cniVersion", "name", "mode", "dns", "runtimeConfig", "prevResult", "cni.dev/valid-attachments", "ipam", "args"]
)
VALUES = st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"").decode(errors="surrogateescape"))
ARGS = st.lists(st.tuples(st.sampled_from(["K8S_POD_NAME", "K8S_POD_UID", "IP", "MAC", "IgnoreUnknown", "X"]), VALUES))
PLUGINS = st.sampled_from(["azure-vnet", "azure-ipam", "loopback"])


def request(plugin: str, command: str, config: dict[str, Any], env: dict[str, str], args: Any) -> Frame:
    whole = frame(command, "c2", "other")
    environment = {**whole.environment, "PODLOOM_PLUGIN": plugin, **env}
    environment["CNI_ARGS"] = ";".join(f"{key}={value}" for key, value in args)
    stdin = orjson.dumps({**orjson.loads(whole.stdin), **config})
    return parse_request(render_request(Frame(environment, stdin)))


@settings(max_examples=400, deadline=None)
@given(
    plugin=PLUGINS,
    command=st.sampled_from(["ADD", "DEL", "CHECK", "STATUS"]),
    config=st.dictionaries(FIELDS, JSON, max_size=4),
    env=st.dictionaries(st.sampled_from(["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]), VALUES, max_size=2),
    args=ARGS,
)
def test_junk_is_answered(plugin: str, command: str, config: Any, env: Any, args: Any) -> None:
    """Random configurations, variables (bytes that are not UTF-8 too) and arguments."""

    async def run() -> None:
        node = MemoryNode()
        await node.add("c1")
        node.netns("c2")
        before = node.book.leases[next(iter(node.book.leases))]
        code, body = await asyncio.wait_for(node.verbs.answer(request(plugin, command, config, env, args)), 5)
        assert code == 0 or orjson.loads(body)["code"] in CODES, body
        assert before in node.book.leases.values()
        assert all(lease == again for lease, again in zip(node.store.leases(), node.store.leases(), strict=True))
        assert {lease.attachment for lease in node.store.leases()} == set(node.book.leases)
        node.close()

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(valid=JSON)
def test_junk_lists_are_answered(valid: Any) -> None:
    """GC with any list: a code, or what is not listed is gone."""

    async def run() -> None:
        node = MemoryNode()
        await node.add("c1")
        code, body = await node.call("GC", "", config={"cni.dev/valid-attachments": valid})
        assert (code == 0 and not node.book.leases) or body["code"] in CODES
        assert code == 0 or len(node.book.leases) == 1
        node.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "change",
    [
        {"CNI_ARGS": "K8S_POD_UID=\udcff"},
        {"CNI_ARGS": "\udcff=1"},
        {"CNI_ARGS": "K8S_POD_NAME=\udcff"},
        {"CNI_NETNS": "/run/netns/\udcff"},
        {"CNI_IFNAME": "\udcff"},
        {"CNI_CONTAINERID": "\udcff"},
    ],
)
async def test_bytes_that_are_not_utf8(change: dict[str, str]) -> None:
    """Variables whose bytes are not UTF-8 are error 4: the lease store could not hold them."""
    node = MemoryNode()
    for name in ("c1", "\udcff"):
        node.netns(name)
    request = frame("ADD", "c1")
    sent = parse_request(render_request(Frame({**request.environment, **change}, request.stdin)))
    code, body = await asyncio.wait_for(node.verbs.answer(sent), 5)
    assert code == 1 and orjson.loads(body)["code"] == 4 and not node.book.leases
    node.close()
