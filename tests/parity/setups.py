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
        "data": {"service-ca.crt": ""},
        "metadata": {
            "name": "openshift-service-ca.crt",
            "annotations": {"service.beta.openshift.io/inject-cabundle": "true"},
        },
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
    container = {"name": "main", "image": "registry.k8s.io/pause:3.10", "ports": [{"containerPort": 8080}]}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, "replicas": replicas},
    }


_APPLIED = (
    '{"apiVersion":"v1","kind":"Node","metadata":{"annotations":{},"labels":{"kubernetes.io/hostname":"node-a",'
    '"kubernetes.io/os":"linux"},"name":"node-a"}}\n'
)
NODE_A = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "node-a",
        "labels": {"kubernetes.io/hostname": "node-a", "kubernetes.io/os": "linux"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": _APPLIED},
    },
}
NODE_STATUS = {
    "status": {
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "192.0.2.11"}],
        "nodeInfo": {
            "kubeletVersion": "v1.36.2",
            "osImage": "fake",
            "kernelVersion": "x",
            "architecture": "amd64",
            "operatingSystem": "linux",
            "containerRuntimeVersion": "fake://1",
        },
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "fake",
                "message": "fake",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
}
LEASE = {
    "metadata": {"name": "node-a", "namespace": "kube-node-lease"},
    "spec": {"holderIdentity": "node-a", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"},
}


def node_controllers(name: str, pod_cidrs: list[str], labels: dict[str, str] | None = None) -> Step:
    """What the recorder's node IPAM, TTL and label controllers write; an overlay cluster runs without them."""
    meta: dict[str, Any] = {"annotations": {"node.alpha.kubernetes.io/ttl": "0"}}
    if labels:
        meta["labels"] = labels
    body = {"metadata": meta, "spec": {"podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs}}
    return patch(f"/api/v1/nodes/{name}", body, headers=MERGE | {"User-Agent": "kube-controller-manager/x"})


LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-a"
OWN = {
    "crud.json": "crud",
    "errors.json": "err",
    "patch.json": "patch",
    "list-watch.json": "lw",
    "crd.json": "crd",
    "services.json": "svc",
    "services-dualstack.json": "ds",
}
NODE_STEPS = [
    post("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", LEASE, may_fail=True),
    post("/api/v1/nodes", NODE_A, headers=JSON | {"User-Agent": "kubectl-client-side-apply/x"}, may_fail=True),
    patch("/api/v1/nodes/node-a/status", NODE_STATUS, headers=STRATEGIC | {"User-Agent": "kubectl-patch/x"}),
    node_controllers("node-a", ["10.244.0.0/24"], {"beta.kubernetes.io/os": "linux"}),
]


def when(path: str, **wanted: Any) -> Step:
    """Wait until the status of an object has these values."""

    def reached(status: int, body: Any) -> bool:
        found = body.get("status", {}) if isinstance(body, dict) else {}
        return status == 200 and all(found.get(k, 0) == v for k, v in wanted.items())

    return Step("GET", path, None, {"Accept": "application/json"}, reached)


_CRUD = "/api/v1/namespaces/crud"
_D1 = "/apis/apps/v1/namespaces/crud/deployments/d1"

_PATCH = "/api/v1/namespaces/patch"
_LW = "/api/v1/namespaces/lw"
_LW_APPS = "/apis/apps/v1/namespaces/lw"
_SVC = "/api/v1/namespaces/svc"
_DS = "/api/v1/namespaces/ds"
_WEB = {"app": "web"}


def config_map(name: str, labels: dict[str, str] | None = None, data: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"metadata": {"name": name} | ({"labels": labels} if labels else {})}
    return found | ({"data": data} if data else {})


def service(name: str, **spec: Any) -> Step:
    return post(f"{_LW}/services", {"metadata": {"name": name}, "spec": spec})


def _c(i: int) -> Step:
    labels = {"n": str(i)} | ({"even": "y"} if i % 2 == 0 else {})
    return post(f"{_LW}/configmaps", config_map(f"c{i}", labels, {"i": str(i)}))


_PA_STATUS = {
    "status": {
        "phase": "Running",
        "podIP": "10.244.7.7",
        "podIPs": [{"ip": "10.244.7.7"}],
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {
                "name": "main",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}},
                "ready": True,
                "restartCount": 2,
                "image": "registry.k8s.io/pause:3.10",
                "imageID": "x",
            }
        ],
    }
}
_DS_BODY = {
    "metadata": {"name": "ds"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "i:1"}]},
        },
    },
}
_EVENT = {
    "metadata": {"name": "e1"},
    "involvedObject": {"kind": "Pod", "namespace": "lw", "name": "pa"},
    "reason": "Why",
    "message": "msg",
    "type": "Normal",
    "source": {"component": "x"},
    "firstTimestamp": "2026-01-01T00:00:00Z",
    "lastTimestamp": "2026-01-01T00:00:00Z",
    "count": 3,
}


def _column(name: str, type_: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "jsonPath": path, **more}


_GEARS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gears.lw.example.com"},
    "spec": {
        "group": "lw.example.com",
        "scope": "Namespaced",
        "names": {"plural": "gears", "singular": "gear", "kind": "Gear", "shortNames": ["gr"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "additionalPrinterColumns": [
                    _column("Teeth", "integer", ".spec.teeth", description="Number of teeth"),
                    _column("Label", "string", ".spec.label", priority=1),
                    _column("OK", "boolean", ".spec.ok"),
                    _column("Made", "date", ".spec.made"),
                    _column("Age", "date", ".metadata.creationTimestamp"),
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "teeth": {"type": "integer"},
                                    "label": {"type": "string"},
                                    "ok": {"type": "boolean"},
                                    "made": {"type": "string"},
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}
_GEAR_PATH = "/apis/lw.example.com/v1/namespaces/lw/gears"


def _gear(name: str, **spec: Any) -> Step:
    body: dict[str, Any] = {"apiVersion": "lw.example.com/v1", "kind": "Gear", "metadata": {"name": name}}
    return post(_GEAR_PATH, body | ({"spec": spec} if spec else {}))


_LW_TABLES = [
    service("svc", selector=_WEB, ports=[{"port": 80, "targetPort": 8080}]),
    service(
        "np",
        type="NodePort",
        selector=_WEB,
        ports=[{"name": "a", "port": 80}, {"name": "b", "port": 53, "protocol": "UDP"}],
    ),
    service("ext", type="ExternalName", externalName="example.com"),
    service("headless", clusterIP="None", selector=_WEB),
    service("lb", type="LoadBalancer", externalIPs=["192.0.2.9"], ports=[{"port": 80}]),
    post(f"{_LW_APPS}/deployments", deployment("dd", 2)),
    post(
        "/apis/networking.k8s.io/v1/namespaces/lw/networkpolicies",
        {"metadata": {"name": "np1"}, "spec": {"podSelector": {"matchLabels": _WEB}}},
    ),
    post(
        "/apis/networking.k8s.io/v1/namespaces/lw/networkpolicies",
        {"metadata": {"name": "np2"}, "spec": {"podSelector": {}}},
    ),
    post(f"{_LW_APPS}/daemonsets", _DS_BODY),
    post(
        "/apis/coordination.k8s.io/v1/namespaces/lw/leases",
        {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}},
    ),
    post(f"{_LW}/events", _EVENT),
    patch(f"{_LW}/pods/pa/status", _PA_STATUS, headers=STRATEGIC),
    post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _GEARS),
    Step("GET", _GEAR_PATH, None, {"Accept": "application/json"}, lambda status, _: status == 200),
    when(f"{_LW_APPS}/deployments/dd", observedGeneration=1, replicas=2, unavailableReplicas=2, updatedReplicas=2),
    _gear("g1", teeth=12, label="big", ok=True, made="2026-01-01T00:00:00Z"),
    _gear("g2"),
]

_W = {"w": "1"}


def _life(name: str) -> list[Step]:
    """Create, change and delete a config map, as during most recorded watches."""
    return [
        post(f"{_LW}/configmaps", config_map(name, _W)),
        patch(f"{_LW}/configmaps/{name}", {"data": {"a": "1"}}),
        delete(f"{_LW}/configmaps/{name}"),
    ]


_FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_BAD_NAMES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "wids.crd.example.com"},
    "spec": {
        "group": "crd.example.com",
        "scope": "Cluster",
        "names": {"plural": "wids", "singular": "wid", "kind": "Wid", "shortNames": ["wd"]},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _FREE}},
        ],
    },
}


def es_pod(base: str, name: str, *, ports: bool = True, **more: Any) -> Step:
    container: dict[str, Any] = {"name": "m", "image": "i:1"}
    if ports:
        container["ports"] = [{"name": "http", "containerPort": 8080}]
    spec = {"nodeName": "node-a", "containers": [container], **more}
    meta = {"name": name, "labels": {"app": "es"}}
    return post(f"{base}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


SETUPS: dict[str, dict[int, list[Step]]] = {
    "crud.json": {
        0: NODE_STEPS,
        2: in_namespace("crud"),
        38: [post(f"{_CRUD}/configmaps", config_map(f"dc{i}", {"dc": "y"})) for i in range(3)],
        75: [when(_D1, observedGeneration=1, replicas=2, unavailableReplicas=2)],
        85: [when(_D1, observedGeneration=3, replicas=1)],
        87: [when(_D1, observedGeneration=4)],
        88: [
            post("/apis/apps/v1/namespaces/crud/deployments", deployment("d3", 0)),
            when(_D1.replace("d1", "d3"), observedGeneration=1),
        ],
        100: [node_controllers("node-crud", ["10.244.1.0/24"])],
        149: namespace("nsdel"),
    },
    "errors.json": {
        0: namespace("err"),
        11: [patch("/api/v1/namespaces/err/configmaps/c", {"data": {"x": "1"}})],
        88: [post("/api/v1/namespaces/err/configmaps", config_map(f"p{i}")) for i in range(4)],
    },
    "patch.json": {
        0: [
            *namespace("patch"),
            post(f"{_PATCH}/configmaps", config_map("c", {"a": "1"}, {"k": "v", "gone": "x"})),
            post("/apis/apps/v1/namespaces/patch/deployments", deployment("d", 0)),
            when("/apis/apps/v1/namespaces/patch/deployments/d", observedGeneration=1),
        ],
        63: namespace("patch2"),
    },
    "list-watch.json": {
        0: [
            *NODE_STEPS,
            *namespace("lw"),
            *(_c(i) for i in range(5)),
            post(f"{_LW}/pods", pod("pa", nodeName="node-a")),
            post(f"{_LW}/pods", pod("pb", schedulerName="none")),
        ],
        49: [patch(f"{_LW}/configmaps/c0", {"data": {"later": "1"}})],
        62: _LW_TABLES,
        97: [post(f"{_LW}/configmaps", config_map("w2", _W))],
    },
    "crd.json": {
        0: namespace("crd"),
        72: [post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _BAD_NAMES)],
        75: [
            patch(
                "/apis/crd.example.com/v1/namespaces/crd/widgets/w2", {"metadata": {"finalizers": ["example.com/hold"]}}
            )
        ],
        79: [patch("/apis/crd.example.com/v1/namespaces/crd/widgets/w2", {"metadata": {"finalizers": None}})],
    },
    "services.json": {0: NODE_STEPS, 2: namespace("svc"), 78: [es_pod(_SVC, "e2", hostname="two", subdomain="esh")]},
    "services-dualstack.json": {
        2: namespace("ds"),
        24: [node_controllers("node-a", ["10.244.0.0/24", "fd00:244::/64"])],
        25: [es_pod(_DS, "e1", ports=False)],
        39: [*(delete(f"{_DS}/services/{n}", may_fail=True) for n in "hij"), *namespace("ds8")],
    },
}

_CM = f"{_LW}/configmaps"
DURING: dict[str, dict[int, list[Step]]] = {
    "list-watch.json": {
        96: _life("w1"),
        98: [
            patch(f"{_CM}/w2", {"metadata": {"labels": {"w": "2"}}}),
            patch(f"{_CM}/w2", {"metadata": {"labels": {"w": "1"}}}),
        ],
        99: [delete(f"{_CM}/w2")],
        100: _life("w3"),
        101: _life("w4"),
        102: _life("w5"),
        106: _life("w6"),
        107: _life("w7"),
        108: [patch(f"{_GEAR_PATH}/g2", {"spec": {"teeth": 3}}), delete(f"{_GEAR_PATH}/g2")],
        110: [delete(f"{_LW}/pods/pa"), delete(f"{_LW}/pods/pa?gracePeriodSeconds=0")],
    }
}

# Seconds to wait for controllers.
PATIENCE: dict[str, dict[int, float]] = {
    "crud.json": dict.fromkeys((6, 51, 75, 76, 77, 78, 79, 101, 146, 151, 153), 4.0),
    "list-watch.json": dict.fromkeys((62, 65, 66, 70, 71, 72, 73, 76), 2.0),
    "crd.json": dict.fromkeys((2, 4, 5, 6, 7, 69, 72, 76, 78, 79, 80), 2.0),
    "services.json": dict.fromkeys((76, 78, 81, 82, 83, 84, 85, 87, 90, 92, 94, 96), 3.0),
    "services-dualstack.json": dict.fromkeys((24, 26, 27, 28, 29, 30), 3.0),
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
