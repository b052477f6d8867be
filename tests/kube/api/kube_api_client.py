"""Clients of an API server that runs in the test's process."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from podloom.drivers.pki import Authority, signing_key
from podloom.kube.api.run import ApiServer, Listen, Options


@dataclass
class Client:
    """An administrator's session; `call` gives status and decoded body."""

    url: str
    session: aiohttp.ClientSession
    authority: Authority
    server: ApiServer

    async def call(
        self, method: str, path: str, body: Any = None, *, content: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        found = {k.replace("_", "-"): v for k, v in headers.items()}
        if data is not None:
            found["Content-Type"] = content
        async with self.session.request(method, self.url + path, data=data, headers=found) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if "json" in answer.content_type and raw else raw.decode()

    async def call_raw(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and bytes of a request sent exactly so (the path is not normalised)."""
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.read()

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        return await self.call("POST", path, body, **headers)

    async def merge(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.call("PATCH", path, body, content="application/merge-patch+json")


def context(authority: Authority, name: str, user: str, groups: list[str]) -> ssl.SSLContext:
    """A client context with a certificate of user and groups; no certificate for an empty user."""
    found = ssl.create_default_context(cafile=str(authority.cert_path))
    if user:
        pair = authority.issue(name, user, groups=groups)
        found.load_cert_chain(pair.cert, pair.key)
    return found


def options(folder: Path, authority: Authority, **more: Any) -> Options:
    """Options of a server in `folder` with certificates of `authority`."""
    pair = authority.issue("server", "kube-apiserver", hosts=["127.0.0.1"])
    return Options(
        data=folder / "data",
        listen=[Listen("127.0.0.1", 0)],
        tls_cert=pair.cert,
        tls_key=pair.key,
        client_ca=authority.cert_path,
        service_account_key=signing_key(folder / "sa.key"),
        **more,
    )
