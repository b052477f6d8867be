"""Where the nodes' containerd pulls from: a registry of the lab's images, and a way out to the real ones.

The problem: a node lives in a VNet that exists on this machine only, so it can reach no real registry by itself, and
often there is none in reach. Every node's containerd asks here first (hosts.toml); what the lab does not have
is answered 404, and containerd then asks the real registry through the CONNECT proxy beside it, which runs in the
machine's own network. Read-only; OCI distribution specification, pull part.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import structlog
from aiohttp import web

from podloom.lab.imagestore import MANIFEST, ImageName, ImageStore

log = structlog.get_logger()
CONNECT_TIMEOUT_S = 10.0


def registry_app(store: ImageStore) -> web.Application:
    """The pull API over `store`; the query parameter ns names the registry that was meant."""

    async def ping(_: web.Request) -> web.Response:
        return web.json_response({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})

    async def manifest(request: web.Request) -> web.StreamResponse:
        repository, reference = request.match_info["name"], request.match_info["reference"]
        digest: str | None = reference
        if ":" not in reference:
            registry = request.query.get("ns", "docker.io")
            digest = store.resolve(ImageName(registry, repository, reference))
        path = store.blob_path(digest) if digest else None
        if digest is None or path is None:
            return _unknown("MANIFEST_UNKNOWN", f"{repository}:{reference} is not an image of the lab")
        headers = {"Docker-Content-Digest": digest, "Content-Type": MANIFEST}
        return web.Response(body=path.read_bytes(), headers=headers)

    async def blob(request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        path = store.blob_path(digest)
        if path is None:
            return _unknown("BLOB_UNKNOWN", f"{digest} is not a blob of the lab")
        return web.FileResponse(
            path, headers={"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        )

    app = web.Application()
    app.router.add_get("/v2/", ping)
    app.router.add_get("/v2/{name:.+}/manifests/{reference}", manifest)
    app.router.add_get("/v2/{name:.+}/blobs/{digest}", blob)
    return app


def _unknown(code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=404)


async def serve_registry(store: ImageStore, listener: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(registry_app(store), access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


async def serve_proxy(listener: socket.socket) -> asyncio.Server:
    """An HTTP CONNECT proxy: the connection out is made in this process's own network namespace."""
    return await asyncio.start_server(_proxy_connection, sock=listener)


async def _proxy_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
        log.info("image pull could not leave the lab", error=str(error))
        with contextlib.suppress(OSError):
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
