"""Run a command in a container, as `kubectl exec` does: the websocket protocol v5.channel.k8s.io.

Each message's first byte is its channel: 1 standard output, 2 standard error, 3 the ending Status
(Kubernetes, "remotecommand" subprotocols). Commands without standard input only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import orjson
from yarl import URL

from podloom.drivers.kube.client import KubeClient
from podloom.model.errors import Unavailable
from podloom.model.kube import PODS

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDOUT, STDERR, STATUS = 1, 2, 3


@dataclass(frozen=True)
class ExecResult:
    code: int
    stdout: bytes
    stderr: bytes


async def pod_exec(
    client: KubeClient,
    namespace: str,
    pod: str,
    command: Sequence[str],
    *,
    container: str = "",
    timeout_s: float = 30.0,
) -> ExecResult:
    """The command's output and exit code; raises Unavailable when it could not be run."""
    attempted = f"exec in pod {namespace}/{pod}"
    query = [("command", part) for part in command] + [("stdout", "true"), ("stderr", "true")]
    if container:
        query.append(("container", container))
    url = URL(client.access.server + PODS.path(namespace, pod, "exec"), encoded=True).with_query(query)
    out = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    connector = aiohttp.TCPConnector(ssl=client.access.tls or True)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.ws_connect(
                url,
                protocols=PROTOCOLS,
                headers=client.access.headers(),
                server_hostname=client.access.server_hostname,
                max_msg_size=0,
            ) as socket,
        ):
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data and message.data[0] in out:
                    out[message.data[0]] += message.data[1:]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(attempted, str(error) or type(error).__name__) from error
    return ExecResult(_exit_code(bytes(out[STATUS]), attempted), bytes(out[STDOUT]), bytes(out[STDERR]))


def _exit_code(status: bytes, attempted: str) -> int:
    if not status:
        raise Unavailable(attempted, "the stream ended without a status", "try again")
    found = orjson.loads(status)
    if found.get("status") == "Success":
        return 0
    for cause in (found.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise Unavailable(attempted, found.get("message", "no reason given"))
