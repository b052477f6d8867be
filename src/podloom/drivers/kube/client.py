"""The real Kubernetes client: aiohttp connections, orjson bodies, plain dicts.

The problem: agent, kubelet and controllers need the Kubernetes verbs with little memory and a clear error each
time. So nothing is modelled: URLs come from `Resource.path`, bodies are decoded once, a Status becomes a
KubeError and everything below HTTP becomes Unavailable with the server's name.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

from podloom.drivers.kube.api import PATCH_TYPES, KubeError, error_of
from podloom.drivers.kube.config import Access, from_kubeconfig, in_cluster
from podloom.model.errors import Unavailable
from podloom.model.kube import Object, Resource

_BIG_BODY = 1 << 20
_WATCH_SILENCE_S = 150.0  # servers send a bookmark each minute; longer silence is a dead connection
_TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, ConnectionError)


class KubeClient:
    """One API server, as one user; an async context manager. Methods are those of `KubeApi`."""

    def __init__(self, access: Access, *, timeout_s: float = 30.0, user_agent: str = "podloom") -> None:
        self.access = access
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=5.0)
        self._agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str = "", **kwargs: Any) -> Self:
        """The client of a kubeconfig's current or named context."""
        return cls(from_kubeconfig(path, context), **kwargs)

    @classmethod
    def in_cluster(cls, **kwargs: Any) -> Self:
        """The client of the pod's service account."""
        return cls(in_cluster(), **kwargs)

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self.access.tls or True, limit=0, keepalive_timeout=60.0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, auto_decompress=True, trust_env=False
            )
        return self._session

    async def close(self) -> None:
        """Close all connections; open watches end."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, res: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        return await self._object("GET", res.path(namespace, name, subresource))

    async def get_path(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET of any path, e.g. discovery `/apis`; the decoded JSON body."""
        return await self._json("GET", path, query)

    async def discover(self) -> list[tuple[Resource, frozenset[str]]]:
        groups = (await self._object("GET", "/apis"))["groups"]
        versions = [("", "v1")] + [(g["name"], g["preferredVersion"]["version"]) for g in groups]
        found = []
        for group, version in versions:
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            for entry in (await self._object("GET", path)).get("resources") or ():
                if "/" not in entry["name"]:
                    res = Resource(group, version, entry["name"], entry["kind"], bool(entry["namespaced"]))
                    found.append((res, frozenset(entry["verbs"])))
        return found

    async def list(
        self,
        res: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
    ) -> tuple[list[Object], str]:
        query = _selectors(label_selector, field_selector)
        if limit:
            query["limit"] = str(limit)
        items: list[Object] = []
        while True:
            page = await self._object("GET", res.path(namespace), query)
            items += page.get("items") or ()
            token = page["metadata"].get("continue")
            if not token:
                return items, page["metadata"].get("resourceVersion", "")
            query["continue"] = token

    async def create(
        self, res: Resource, obj: Object, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Object:
        where = namespace or obj.get("metadata", {}).get("namespace", "")
        body = obj if "kind" in obj else {"apiVersion": res.api_version, "kind": res.kind, **obj}
        return await self._object("POST", res.path(where, name, subresource), body=body)

    async def replace(self, res: Resource, obj: Object, *, subresource: str = "") -> Object:
        meta = obj["metadata"]
        body = obj if "kind" in obj else {"apiVersion": res.api_version, "kind": res.kind, **obj}
        return await self._object("PUT", res.path(meta.get("namespace", ""), meta["name"], subresource), body=body)

    async def delete(
        self,
        res: Resource,
        name: str,
        namespace: str = "",
        *,
        grace_period_s: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
    ) -> Object:
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        if propagation:
            options["propagationPolicy"] = propagation
        if uid:
            options["preconditions"] = {"uid": uid}
        return await self._object("DELETE", res.path(namespace, name), body=options if len(options) > 2 else None)

    async def delete_collection(self, res: Resource, namespace: str = "") -> None:
        await self._object("DELETE", res.path(namespace))

    async def patch(
        self,
        res: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        kind: str = "merge",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> Object:
        query = {"fieldManager": manager} if manager else {}
        if force:
            query["force"] = "true"
        path = res.path(namespace, name, subresource)
        return await self._object("PATCH", path, query, body=body, content_type=PATCH_TYPES[kind])

    async def watch(
        self,
        res: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 0,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        query = _selectors(label_selector, field_selector)
        query |= {"watch": "true", "allowWatchBookmarks": "true"}
        if resource_version:
            query["resourceVersion"] = resource_version
        if timeout_s:
            query["timeoutSeconds"] = str(timeout_s)
        attempted = f"watch of {res.group_resource} at {self.access.server}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_WATCH_SILENCE_S)
        try:
            async with self._request("GET", res.path(namespace), query, timeout=timeout) as answer:
                if answer.status >= 400:
                    raise _refusal(answer.status, await answer.read(), attempted)
                async for line in _lines(answer.content):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise error_of(event["object"], attempted)
                    yield event["type"], event["object"]
        except _TROUBLE as e:
            raise Unavailable(attempted, _words(e)) from e

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        data: bytes | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> Any:
        headers = {"Accept": "application/json", "User-Agent": self._agent, **self.access.headers()}
        if data is not None:
            headers["Content-Type"] = content_type
        url = URL(self.access.server + path, encoded=True).with_query(query or None)
        return self._open().request(
            method,
            url,
            data=data,
            headers=headers,
            timeout=timeout or self._timeout,
            server_hostname=self.access.server_hostname,
        )

    async def _object(self, method: str, path: str, query: Mapping[str, str] | None = None, **kwargs: Any) -> Object:
        answer: Object = await self._json(method, path, query, **kwargs)
        return answer

    async def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        data = None if body is None else orjson.dumps(body)
        attempted = f"{method} {path} at {self.access.server}"
        try:
            async with self._request(method, path, query, data=data, content_type=content_type) as answer:
                raw = await answer.read()
        except asyncio.CancelledError:
            raise
        except _TROUBLE as e:
            raise Unavailable(attempted, _words(e)) from e
        if answer.status >= 400:
            raise _refusal(answer.status, raw, attempted)
        return _decode(raw)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    query = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query


def _decode(raw: bytes) -> Any:
    """Decode with the cyclic collector off for big lists: it would scan every new dict again and again."""
    if len(raw) < _BIG_BODY or not gc.isenabled():
        return orjson.loads(raw)
    gc.disable()
    try:
        return orjson.loads(raw)
    finally:
        gc.enable()


def _refusal(code: int, raw: bytes, attempted: str) -> KubeError:
    """The KubeError of an answer; a body that is no Status (a proxy's page) is quoted."""
    try:
        status = orjson.loads(raw)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return error_of({**status, "code": status.get("code") or code}, attempted)
    return KubeError(code, "", raw[:200].decode(errors="replace"), attempted=attempted)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of a stream, however long (StreamReader.readline bounds them)."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        rest += chunk
        end = rest.rfind(b"\n")
        if end < 0:
            continue
        whole = bytes(rest[:end])
        del rest[: end + 1]
        for line in whole.split(b"\n"):
            if line:
                yield line
