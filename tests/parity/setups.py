"""What the recordings need and do not hold: setup requests, credentials, writes during watches.

Derived from the recorded answers: each object here is the one a recorded answer shows before its first request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
MERGE = {"Accept": "application/json", "Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Accept": "application/json", "Content-Type": "application/strategic-merge-patch+json"}


@dataclass(frozen=True)
class Step:
    """A request that was made but not recorded; `until`: repeat until it holds."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    until: Callable[[int, Any], bool] | None = None
    may_fail: bool = False
    pause_s: float = 0.1


def post(path: str, body: Any, **kw: Any) -> Step:
    return Step("POST", path, body, **kw)


def patch(path: str, body: Any, *, headers: dict[str, str] | None = None, **kw: Any) -> Step:
    return Step("PATCH", path, body, headers or dict(MERGE), **kw)


def delete(path: str, **kw: Any) -> Step:
    return Step("DELETE", path, None, **kw)


def wait_for(path: str) -> Step:
    """Wait until a controller has made the object."""
    return Step("GET", path, None, {"Accept": "application/json"}, lambda status, _: status == 200)


def namespace(name: str, labels: dict[str, str] | None = None) -> list[Step]:
    meta: dict[str, Any] = {"name": name}
    if labels:
        meta["labels"] = labels
    return [post("/api/v1/namespaces", {"metadata": meta}), *in_namespace(name)]


def in_namespace(name: str) -> list[Step]:
    """What controllers put into a namespace; the second config map is the recorder's fork's."""
    extra = {
        "metadata": {
            "name": "openshift-service-ca.crt",
            "annotations": {"service.beta.openshift.io/inject-cabundle": "true"},
        }
    }
    return [
        wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default"),
        wait_for(f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"),
        post(
            f"/api/v1/namespaces/{name}/configmaps", extra, headers=JSON | {"User-Agent": "kube-controller-manager/x"}
        ),
    ]


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}], **spec},
    }


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, "replicas": replicas},
    }


NODE_A = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-a", "labels": {"kubernetes.io/hostname": "node-a"}},
}

NODE_STATUS = {
    "status": {
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}],
    }
}
NODE_STEPS = [
    post("/api/v1/nodes", NODE_A),
    patch("/api/v1/nodes/node-a/status", NODE_STATUS, headers=STRATEGIC),
]


def when(path: str, **wanted: Any) -> Step:
    """Wait until the status of an object has these values."""

    def reached(status: int, body: Any) -> bool:
        found = body.get("status", {}) if isinstance(body, dict) else {}
        return status == 200 and all(found.get(k, 0) == v for k, v in wanted.items())

    return Step("GET", path, None, {"Accept": "application/json"}, reached)


_CRUD = "/api/v1/namespaces/crud"
_D1 = "/apis/apps/v1/namespaces/crud/deployments/d1"

SETUPS: dict[str, dict[int, list[Step]]] = {
    "crud.json": {
        0: NODE_STEPS,
        2: in_namespace("crud"),
        38: [post(f"{_CRUD}/configmaps", {"metadata": {"name": f"dc{i}", "labels": {"dc": "y"}}}) for i in range(3)],
        75: [when(_D1, observedGeneration=1, replicas=2, unavailableReplicas=2)],
        85: [when(_D1, observedGeneration=3, replicas=1)],
        87: [when(_D1, observedGeneration=4)],
        88: [post("/apis/apps/v1/namespaces/crud/deployments", deployment("d3", 1))],
        149: namespace("nsdel"),
    },
    "errors.json": {0: namespace("err")},
    "patch.json": {0: namespace("patch")},
    "list-watch.json": {0: namespace("lw")},
    "crd.json": {0: namespace("crd")},
    "services.json": {2: namespace("svc")},
    "services-dualstack.json": {2: namespace("ds"), 39: namespace("ds8")},
}

DURING: dict[str, dict[int, list[Step]]] = {}

# Seconds to wait for controllers.
PATIENCE: dict[str, dict[int, float]] = {
    "crud.json": dict.fromkeys((6, 51, 75, 76, 77, 78, 79, 101, 146, 151, 153), 4.0),
    "crd.json": dict.fromkeys((2, 4, 5, 6, 7, 69, 72, 76, 78, 79, 80), 3.0),
    "services.json": dict.fromkeys((76, 78, 81, 82, 83, 84, 87, 90, 92, 94, 96), 4.0),
    "services-dualstack.json": dict.fromkeys((24, 26, 27, 28, 29, 30), 4.0),
}


def headers_for(name: str, index: int, note: str, secrets: dict[str, str]) -> dict[str, str]:
    """Headers that the recording leaves out, by its note."""
    found: dict[str, str] = {}
    if "Impersonate-User: nobody" in note:
        found["Impersonate-User"] = "nobody"
    if "Impersonate-Group: g1" in note:
        found["Impersonate-Group"] = "g1"
    if "no credentials" in note or "anonymous" in note:
        found["X-Anonymous"] = "1"
    if "basic authorization" in note:
        found["Authorization"] = "Basic YWRtaW46c2VjcmV0"
    if note.startswith("401 bad bearer"):
        found |= {"Authorization": "Bearer bad-token", "X-Anonymous": "1"}
    if note.startswith("401 malformed JWT"):
        found |= {"Authorization": "Bearer a.b.c", "X-Anonymous": "1"}
    if "service account token as bearer" in note:
        token = next(iter(secrets.values()), "")
        found |= {"Authorization": f"Bearer {token}", "X-Anonymous": "1"}
    return found


def body_for(name: str, index: int, body: Any) -> Any:
    """The request body, with elided ones rebuilt."""
    if isinstance(body, str) and body.startswith("ELIDED: ConfigMap with"):
        size = int(body.split()[3])
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "x" * size}}
    return body
