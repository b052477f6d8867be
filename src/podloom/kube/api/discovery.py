"""Discovery: which groups, versions and resources are served, plain and aggregated.

The problem: kubectl and every client with a RESTMapper read these first (Kubernetes "API concepts", "API
discovery"). The documents follow from the registry and are kept until it changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from podloom.kube.api import errors
from podloom.kube.api.contract import Object, StatusError
from podloom.kube.api.negotiate import MEDIA_TYPES, parse_accept
from podloom.kube.api.registry import Registry, Served

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _versions(registry: Registry) -> dict[str, list[str]]:
    """Versions per group, in the registry's order."""
    found: dict[str, list[str]] = {}
    for served in registry.all():
        versions = found.setdefault(served.type.group, [])
        if served.type.version not in versions:
            versions.append(served.type.version)
    return found


def _group(name: str, versions: Sequence[str]) -> Object:
    shown = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": shown, "preferredVersion": shown[0]}


def core_versions(address: str) -> Object:
    """The body of /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Object:
    """The body of /apis."""
    groups = [_group(g, vs) for g, vs in _versions(registry).items() if g]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Object | None:
    """The body of /apis/GROUP, None if there is no such group."""
    versions = _versions(registry).get(name)
    if not versions:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(registry: Registry, group_name: str, version: str) -> Object | None:
    """The body of /apis/GROUP/VERSION or /api/v1, None if there is no such version."""
    served = [s for s in registry.all() if (s.type.group, s.type.version) == (group_name, version)]
    if not served:
        return None
    resources = [entry for s in sorted(served, key=lambda s: s.type.plural) for entry in _entries(s)]
    gv = f"{group_name}/{version}" if group_name else version
    body: Object = {"kind": "APIResourceList"}
    if group_name:
        body["apiVersion"] = "v1"
    return body | {"groupVersion": gv, "resources": resources}


def _entries(served: Served) -> list[Object]:
    t = served.type
    entry: Object = {
        "name": t.plural,
        "singularName": t.singular,
        "namespaced": t.namespaced,
        "kind": t.kind,
        "verbs": list(t.verbs),
    }
    if t.short_names:
        entry["shortNames"] = list(t.short_names)
    if t.categories:
        entry["categories"] = list(t.categories)
    if t.storage_version_hash:
        entry["storageVersionHash"] = t.storage_version_hash
    found = [entry]
    for sub in t.subresources:
        shown: Object = {"name": f"{t.plural}/{sub.name}", "singularName": "", "namespaced": t.namespaced}
        if sub.group is not None and sub.version is not None:
            shown |= {"group": sub.group, "version": sub.version}
        found.append(shown | {"kind": sub.kind, "verbs": list(sub.verbs)})
    return found


def aggregated(registry: Registry, *, core: bool) -> Object:
    """The APIGroupDiscoveryList of /api (core) or /apis."""
    items = []
    for name, versions in _versions(registry).items():
        if bool(name) == core:
            continue
        shown = [
            {
                "version": v,
                "resources": [
                    _aggregated_entry(s)
                    for s in sorted(registry.all(), key=lambda s: s.type.plural)
                    if (s.type.group, s.type.version) == (name, v)
                ],
                "freshness": "Current",
            }
            for v in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": shown})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _response_kind(served: Served, kind: str, group_name: str | None, version: str | None) -> Object:
    """Built-in kinds of the parent's group version leave group and version empty; custom ones spell them."""
    if served.type.custom and group_name is None:
        return {"group": served.type.group, "version": served.type.version, "kind": kind}
    return {"group": group_name or "", "version": version or "", "kind": kind}


def _aggregated_entry(served: Served) -> Object:
    t = served.type
    entry: Object = {
        "resource": t.plural,
        "responseKind": _response_kind(served, t.kind, None, None),
        "scope": "Namespaced" if t.namespaced else "Cluster",
        "singularResource": t.singular,
        "verbs": list(t.verbs),
    }
    if t.short_names:
        entry["shortNames"] = list(t.short_names)
    if t.categories:
        entry["categories"] = list(t.categories)
    if t.subresources:
        entry["subresources"] = [
            {
                "subresource": s.name,
                "responseKind": _response_kind(served, s.kind, s.group, s.version),
                "verbs": list(s.verbs),
            }
            for s in t.subresources
        ]
    return entry


def wants_aggregated(accept: str) -> bool:
    """Whether the first acceptable form is the aggregated one; raises 406 when none is."""
    for clause in parse_accept(accept or "*/*"):
        if clause.media not in ("application/json", "*/*", "application/*"):
            continue
        kind = clause.params.get("as")
        if kind is None:
            return False
        if kind == "APIGroupDiscoveryList" and clause.params.get("v") == "v2":
            return True
    raise not_acceptable()


def not_acceptable() -> StatusError:
    return StatusError(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(MEDIA_TYPES))


class Discovery:
    """Answers discovery paths with encoded documents, cached per registry revision."""

    def __init__(self, registry: Registry, address: str) -> None:
        self._registry = registry
        self._address = address
        self._cache: dict[tuple[str, bool], bytes] = {}
        self._revision = -1

    def answer(self, path: str, accept: str) -> tuple[bytes, str] | None:
        """Body and content type of a discovery path; None if the path is none. Raises 404 and 406."""
        parts = path.strip("/").split("/")
        if parts[0] not in ("api", "apis") or len(parts) > 3 or (parts[0] == "api" and len(parts) > 2):
            return None
        if self._revision != self._registry.revision:
            self._cache.clear()
            self._revision = self._registry.revision
        merged = wants_aggregated(accept) if len(parts) == 1 else False
        key = ("/".join(parts), merged)
        if key not in self._cache:
            self._cache[key] = orjson.dumps(self._build(parts, merged=merged))
        return self._cache[key], AGGREGATED if merged else "application/json"

    def _build(self, parts: Sequence[str], *, merged: bool) -> Object:
        registry = self._registry
        core = parts[0] == "api"
        if merged:
            return aggregated(registry, core=core)
        if len(parts) == 1:
            return core_versions(self._address) if core else group_list(registry)
        found = None
        if core:
            found = resource_list(registry, "", parts[1])
        elif len(parts) == 2:
            found = group(registry, parts[1])
        else:
            found = resource_list(registry, parts[1], parts[2])
        if found is not None:
            return found
        builtin = core or any(s.type.group == parts[1] and not s.type.custom for s in registry.all())
        raise errors.no_such_resource() if builtin else errors.page_not_found()
