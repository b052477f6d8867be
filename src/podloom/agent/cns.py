"""The node agent's HTTP API, as clients of the real one use it (azure-behaviour.md section 3; docs/cns.md).

The problem: delegated IPAM and interface plugins of others ask this API for addresses, may be killed between asking and
telling anybody, and ask again. So an answer comes from the lease book, which the plugin's verbs use too: asking
again gives the same, giving back twice is success, and no address is ever out by both ways. A refusal is an answer with
HTTP status 200 and a ReturnCode, as the clients expect; what they record of their endpoints is kept in the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from aiohttp import web

from podloom.agent.addresses import Addresses, Holder
from podloom.agent.leases import LeaseBook
from podloom.model.cns import AddressRequest, HostFacts, ReturnCode
from podloom.model.errors import Exhausted, PodloomError, Rejected, Unavailable
from podloom.model.lease import HTTP_NETWORK, Lease
from podloom.model.nnc import NodeNetwork
from podloom.plan.endpoint import GATEWAY_4, GATEWAY_6, host_ifname, macs
from podloom.plan.ipam import InUse, NotInRange, every_address
from podloom.render import cns

log = structlog.get_logger()
PREFIXES = ("", "/v0.1", "/v0.2")
_BODY_BYTES_MAX = 1 << 16
_INTERFACES_MAX = 16
_ENDPOINTS = "cns.endpoints"
_JSON = "application/json; charset=UTF-8"
Body = dict[str, Any]


class CnsApi:
    """Serves one node's addresses. `trouble` says why none can be given, or ""; `host` and `network` what is known."""

    def __init__(
        self,
        book: LeaseBook,
        addresses: Addresses,
        *,
        trouble: Callable[[], str],
        network: Callable[[], NodeNetwork | None],
        host: Callable[[], HostFacts],
    ) -> None:
        self._book = book
        self._addresses = addresses
        self._trouble = trouble
        self._network = network
        self._host = host
        self._recorded: dict[str, dict[str, dict[str, str]]] = orjson.loads(book.recall(_ENDPOINTS) or "{}")
        self._runner: web.AppRunner | None = None

    async def start(self, listen: str) -> None:
        """Serve HTTP on `host:port`; raises OSError when that is taken."""
        host, _, port = listen.rpartition(":")
        self._runner = web.AppRunner(self.application(), access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, int(port)).start()

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    def application(self) -> web.Application:
        """The routes, under each of the API's version prefixes."""
        app = web.Application(client_max_size=_BODY_BYTES_MAX, middlewares=[_answer_errors])
        routes = (
            ("POST", "/network/requestipconfigs", self._request),
            ("POST", "/network/requestipconfig", self._request_one),
            ("POST", "/network/releaseipconfigs", self._release),
            ("POST", "/network/releaseipconfig", self._release),
            ("GET", "/network/endpoints/{id}", self._endpoint),
            ("PATCH", "/network/endpoints/{id}", self._record_endpoint),
            ("DELETE", "/network/endpoints/{id}", self._end_endpoint),
            ("*", "/network/nmagentsupportedapis", self._supported_apis),
            ("*", "/debug/ipaddresses", self._debug_addresses),
            ("GET", "/debug/podcontext", self._debug_pods),
            ("GET", "/debug/restdata", self._debug_all),
        )
        for prefix in PREFIXES:
            for method, path, handler in routes:
                app.router.add_route(method, prefix + path, handler)
        return app

    async def _request(self, request: web.Request) -> web.Response:
        return _json({"podIPInfo": await self._give(await request.read()), "response": cns.response()})

    async def _request_one(self, request: web.Request) -> web.Response:
        """The older form: the first address."""
        return _json({"podIPInfo": (await self._give(await request.read()))[0], "response": cns.response()})

    async def _give(self, body: bytes) -> list[Body]:
        asked = cns.parse_address_request(body)
        network = self._network()
        if network is None:
            raise _Refused(ReturnCode.UNKNOWN_CONTAINER, f"give addresses to {_who(asked)}: {self._trouble()}")
        trouble = self._trouble()
        if trouble:
            raise _Refused(ReturnCode.FAILED_TO_ALLOCATE, f"give addresses to {_who(asked)}: {trouble}")
        holder = Holder(asked.attachment, HTTP_NETWORK, asked.pod_namespace, asked.pod_name)
        lease = await self._addresses.give(holder, asked.wanted)
        host = self._host()
        return [
            cns.address_info(
                address,
                next((cidr for cidr in network.pod_cidrs if address in cidr), network.ranges[0]),
                GATEWAY_4 if address.version == 4 else GATEWAY_6,
                host,
            )
            for address in lease.addresses
        ]

    async def _release(self, request: web.Request) -> web.Response:
        asked = cns.parse_address_request(await request.read())
        await self._addresses.take_back(asked.attachment, HTTP_NETWORK)
        self._forget_endpoints()
        return _json({"response": cns.response()})

    async def _endpoint(self, request: web.Request) -> web.Response:
        leases = self._leases_of(request)
        recorded = {
            lease.attachment.ifname: self._made_here(lease)
            | self._recorded.get(lease.attachment.container_id, {}).get(lease.attachment.ifname, {})
            for lease in leases
        }
        return _json({"response": cns.response(), "endpointInfo": cns.endpoint_info(leases, recorded)})

    async def _record_endpoint(self, request: web.Request) -> web.Response:
        container = self._leases_of(request)[0].attachment.container_id
        known = self._recorded.setdefault(container, {})
        for ifname, fields in cns.parse_endpoint_patch(await request.read()).items():
            if ifname not in known and len(known) >= _INTERFACES_MAX:
                raise Rejected(f"record endpoint {container}", f"{_INTERFACES_MAX} interfaces are recorded")
            known[ifname] = known.get(ifname, {}) | fields
        self._book.remember(_ENDPOINTS, orjson.dumps(self._recorded).decode())
        return _json(cns.response())

    async def _end_endpoint(self, request: web.Request) -> web.Response:
        """Ends what was given over HTTP; an attachment of the plugin ends by its DEL."""
        for lease in self._leases_of(request):
            await self._addresses.take_back(lease.attachment, HTTP_NETWORK)
        self._forget_endpoints()
        return _json(cns.response())

    async def _supported_apis(self, request: web.Request) -> web.Response:
        """There is no host agent behind this one, so none of its APIs."""
        return _json({"response": cns.response(), "supportedApis": []})

    async def _debug_addresses(self, request: web.Request) -> web.Response:
        states = cns.parse_state_filter(await request.read())
        found = [item for item in self._states() if item["state"] in states]
        return _json({"IPConfigurationStatus": found, "response": cns.response()})

    async def _debug_pods(self, request: web.Request) -> web.Response:
        return _json({"podContext": self._contexts(), "response": cns.response()})

    async def _debug_all(self, request: web.Request) -> web.Response:
        data = {
            "podIPIDByPodInterfaceKey": self._contexts(),
            "podIPConfigState": {item["ID"]: item for item in self._states()},
        }
        return _json({"HTTPRestServiceData": data, "response": cns.response()})

    def _contexts(self) -> dict[str, list[str]]:
        return {cns.pod_key(x): [cns.address_id(item) for item in x.addresses] for x in self._book.leases.values()}

    def _states(self) -> list[Body]:
        """Every address of the ranges with its state, and leased ones of former ranges."""
        host = self._host()
        leases = {address: lease for lease in self._book.leases.values() for address in lease.addresses}
        known = [address for network in self._book.ranges for address in every_address(network)]
        known += sorted(set(leases).difference(known), key=int)
        return [cns.address_status(address, leases.get(address), host) for address in known]

    def _leases_of(self, request: web.Request) -> list[Lease]:
        container = request.match_info["id"]
        found = [lease for lease in self._book.leases.values() if lease.attachment.container_id == container]
        if not found:
            raise _Refused(ReturnCode.NOT_FOUND, f"endpoint {container} does not exist", status=404)
        return found

    def _made_here(self, lease: Lease) -> dict[str, str]:
        """What is known of an interface that the plugin made."""
        if lease.delegated:
            return {"NICType": "InfraNIC"}
        name = host_ifname(lease.pod_namespace, lease.pod_name, lease.attachment.ifname)
        return {"HostVethName": name, "MacAddress": macs(lease.attachment)[1], "NICType": "InfraNIC"}

    def _forget_endpoints(self) -> None:
        """Drop what was recorded of containers that hold no address any more."""
        alive = {attachment.container_id for attachment in self._book.leases}
        gone = set(self._recorded) - alive
        for container in gone:
            del self._recorded[container]
        if gone:
            self._book.remember(_ENDPOINTS, orjson.dumps(self._recorded).decode())


class _Refused(Exception):
    """An answer that says no."""

    def __init__(self, code: ReturnCode, message: str, *, status: int = 200) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The one place where errors become answers."""
    try:
        return await handler(request)
    except _Refused as refused:
        answer = refused
    except web.HTTPRequestEntityTooLarge as error:
        answer = _Refused(ReturnCode.INVALID_PARAMETER, error.text or "the request is too large", status=400)
    except web.HTTPException as error:
        answer = _Refused(
            ReturnCode.UNSUPPORTED_API, f"{request.method} {request.path} is not served", status=error.status
        )
    except PodloomError as error:
        answer = _Refused(_code(error), error.message)
    except Exception as error:
        log.exception("cns.fault", path=request.path)
        answer = _Refused(ReturnCode.UNEXPECTED, f"{type(error).__name__}: {error}")
    log.warning("cns.refused", path=request.path, code=int(answer.code), error=answer.message)
    body = cns.response(answer.code, answer.message)
    return _json({"response": body, **body}, answer.status)


def _code(error: PodloomError) -> ReturnCode:
    if isinstance(error, (InUse, NotInRange)):
        return ReturnCode.ADDRESS_UNAVAILABLE
    if isinstance(error, (Exhausted, Unavailable)):
        return ReturnCode.FAILED_TO_ALLOCATE
    return ReturnCode.INVALID_PARAMETER if isinstance(error, Rejected) else ReturnCode.UNEXPECTED


def _json(body: Body, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers={"Content-Type": _JSON})


def _who(asked: AddressRequest) -> str:
    return f"{asked.pod_namespace}/{asked.pod_name}"
