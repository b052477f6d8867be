"""ARM over HTTP: paths without regard to case, any api-version, long operations, one error body.

The problem: ARM's addresses are a grammar, not a list of routes: any type may stand under a group or a
subscription, alone or as a collection, and nested. So one handler reads the path into what is meant and calls the
engine; everything that goes wrong leaves as the same error document, with every finding in `details`.
"""

from __future__ import annotations

import hmac
import uuid
from typing import Any

import orjson
import structlog
from aiohttp import web

from podloom.cloud import refusals
from podloom.cloud.changes import stream_changes
from podloom.cloud.credentials import credentials
from podloom.cloud.engine import Answer, Engine
from podloom.model.arm import RESOURCE_GROUPS, ResourceId
from podloom.model.errors import PodloomError
from podloom.model.findings import Finding, Refusal
from podloom.model.versions import KUBERNETES_VERSION
from podloom.render.arm import Json, error_body

_BODY_MAX_BYTES = 4 << 20
_log = structlog.get_logger()


class Api:
    """The HTTP face of an engine."""

    def __init__(self, engine: Engine, version: str, token: str = "") -> None:
        self.engine = engine
        self._version = version
        self._authorization = f"Bearer {token}".encode() if token else b""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_BODY_MAX_BYTES, middlewares=[_answer_errors, self._authorise])
        app.router.add_get("/podloom/status", self._status)
        app.router.add_get("/podloom/changes", self._changes)
        app.router.add_get("/podloom/resources", self._resources)
        app.router.add_post("/podloom/report", self._report)
        app.router.add_post("/podloom/finalize", self._finalize)
        app.router.add_route("*", "/{path:.*}", self._arm)
        return app

    @web.middleware
    async def _authorise(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Only who can read the lab's token: a cluster's admin credentials are root on this machine."""
        given = request.headers.get("Authorization", "").encode()
        if self._authorization and not hmac.compare_digest(given, self._authorization):
            message = "Authentication failed. The 'Authorization' header is missing or invalid."
            fix = "run the command as root: the lab's token is root's"
            raise Refusal([Finding("AuthenticationFailed", message, fix=fix, status=401)])
        response: web.StreamResponse = await handler(request)
        return response

    # ours: what the realising doors use

    async def _status(self, request: web.Request) -> web.Response:
        store = self.engine.store
        status = {"version": self._version, "subscriptionId": self.engine.subscription, "seq": store.seq}
        return _json(200, status)

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        try:
            since = int(request.query.get("since", "0"))
        except ValueError:
            raise refusals.malformed("The query parameter 'since' must be a sequence number.", "since") from None
        return await stream_changes(request, self.engine.store, since)

    async def _resources(self, request: web.Request) -> web.Response:
        return _json(200, {"value": self.engine.list_type(request.query.get("type", ""))})

    async def _report(self, request: web.Request) -> web.Response:
        body = await _read_object(request)
        patch, generation = body.get("properties"), body.get("generation")
        if not isinstance(patch, dict) or not isinstance(generation, int | None):
            raise refusals.malformed("A report has id, properties (object) and generation (number or null).")
        return _json(200, self.engine.report(ResourceId.parse(str(body.get("id"))), patch, generation))

    async def _finalize(self, request: web.Request) -> web.Response:
        body = await _read_object(request)
        self.engine.finalize(ResourceId.parse(str(body.get("id"))))
        _log.info("finalized", id=body.get("id"))
        return _json(200, {})

    # ARM

    async def _arm(self, request: web.Request) -> web.Response:
        parts = [part for part in request.path.split("/") if part]
        lower = [part.lower() for part in parts]
        if not parts or lower[0] != "subscriptions":
            raise refusals.unknown_type(request.path)
        if len(parts) > 1 and lower[1] != self.engine.subscription.lower():
            raise refusals.subscription_not_found(parts[1])
        if len(parts) > 3 and lower[2] == "resourcegroups":
            return await self._in_group(request, parts)
        if request.method != "GET":
            raise _not_allowed(request)
        return self._in_subscription(request, parts, lower)

    def _in_subscription(self, request: web.Request, parts: list[str], lower: list[str]) -> web.Response:
        subscription = _subscription(self.engine.subscription)
        match lower[2:]:
            case [] if len(parts) == 1:
                return _json(200, {"value": [subscription]})
            case []:
                return _json(200, subscription)
            case ["resourcegroups"]:
                return _json(200, {"value": self.engine.list_type(RESOURCE_GROUPS)})
            case ["resources"]:
                groups = self.engine.store.of_type(RESOURCE_GROUPS)
                return _json(200, {"value": [item for group in groups for item in self.engine.list_group(group.id)]})
            case ["providers", _, "locations", _, "operations", id_]:
                return self._operation(request, id_)
            case ["providers", _, "locations", _, "operationresults", id_]:
                return self._operation_result(id_)
            case ["providers", "microsoft.containerservice", "locations", _, "kubernetesversions"]:
                return _json(200, _versions())
            case ["providers", _, _]:
                return _json(200, {"value": self.engine.list_type("/".join(parts[3:5]))})
        raise refusals.unknown_type(request.path)

    async def _in_group(self, request: web.Request, parts: list[str]) -> web.Response:
        group = ResourceId(parts[1], parts[3])
        rest = parts[4:]
        if len(rest) == 1 and rest[0].lower() == "resources" and request.method == "GET":
            return _json(200, {"value": self.engine.list_group(group)})
        if request.method == "POST":
            return await self._action(ResourceId.parse("/".join(parts[:-1])), parts[-1])
        if rest and rest[0].lower() == "providers" and len(rest) % 2 == 1:
            return self._collection(request, parts)
        return await self._resource(request, ResourceId.parse(request.path))

    def _collection(self, request: web.Request, parts: list[str]) -> web.Response:
        if request.method != "GET":
            raise _not_allowed(request)
        if len(parts) == 7:
            group = ResourceId(parts[1], parts[3])
            return _json(200, {"value": self.engine.list_type("/".join(parts[5:7]), group)})
        parent = ResourceId.parse("/".join(parts[:-1]))
        return _json(200, {"value": self.engine.list_type(f"{parent.type}/{parts[-1]}", parent=parent)})

    async def _resource(self, request: web.Request, id_: ResourceId) -> web.Response:
        match request.method:
            case "GET":
                return _json(200, self.engine.get(id_))
            case "HEAD":
                self.engine.get(id_)
                return web.Response(status=204)
            case "PUT":
                only_new = request.headers.get("If-None-Match") == "*"
                answer = self.engine.put(id_, await _read_object(request), only_new=only_new)
            case "DELETE":
                answer = self.engine.delete(id_)
            case "PATCH":
                tags = (await _read_object(request)).get("tags")
                if not isinstance(tags, dict):
                    raise refusals.malformed("Only the tags of a resource can be patched.", "tags")
                answer = self.engine.tag(id_, tags)
            case _:
                raise _not_allowed(request)
        _log.info("request", method=request.method, id=str(id_), status=answer.status)
        return self._respond(request, id_, answer)

    async def _action(self, id_: ResourceId, action: str) -> web.Response:
        return _json(200, credentials(self.engine, id_, action))

    # long operations

    def _respond(self, request: web.Request, id_: ResourceId, answer: Answer) -> web.Response:
        response = _json(answer.status, answer.body) if answer.body is not None else web.Response(status=answer.status)
        if answer.operation is not None:
            provider = id_.type.split("/", 1)[0]
            location = _location_of(answer.body) or "westcentralus"
            place = f"{request.scheme}://{request.host}/subscriptions/{self.engine.subscription}"
            place = f"{place}/providers/{provider}/locations/{location}"
            query = "?api-version=" + request.query.get("api-version", "2026-01-01")
            response.headers["Azure-AsyncOperation"] = f"{place}/operations/{answer.operation.id}{query}"
            response.headers["Retry-After"] = "1"
            if answer.status == 202:
                response.headers["Location"] = f"{place}/operationresults/{answer.operation.id}{query}"
        return response

    def _operation(self, request: web.Request, id_: str) -> web.Response:
        operation = self._known_operation(id_)
        body: Json = {"id": request.path, "name": id_, "status": operation.status, "startTime": operation.started}
        if operation.ended:
            body["endTime"] = operation.ended
        if operation.error:
            body["error"] = operation.error
        response = _json(200, body)
        response.headers["Retry-After"] = "1"
        return response

    def _operation_result(self, id_: str) -> web.Response:
        operation = self._known_operation(id_)
        status = {"InProgress": 202, "Succeeded": 204}.get(operation.status, 409)
        if status == 409:
            return _json(status, {"error": operation.error or {"code": operation.status, "message": ""}})
        return web.Response(status=status, headers={"Retry-After": "1"})

    def _known_operation(self, id_: str) -> Any:
        operation = self.engine.operation(id_)
        if operation is None:
            message = f"The operation '{id_}' is not known; it may have ended long ago."
            raise Refusal([Finding("OperationNotFound", message, id_, status=404)])
        return operation


@web.middleware
async def _answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Every failure as ARM's error document, with the identity of the request."""
    try:
        response: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        codes = [finding.code for finding in refusal.findings]
        _log.info("refused", method=request.method, path=request.path, codes=codes)
        response = _json(refusal.findings[0].status, error_body(refusal.findings))
    except PodloomError as error:
        finding = Finding(error.target or error.arm_code, error.message, status=error.http_status)
        response = _json(error.http_status, error_body([finding]))
    except web.HTTPException as error:
        finding = Finding("InvalidRequestContent", error.text or error.reason, status=error.status)
        response = _json(error.status, error_body([finding]))
    except ConnectionResetError:
        raise
    except Exception:
        _log.exception("failed", method=request.method, path=request.path)
        finding = Finding("InternalServerError", "The cloud failed; its log says why.", status=500)
        response = _json(500, error_body([finding]))
    if not response.prepared:
        response.headers["x-ms-request-id"] = str(uuid.uuid4())
    return response


async def _read_object(request: web.Request) -> Json:
    raw = await request.read()
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise refusals.malformed(f"The request content was invalid and could not be deserialized: {error}.") from None
    if not isinstance(body, dict):
        raise refusals.malformed("The request content must be a JSON object.")
    return body


def _json(status: int, body: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", charset="utf-8")


def _not_allowed(request: web.Request) -> Refusal:
    message = f"The method {request.method} is not allowed on '{request.path}'."
    return Refusal([Finding("MethodNotAllowed", message, status=405)])


def _location_of(body: Json | None) -> str:
    return str((body or {}).get("location") or "")


def _versions() -> Json:
    """What `aks get-versions` shows: the one version this build runs."""
    minor = KUBERNETES_VERSION.rpartition(".")[0]
    entry: Json = {
        "version": minor,
        "isDefault": True,
        "isPreview": None,
        "capabilities": {"supportPlan": ["KubernetesOfficial"]},
        "patchVersions": {KUBERNETES_VERSION: {"upgrades": []}},
    }
    return {"values": [entry]}


def _subscription(id_: str) -> Json:
    return {
        "id": f"/subscriptions/{id_}",
        "subscriptionId": id_,
        "displayName": "podloom lab",
        "state": "Enabled",
        "tenantId": id_,
    }
