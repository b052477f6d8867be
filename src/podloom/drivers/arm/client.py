"""A client of the cloud: resources by identifier, long operations, and the stream of changes.

The problem: doors must see the cloud's desired state, write resources and report what became of them, while the
cloud may restart at any moment. So every call is one idempotent request, a long operation is polled at the pace
the cloud asks for (Retry-After), trouble on the wire is Unavailable (back off), an answer of the cloud is a
CloudError with ARM's code and all details, and `changes` resumes by sequence number by itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import orjson

from podloom.drivers.arm.api import Change, CloudError, Json
from podloom.model.errors import Unavailable

TOKEN_FILE = "cloud.token"
API_VERSION = "2026-01-01"
_REQUEST_TIMEOUT_S = 30.0
_FIRST_POLL_S = 0.02
_STREAM_SILENCE_S = 60.0  # the cloud sends an empty line every 15 s


class CloudClient:
    """The cloud at `base_url`, e.g. https://127.0.0.1:8443; `ca_path` holds the lab's CA certificate (PEM).

    The bearer token is read from the file cloud.token beside the CA certificate, where the cloud puts it, or from
    `token_path`. Use as an async context manager, or call `close`. Identifiers are ARM paths, compared without
    regard to case.
    """

    def __init__(self, base_url: str, ca_path: str | Path | None = None, token_path: str | Path | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._ca_path = ca_path
        beside = Path(ca_path).with_name(TOKEN_FILE) if ca_path is not None else None
        self._token_path = Path(token_path) if token_path is not None else beside
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, id: str) -> Json:
        """The resource (or any other document) at `id`; CloudError with status 404 when it does not exist."""
        return _body((await self._call("GET", id))[2])

    async def find(self, id: str) -> Json | None:
        """The resource at `id`, None when it does not exist."""
        try:
            return await self.get(id)
        except CloudError as error:
            if error.not_found:
                return None
            raise

    async def list(self, path: str) -> list[Json]:
        """All items of the collection at `path`, over all its pages.

        `path` is an ARM collection, or a bare type such as "Microsoft.Network/networkInterfaces": all resources
        of that type in the cloud.
        """
        items: list[Json] = []
        target: str | None = path if path.startswith("/") else f"/podloom/resources?type={path}"
        while target:
            page = _body((await self._call("GET", target))[2])
            items.extend(page.get("value", []))
            target = page.get("nextLink")
        return items

    async def put(self, id: str, body: Json, wait: bool = False) -> Json:
        """Create or replace `id` by `body`; with `wait`, return only when the operation has ended well.

        Returns the resource. CloudError when refused, or when the awaited operation failed.
        """
        _, headers, data = await self._call("PUT", id, body)
        if not wait:
            return _body(data)
        await self.wait(headers)
        return await self.get(id)

    async def delete(self, id: str, wait: bool = False) -> None:
        """Ask for the removal of `id`; what is already gone is success."""
        try:
            _, headers, _ = await self._call("DELETE", id)
            if wait:
                await self.wait(headers)
        except CloudError as error:
            if not error.not_found:
                raise

    async def post(self, path: str, body: Json | None = None) -> Json:
        """Run an action, e.g. {cluster}/listClusterUserCredential."""
        return _body((await self._call("POST", path, body or {}))[2])

    async def begin(
        self, method: str, id: str, body: Json | None = None, *, only_new: bool = False
    ) -> tuple[Json, str]:
        """Like put or delete without waiting; also the operation's address ("" when it ended at once).

        With `only_new` (If-None-Match: *) a PUT never changes what exists with another wish: 412.
        """
        extra = {"If-None-Match": "*"} if only_new else {}
        _, headers, data = await self._call(method, id, body, extra)
        return _body(data), headers.get("Azure-AsyncOperation", "")

    async def operation(self, url: str) -> tuple[Json, float]:
        """One look at a long operation: its body {status, error} and the seconds to wait before the next."""
        _, headers, data = await self._call("GET", url)
        return _body(data), float(headers.get("Retry-After", "1"))

    async def wait(self, headers: Mapping[str, str]) -> None:
        """Poll the operation an answer announced until it ends; CloudError when it failed.

        Soon at first, since much ends within milliseconds, then at the pace the cloud asks for.
        """
        url = headers.get("Azure-AsyncOperation")
        quick_s = _FIRST_POLL_S
        while url:
            state, pause_s = await self.operation(url)
            if state["status"] == "Succeeded":
                return
            if state["status"] in ("Failed", "Canceled"):
                raise CloudError(200, state.get("error") or {"code": state["status"], "message": "no reason given"})
            await asyncio.sleep(min(quick_s, pause_s))
            quick_s *= 2

    async def report(self, id: str, properties_patch: Json, *, generation: int | None = None) -> Json:
        """Write server-owned properties of `id` (JSON merge patch, RFC 7396); returns the resource.

        provisioningState Succeeded or Failed (with `error` {code, message}) ends the operation in flight. With
        `generation` (properties.podloom.generation of what was acted on) a report about an older wish does not.
        Clusters: `kubeconfigs` {"user": text, "admin": text} is kept apart and served by the credential actions.
        """
        request = {"id": id, "properties": properties_patch, "generation": generation}
        return _body((await self._call("POST", "/podloom/report", request))[2])

    async def finalize(self, id: str) -> None:
        """Really remove `id`, which was Deleting and whose parts are gone; already gone is success."""
        await self._call("POST", "/podloom/finalize", {"id": id})

    async def changes(self, since: int = 0) -> AsyncIterator[Change]:
        """Changes after sequence number `since`, for ever; see Change for the markers.

        Only the latest state of a resource is kept, so changes may be merged. Reconnects by itself with a bounded
        pause, resuming after the last change seen; a cloud that lost that history sends a new snapshot.
        """
        pause_s = 0.1
        while True:
            try:
                async for change in self._stream(since):
                    since, pause_s = max(since, change.seq), 0.1
                    if change.marker == "snapshot":
                        since = 0  # lines come in order of seq, so a cut within a snapshot resumes where it was
                    yield change
            except (Unavailable, aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    async def _stream(self, since: int) -> AsyncIterator[Change]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_STREAM_SILENCE_S)
        url = f"{self._base_url}/podloom/changes?since={since}"
        headers = self._authorization()
        async with self._open().get(url, headers=headers, timeout=timeout, read_bufsize=1 << 22) as answer:
            if answer.status != 200:
                raise Unavailable(f"watch {url}", f"HTTP {answer.status}", "try again")
            tail = b""
            async for chunk in answer.content.iter_any():
                *lines, tail = (tail + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield Change(**orjson.loads(line))

    def _authorization(self) -> dict[str, str]:
        """The header of the lab's token, read each time: the cloud may have made it a moment ago."""
        try:
            token = self._token_path.read_text().strip() if self._token_path is not None else ""
        except OSError:
            token = ""
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context: ssl.SSLContext | bool = True
            if self._ca_path is not None:
                context = ssl.create_default_context(cafile=str(self._ca_path))
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0))
        return self._session

    async def _call(
        self, method: str, path: str, body: Json | None = None, extra: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        url = path if path.startswith("https://") else f"{self._base_url}{path}"
        if "api-version=" not in url:
            url = f"{url}{'&' if '?' in url else '?'}api-version={API_VERSION}"
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json", **self._authorization(), **(extra or {})}
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        try:
            async with self._open().request(method, url, data=data, headers=headers, timeout=timeout) as answer:
                raw = await answer.read()
                if answer.status >= 400:
                    raise _failure(answer.status, raw)
                return answer.status, dict(answer.headers), raw
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(
                f"{method} {url}", reason, "is the lab up? `podloom lab status` tells", target=self._base_url
            ) from error


def _body(raw: bytes) -> Json:
    value = orjson.loads(raw) if raw else {}
    return value if isinstance(value, dict) else {"value": value}


def _failure(status: int, raw: bytes) -> CloudError:
    try:
        error = orjson.loads(raw)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        error = {"code": f"HTTP{status}", "message": raw[:200].decode("utf-8", "replace")}
    return CloudError(status, error)
