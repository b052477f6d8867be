"""What a URL asks for."""

from __future__ import annotations

import pytest

from podloom.kube.api.negotiate import negotiate
from podloom.kube.api.requestinfo import parse


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", {}, ("list", "", "pods", "", "", "")),
        ("GET", "/api/v1/pods", {"watch": "1"}, ("watch", "", "pods", "", "", "")),
        ("GET", "/api/v1/pods", {"watch": "false"}, ("list", "", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/p", {}, ("get", "", "pods", "", "a", "p")),
        ("GET", "/api/v1/namespaces/a/pods/p/log", {}, ("get", "", "pods", "log", "a", "p")),
        ("GET", "/api/v1/namespaces/a", {}, ("get", "", "namespaces", "", "a", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "", "namespaces", "finalize", "a", "a")),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            {},
            ("deletecollection", "apps", "deployments", "", "a", ""),
        ),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", {}, ("watch", "", "pods", "", "a", "p")),
        ("POST", "/api/v1/namespaces/a/pods/p/eviction", {}, ("create", "", "pods", "eviction", "a", "p")),
        ("GET", "/api/v1/pods", {"fieldSelector": "metadata.name=x"}, ("list", "", "pods", "", "", "x")),
        ("GET", "/api/v1/nodes/n/proxy/logs/a", {}, ("get", "", "nodes", "proxy", "", "n")),
    ],
)
def test_resource_paths(method: str, path: str, query: dict[str, str], expected: tuple[str, ...]) -> None:
    """Verb, group, resource, subresource, namespace and name come out of the path."""
    info = parse(method, path, query)
    assert info.is_resource
    assert (info.verb, info.group, info.resource, info.subresource, info.namespace, info.name) == expected


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis/apps/v1", "/version", "/healthz/etcd", "/openapi/v3"])
def test_other_paths(path: str) -> None:
    """Discovery, health and documents are no resources."""
    info = parse("GET", path, {})
    assert (info.is_resource, info.verb, info.attributes().path) == (False, "get", path)


@pytest.mark.parametrize(
    ("accept", "shown"),
    [
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", ("application/json", "Table")),
        ("application/vnd.kubernetes.protobuf,application/json", ("application/json", "")),
        ("text/html,application/json;q=0.5", ("application/json", "")),
        ("application/yaml", ("application/yaml", "")),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            ("application/json", "PartialObjectMetadata"),
        ),
        ("", ("application/json", "")),
    ],
)
def test_accept(accept: str, shown: tuple[str, str]) -> None:
    """The first acceptable alternative is chosen."""
    found = negotiate(accept)
    assert (found.content_type, found.transform) == shown
