"""What a request is about, from its method and path alone.

The problem: authorization comes before anything is looked up, so verb, group, resource and name must come out of
the URL without knowing which resources exist (Kubernetes "API concepts", "Resource URIs"; authorization page,
"Determine the Request Verb").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from podloom.kube.api.contract import Attributes

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAME_FIELD = re.compile(r"(?:^|,)metadata\.name==?([^,=!\\]+)(?:,|$)")
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True)
class RequestInfo:
    """A parsed path; `is_resource` False for discovery, health and the like."""

    method: str
    path: str
    verb: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    selected_name: bool = False  # name is from a field selector: the request is still about a collection
    rest: str = ""  # what follows the subresource (proxy paths), with its leading slash

    def attributes(self) -> Attributes:
        if not self.is_resource:
            return Attributes(verb=self.verb, path=self.path)
        return Attributes(
            self.verb, self.group, self.version, self.resource, self.subresource, self.namespace, self.name
        )


def _flag(value: str | None) -> bool:
    """How the reference server reads a boolean parameter: anything but false, 0 and empty is true."""
    return value is not None and value.lower() not in ("", "0", "false")


def parse(method: str, raw_path: str, query: Mapping[str, str]) -> RequestInfo:
    """The request's meaning; never fails, an odd path is simply not a resource."""
    path = unquote(raw_path)
    parts = [unquote(p) for p in raw_path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(method, path, method.lower())
    verb = _VERBS.get(method, method.lower())
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        verb = rest[0]
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    selected = None
    tail = "/" + "/".join(rest[3:]) if len(rest) > 3 else ""
    if not name and verb == "get":
        verb = "watch" if _flag(query.get("watch")) else "list"
    elif not name and verb == "delete":
        verb = "deletecollection"
    if not name and verb in ("list", "watch", "deletecollection"):
        selected = _NAME_FIELD.search(query.get("fieldSelector", ""))
        name = selected.group(1) if selected else ""
    return RequestInfo(
        method, path, verb, True, group, version, resource, subresource, namespace, name, selected is not None, tail
    )
