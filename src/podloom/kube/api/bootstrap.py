"""What every cluster starts with: put in place at each start, missing objects only.

The problem: namespaces, RBAC roles, priority classes and the kubernetes service must exist before the first client;
an object that an administrator changed stays changed. Cluster roles that are made from others (aggregationRule)
follow their parts (Kubernetes "Using RBAC Authorization", "Aggregated ClusterRoles").
"""

from __future__ import annotations

import asyncio
import copy
import ipaddress
import uuid
from collections.abc import Sequence
from typing import Any

import structlog

from podloom.kube.api.contract import Object
from podloom.kube.api.core import Api
from podloom.kube.api.meta import now_text
from podloom.kube.api.registry import Served
from podloom.kube.api.state import Step

log = structlog.get_logger()

MANAGER = "kube-apiserver"
CLUSTER_ROLES = "rbac.authorization.k8s.io/clusterroles"


def served_of(api: Api, obj: Object) -> Served | None:
    """The served type of an object, by its apiVersion and kind."""
    group, _, version = obj["apiVersion"].rpartition("/")
    for served in api.registry.all():
        if (served.type.group, served.type.version, served.type.kind) == (group, version, obj["kind"]):
            return served
    return None


async def ensure(api: Api, objects: Sequence[Object]) -> int:
    """Store those of `objects` that are missing; returns how many."""
    steps = []
    for obj in objects:
        served = served_of(api, obj)
        if served is None:
            log.warning("bootstrap object of an unknown type", kind=obj["kind"], apiVersion=obj["apiVersion"])
            continue
        meta = obj["metadata"]
        key = (served.storage_key, meta.get("namespace", ""), meta["name"])
        if key in api.state.head:
            continue
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", now_text())
        _own(api, served, obj)
        steps.append(Step(key, api.to_store(served, api.schemas.finish(served.type, obj))))
    if steps:
        _, done = api.state.decide(steps)
        await done
    return len(steps)


def _own(api: Api, served: Served, obj: Object) -> None:
    """Set managedFields as for a create by the server; what it allocates has no owner."""
    asked = copy.deepcopy(obj)
    if served.storage_key == "/namespaces":
        asked.pop("spec", None)
    if served.storage_key == "/services":
        for field in ("clusterIPs", "ipFamilies"):
            asked["spec"].pop(field, None)
    api.schemas.update_managed_fields(served.type, asked, None, manager=MANAGER, now=now_text())
    if asked["metadata"].get("managedFields"):
        obj["metadata"]["managedFields"] = asked["metadata"]["managedFields"]


def endpoint_objects(host: str, port: int) -> list[Object]:
    """Endpoints and EndpointSlice of the service `kubernetes`: where this server is reached."""
    meta: Object = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
    }
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    family = f"IPv{ipaddress.ip_address(host).version}"
    return [
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": dict(meta),
            "subsets": [{"addresses": [{"ip": host}], "ports": ports}],
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "generation": 1, "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": family,
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


async def advertise(api: Api, host: str, port: int) -> None:
    """Make the kubernetes endpoints say where this server is, replacing an older answer."""
    steps = []
    for obj in endpoint_objects(host, port):
        served = served_of(api, obj)
        if served is None:
            continue
        key = (served.storage_key, "default", "kubernetes")
        old = api.state.head.get(key)
        fields = ("subsets", "endpoints", "ports", "addressType")
        if old is not None and all(old.obj.get(f) == obj.get(f) for f in fields):
            continue
        before: dict[str, Any] = old.obj["metadata"] if old else {}
        obj["metadata"]["uid"] = before.get("uid", str(uuid.uuid4()))
        obj["metadata"]["creationTimestamp"] = before.get("creationTimestamp", now_text())
        steps.append(Step(key, api.to_store(served, obj)))
    if steps:
        _, done = api.state.decide(steps)
        await done


class Aggregation:
    """Keeps the rules of aggregated ClusterRoles equal to those of the roles they select."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._dirty = asyncio.Event()
        api.state.table(CLUSTER_ROLES).listeners.add(lambda _event: self._dirty.set())

    async def run(self) -> None:
        """Follow changes until cancelled."""
        while True:
            await self.once()
            await self._dirty.wait()
            self._dirty.clear()

    async def once(self) -> None:
        """Bring all aggregated roles in line."""
        roles = [r.obj for r in self._api.state.head_list(CLUSTER_ROLES)]
        steps = []
        for role in roles:
            selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
            if not selectors:
                continue
            rules = _collect(role, selectors, roles)
            if rules != (role.get("rules") or []):
                obj = {**role, "metadata": dict(role["metadata"]), "rules": rules}
                steps.append(Step((CLUSTER_ROLES, "", role["metadata"]["name"]), obj))
        if steps:
            _, done = self._api.state.decide(steps)
            await done


def _collect(target: Object, selectors: Sequence[Object], roles: Sequence[Object]) -> list[Object]:
    rules: list[Object] = []
    for selector in selectors:
        for role in sorted(roles, key=lambda r: r["metadata"]["name"]):
            if role["metadata"]["name"] == target["metadata"]["name"]:
                continue
            if _selects(selector, role["metadata"].get("labels") or {}):
                rules += [rule for rule in role.get("rules") or [] if rule not in rules]
    return rules


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        value, values = labels.get(term["key"]), term.get("values") or []
        found = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not found.get(term["operator"], False):
            return False
    return True
