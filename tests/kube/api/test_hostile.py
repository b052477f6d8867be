"""Whatever a client sends, it gets an answer of the API and the server stays up."""

from __future__ import annotations

import asyncio
import random
import ssl

from kube_api_client import Client

NS = "/api/v1/namespaces/default"
PARTS = (
    "api", "apis", "v1", "namespaces", "default", "pods", "configmaps", "x", "status", "scale", "log", "proxy", "watch",
    "..", "%2e%2e", "%00", "%ff", "a%2Fb", "", "events.k8s.io", "apps", "deployments", "nodes", "finalize", "token",
    "openapi", "v3", "healthz", "%c3%bc", "x" * 300,
)  # fmt: skip
QUERIES = (
    "", "watch=true&timeoutSeconds=1", "limit=-1", "limit=99999999999999999999", "continue=%00", "continue=e30",
    "resourceVersion=-5", "resourceVersion=99999999999999999999999", "labelSelector=a%20in%20(", "fieldSelector==",
    "dryRun=All&dryRun=No", "fieldValidation=Strict", "gracePeriodSeconds=x", "includeObject=Object", "%%%", "a=b=c&&",
    "sendInitialEvents=x", "watch=1&allowWatchBookmarks=1", "container=%0a", "pretty=1", "force=maybe",
)  # fmt: skip
BODIES = (
    None, b"", b"{}", b"[]", b'{"metadata":{"name":"x"}}', b'{"metadata":{"labels":[1]}}', b'{"spec":[]}',
    b"a: *b", b"\xff\xfe", b"k8s\x00\x0a", b'[{"op":"add","path":"/metadata/labels/a","value":1}]', b"{" * 5000,
    b'{"metadata":{"name":"x","ownerReferences":[{}],"finalizers":[1]}}', b'{"spec":{"replicas":1e400}}',
)  # fmt: skip
TYPES = (
    "application/json", "application/yaml", "application/merge-patch+json", "application/json-patch+json",
    "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/vnd.kubernetes.protobuf",
    "text/plain", "",
)  # fmt: skip
ACCEPTS = ("*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/yaml", "image/png", ";;;", "a/b;q=x")


async def test_random_requests(api: Client) -> None:
    """Two thousand random requests: none crashes a verb, and the server answers afterwards."""
    rng = random.Random(7)
    gate = asyncio.Semaphore(16)
    bad: list[str] = []

    async def one(path: str, method: str, content: str, body: bytes | None) -> None:
        headers = {"Content-Type": content, "Accept": rng.choice(ACCEPTS)}
        async with gate, asyncio.timeout(30):
            status, answer = await api.call_raw(method, path, body, headers)
        if status >= 500 and b"Internal error occurred" in answer:
            bad.append(f"{method} {path} {content} {body!r}: {answer[:300]!r}")

    tasks = []
    for _ in range(2000):
        count = rng.randrange(1, 8)
        path = "/" + "/".join(rng.choice(PARTS) for _ in range(count))
        if rng.random() < 0.6:
            path = f"{NS}/{rng.choice(('configmaps', 'pods', 'services', 'secrets'))}/" + "/".join(
                rng.choice(PARTS) for _ in range(rng.randrange(3))
            )
        path = f"{path.rstrip('/')}?timeoutSeconds=1&{rng.choice(QUERIES)}"  # watches end
        method = rng.choice(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"))
        tasks.append(one(path, method, rng.choice(TYPES), rng.choice(BODIES)))
    await asyncio.gather(*tasks)
    assert not bad, "\n".join(bad[:5])
    assert (await api.get("/livez"))[0] == 200


async def test_broken_connections(api: Client) -> None:
    """Half requests, garbage and clients that vanish leave nothing behind."""
    context = ssl.create_default_context(cafile=str(api.authority.cert_path))
    port = api.server.ports[0]
    for data in (
        b"",
        b"GET",
        b"\x00" * 100,
        b"POST /api HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
        writer.write(data)
        await writer.drain()
        writer.transport.abort()
    async with asyncio.timeout(5):
        for _ in range(20):
            answer = await api.session.get(f"{api.url}{NS}/configmaps?watch=true")
            answer.close()
        while api.server.state.table("/configmaps").listeners:
            await asyncio.sleep(0.05)
    assert (await api.get("/livez"))[0] == 200
