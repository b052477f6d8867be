"""Everything outside the resource API: discovery, version, health, OpenAPI, metrics, token keys, the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from podloom.kube.api import errors, health
from podloom.kube.api.auth.powers import ServerPowers
from podloom.kube.api.contract import Object
from podloom.kube.api.core import Api
from podloom.kube.api.discovery import Discovery
from podloom.kube.api.negotiate import parse_accept

if TYPE_CHECKING:
    from podloom.kube.api.metrics import Metrics
    from podloom.kube.api.requestinfo import RequestInfo

_CHECKS = (
    "ping",
    "log",
    "loopback-serving-certificate",
    "etcd",
    "informer-sync",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/crd-informer-synced",
)

# kubectl asks for the swagger document as protobuf only, to validate what OpenAPI v3 does not describe, and skips
# validation of kinds that are not in it. So this holds none: swagger "2.0", info, no paths, no definitions
# (gnostic openapi_v2.Document fields 1, 2, 8, 9). Everybody else reads the whole document as JSON.
SWAGGER_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
SWAGGER_PROTOBUF = b"\x0a\x032.0\x12\x17\x0a\x0aKubernetes\x12\x09unversion\x42\x00\x4a\x00"


def _json(body: bytes, content_type: str = "application/json") -> web.Response:
    return web.Response(body=body, headers={"Content-Type": content_type})


def accepts_json(accept: str) -> bool:
    """Whether JSON is among the wanted types."""
    return any(c.media in ("application/json", "application/*", "*/*") for c in parse_accept(accept or "*/*"))


def _text(code: int, text: str) -> web.Response:
    return web.Response(status=code, text=text, content_type="text/plain", charset="utf-8")


class Paths:
    """Answers non-resource paths."""

    def __init__(self, api: Api, powers: ServerPowers, metrics: Metrics, documents: Discovery) -> None:
        self._api = api
        self._powers = powers
        self._metrics = metrics
        self._discovery = documents
        self._checks: list[health.Check] = [(name, lambda: True) for name in _CHECKS]
        self._openapi: dict[str, bytes] = {}
        self._openapi_revision = -1

    async def answer(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """The answer, or 404 in plain text."""
        path = info.path.rstrip("/") or "/"
        query = http.rel_url.query
        found = health.health(path, query, query.getall("exclude", []), self._checks)
        if found is not None:
            return _text(*found)
        if http.method not in ("GET", "HEAD"):
            raise errors.page_not_found()
        if path == "/version":
            return _json(orjson.dumps(health.version()))
        if path == "/metrics":
            return _text(200, self._metrics_text())
        if path in ("/openapi/v2", "/openapi/v3") or path.startswith("/openapi/v3/"):
            if path == "/openapi/v2" and not accepts_json(http.headers.get("Accept", "")):
                return _json(SWAGGER_PROTOBUF, SWAGGER_PROTOBUF_TYPE)
            return self._openapi_answer(path)
        if path == "/openid/v1/jwks":
            return _json(orjson.dumps({"keys": [self._powers.key.jwk()]}), "application/jwk-set+json")
        if path == "/.well-known/openid-configuration":
            return _json(orjson.dumps(self._openid()))
        answered = self._discovery.answer(path, http.headers.get("Accept", ""))
        if answered is not None:
            return _json(*answered)
        if path == "/":
            return _json(orjson.dumps({"paths": self._index()}))
        raise errors.page_not_found()

    def _metrics_text(self) -> str:
        for key, table in self._api.state.tables.items():
            count = sum(len(names) for names in table.by_namespace.values())
            self._metrics.objects.labels(key.lstrip("/")).set(count)
        return self._metrics.text().decode()

    def _openid(self) -> Object:
        issuer = self._api.settings.service_account_issuer
        return {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._powers.key.algorithm],
        }

    def _openapi_answer(self, path: str) -> web.Response:
        registry, schemas = self._api.registry, self._api.schemas
        if self._openapi_revision != registry.revision:
            schemas.set_types([s.type for s in registry.all()])
            self._openapi.clear()
            self._openapi_revision = registry.revision
        if path not in self._openapi:
            if path == "/openapi/v2":
                document: Object | None = schemas.openapi_v2()
            elif path == "/openapi/v3":
                document = schemas.openapi_v3_index()
            else:
                document = schemas.openapi_v3(path.removeprefix("/openapi/v3/"))
            if document is None:
                raise errors.page_not_found()
            self._openapi[path] = orjson.dumps(document)
        if path == "/openapi/v3":
            return web.Response(body=self._openapi[path], headers={"Content-Type": "text/plain; charset=utf-8"})
        return _json(self._openapi[path])

    def _index(self) -> list[str]:
        found = {"/", "/api", "/apis", "/version", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks"}
        found.add("/.well-known/openid-configuration")
        for served in self._api.registry.all():
            base = "/apis" if served.type.group else "/api"
            if served.type.group:
                found.add(f"/apis/{served.type.group}")
            found.add(f"{base}/{served.type.group_version}")
        for endpoint in health.ENDPOINTS:
            found.add(f"/{endpoint}")
            found |= {f"/{endpoint}/{name}" for name, _ in self._checks}
        return sorted(found)
