"""HTTP in, verbs out: authentication, authorization, routing, rendering.

The problem: every request passes the same gates in the same order, whatever it is about: who, on whose behalf,
may they, is there such a thing, can it be shown as asked. `Server.handle` is that order; verbs live in their own
modules. Watches are kept in a set so that a stopping server can end them in time.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping

import orjson
import structlog
from aiohttp import web
from multidict import CIMultiDict

from podloom.kube.api import create, delete, errors, read, requestinfo, subresources, update
from podloom.kube.api.auth import authn
from podloom.kube.api.auth.powers import ServerPowers
from podloom.kube.api.contract import Attributes, Object, StatusError, UserInfo
from podloom.kube.api.core import BODY_BYTES_MAX, Api, Reply, Request
from podloom.kube.api.discovery import Discovery
from podloom.kube.api.metrics import Metrics
from podloom.kube.api.negotiate import Format, negotiate
from podloom.kube.api.options import flag
from podloom.kube.api.output import dump, include_policy, render_object, table
from podloom.kube.api.paths import Paths
from podloom.kube.api.proxy import CONNECT, KubeletProxy
from podloom.kube.api.registry import Served
from podloom.kube.api.requestinfo import RequestInfo
from podloom.kube.api.watch import Watcher
from podloom.model.errors import PodloomError

log = structlog.get_logger()

_GZIP_BYTES_MIN = 128 * 1024
_OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")
Verb = Callable[[Api, Request], Awaitable[Reply]]

_VERBS: Mapping[str, Verb] = {
    "create": create.create,
    "update": update.update,
    "patch": update.patch,
    "delete": delete.delete,
    "deletecollection": delete.delete_collection,
}


class Server:
    """One API server's request handler."""

    def __init__(self, api: Api, powers: ServerPowers, proxy: KubeletProxy, *, address: str) -> None:
        self.api = api
        self.powers = powers
        self.metrics = Metrics()
        self.discovery = Discovery(api.registry, address)
        self.paths = Paths(api, powers, self.metrics, self.discovery)
        self._proxy = proxy
        self._watchers: set[Watcher] = set()
        self._stopping = False

    def stop(self) -> None:
        """End all watches, so that open connections can be closed."""
        self._stopping = True
        for watcher in tuple(self._watchers):
            watcher.close()

    def end_watches(self, storage_key: str) -> None:
        """End the watches of a resource that is not served any more."""
        for watcher in tuple(self._watchers):
            if watcher.storage_key == storage_key:
                watcher.close()

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but for cancellation and broken connections."""
        started = time.monotonic()
        info = requestinfo.parse(http.method, http.rel_url.raw_path, http.rel_url.query)
        try:
            response = await self._gates(http, info)
        except StatusError as exc:
            response = error_response(exc)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except PodloomError as exc:
            log.warning("request failed", path=info.path, error=exc.message)
            response = error_response(errors.unavailable(exc.message))
        except Exception as exc:
            log.exception("request crashed", method=http.method, path=info.path)
            response = error_response(errors.internal_error(repr(exc)))
        labels = (info.verb, info.group, info.resource, str(response.status))
        self.metrics.requests.labels(*labels).inc()
        if info.verb not in ("watch", "connect"):
            self.metrics.seconds.labels(info.verb).observe(time.monotonic() - started)
        return response

    async def _gates(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        user = self._authenticate(http)
        asked = info.attributes()
        if not (not info.is_resource and info.path in _OPEN_PATHS):
            self._authorize(user, asked)
        if not info.is_resource:
            return await self.paths.answer(http, info)
        return await self._resource(http, info, user)

    def _authorize(self, user: UserInfo, asked: Attributes) -> None:
        allowed, _ = self.powers.authorize(user, asked)
        if not allowed:
            raise errors.denied(user, asked)

    def _authenticate(self, http: web.BaseRequest) -> UserInfo:
        certificate = http.transport.get_extra_info("peercert") if http.transport else None
        subject = certificate.get("subject") if certificate else None
        user = authn.authenticate(subject, http.headers.get("Authorization", ""), self.powers.tokens)
        acting = authn.impersonation(http.headers, http.headers.getall("Impersonate-Group", []))
        if acting is None:
            return user
        for asked in acting[1]:
            self._authorize(user, asked)
        return acting[0]

    # -- resources -----------------------------------------------------------------------------------------

    def _served(self, info: RequestInfo) -> Served:
        served = self.api.registry.get(info.group, info.version, info.resource)
        if served is None:
            builtin = any(s.type.group == info.group and not s.type.custom for s in self.api.registry.all())
            raise errors.no_such_resource() if builtin else errors.page_not_found()
        if info.namespace and not served.type.namespaced and info.resource != "namespaces":
            raise errors.no_such_resource()
        return served

    async def _resource(self, http: web.BaseRequest, info: RequestInfo, user: UserInfo) -> web.StreamResponse:
        served = self._served(info)
        query = http.rel_url.query
        collection = not info.name or info.selected_name
        if info.subresource in CONNECT:
            self._check_subresource(info, served)
            return await self._proxy.handle(self.api, http, info, served)
        fmt = negotiate(http.headers.get("Accept", ""), collection=collection, pretty=flag(query.get("pretty")))
        request = Request(
            info=info,
            served=served,
            query=query,
            dry_runs=query.getall("dryRun", []),
            user=user,
            format=fmt,
            content_type=http.headers.get("Content-Type", ""),
            user_agent=http.headers.get("User-Agent", ""),
        )
        if served.type.deprecated_warning:
            request.warnings.append(served.type.deprecated_warning)
        if info.verb == "watch":
            self._check_verb(info, served, collection=True)
            return await self._watch(http, request)
        if http.method in ("POST", "PUT", "PATCH", "DELETE"):
            self._check_allowed(info, served, collection=collection)
            request.body = await read_body(http)
        try:
            reply = await self._dispatch(request, collection=collection)
        except NotImplementedError:
            raise errors.method_not_allowed() from None
        except StatusError as exc:
            return error_response(exc, request.warnings)
        return self._respond(http, request, reply)

    def _check_allowed(self, info: RequestInfo, served: Served, *, collection: bool) -> None:
        if info.subresource:
            self._check_subresource(info, served)
        else:
            self._check_verb(info, served, collection=collection)

    def _check_subresource(self, info: RequestInfo, served: Served) -> None:
        sub = served.subresource(info.subresource)
        if sub is None or (info.rest and info.subresource != "proxy"):
            raise errors.no_such_resource()
        if info.verb not in sub.verbs and not (info.method == "HEAD" and "get" in sub.verbs):
            raise errors.method_not_allowed()

    def _check_verb(self, info: RequestInfo, served: Served, *, collection: bool) -> None:
        wants_collection = info.verb in ("create", "list", "watch", "deletecollection")
        if info.verb not in served.type.verbs or (wants_collection != collection and info.verb != "watch"):
            raise errors.method_not_allowed()
        if info.verb == "create" and served.type.namespaced and not info.namespace:
            raise errors.method_not_allowed()

    async def _dispatch(self, request: Request, *, collection: bool) -> Reply:
        info, api = request.info, self.api
        if info.subresource:
            return await self._subresource(request)
        self._check_verb(info, request.served, collection=collection)
        if not request.served.kind.stored and info.verb in ("get", "list"):
            return self._virtual(request)
        if info.verb == "get":
            return read.get(api, request)
        if info.verb == "list":
            return read.list_(api, request)
        return await _VERBS[info.verb](api, request)

    def _virtual(self, request: Request) -> Reply:
        served = request.served
        objects = served.kind.list_virtual(self.api.context(request, "list", dry_run=False))
        if request.info.verb == "get":
            found = [o for o in objects if o["metadata"]["name"] == request.name]
            if not found:
                raise errors.not_found(served.type, request.name)
            return Reply({"kind": served.type.kind, "apiVersion": served.type.group_version, **found[0]})
        if request.format.transform == "Table":
            include = include_policy(request.query.get("includeObject", ""))
            return Reply(table(served, objects, {}, include, request.format), status=True)
        body = {
            "kind": served.list_kind,
            "apiVersion": served.type.group_version,
            "metadata": {},
            "items": objects,
        }
        return Reply(body, status=True)

    async def _subresource(self, request: Request) -> Reply:
        info, api = request.info, self.api
        self._check_subresource(info, request.served)
        sub = request.served.subresource(info.subresource)
        if sub is None:
            raise errors.no_such_resource()
        if info.verb == "create":
            return await subresources.post(api, request, sub)
        if sub.kind == "Scale":
            if info.verb == "get":
                return subresources.get_scale(api, request)
            if info.verb == "update":
                return await subresources.put_scale(api, request)
            return await subresources.patch_scale(api, request)
        if info.verb == "get":
            return read.get(api, request)
        return await _VERBS[info.verb](api, request)

    # -- answers -------------------------------------------------------------------------------------------

    def _respond(self, http: web.BaseRequest, request: Request, reply: Reply) -> web.Response:
        fmt = request.format
        if reply.raw is not None:
            body = reply.raw
        elif reply.status or request.info.subresource == "scale" or not request.served.kind.stored:
            body = dump(reply.obj, Format(yaml=fmt.yaml, pretty=fmt.pretty))
        else:
            include = request.query.get("includeObject", "")
            body = render_object(request.served, reply.obj or {}, fmt, include)
        headers = warning_headers(request.warnings)
        headers["Content-Type"] = fmt.content_type
        if len(body) >= _GZIP_BYTES_MIN and "gzip" in http.headers.get("Accept-Encoding", ""):
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        return web.Response(status=reply.code, body=body, headers=headers)

    async def _watch(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        watcher = Watcher(self.api, request)
        headers = warning_headers(request.warnings)
        headers["Content-Type"] = "application/json"
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        gauge = self.metrics.watchers.labels(request.info.resource)
        gauge.inc()
        self._watchers.add(watcher)
        try:
            if self._stopping:
                watcher.close()
            await response.prepare(http)
            async for chunk in watcher.chunks():
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            log.debug("watch connection broke", path=request.info.path)
        finally:
            watcher.close()
            self._watchers.discard(watcher)
            gauge.dec()
        return response


async def read_body(http: web.BaseRequest) -> bytes:
    """The whole body; 413 beyond the limit."""
    if (http.content_length or 0) > BODY_BYTES_MAX:
        raise errors.too_large(BODY_BYTES_MAX)
    parts, size = [], 0
    async for chunk in http.content.iter_chunked(1 << 16):
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise errors.too_large(BODY_BYTES_MAX)
        parts.append(chunk)
    return b"".join(parts)


def warning_headers(warnings: list[str]) -> CIMultiDict[str]:
    """One Warning header per warning (RFC 7234 section 5.5, code 299)."""
    headers: CIMultiDict[str] = CIMultiDict()
    for text in dict.fromkeys(warnings):
        shown = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        headers.add("Warning", f'299 - "{shown}"')
    return headers


def error_response(exc: StatusError, warnings: list[str] | None = None) -> web.Response:
    """The answer for a StatusError: a Status, or plain text for paths outside the API."""
    if isinstance(exc, errors.Plain):
        return text_response(exc.code, exc.message)
    headers = warning_headers(warnings or [])
    headers["Content-Type"] = "application/json"
    body: Object = exc.status()
    return web.Response(status=exc.code, body=orjson.dumps(body), headers=headers)


def text_response(code: int, text: str) -> web.Response:
    return web.Response(status=code, text=text, content_type="text/plain", charset="utf-8")
