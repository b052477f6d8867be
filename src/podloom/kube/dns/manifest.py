"""The objects that run the cluster DNS: what a cluster applies into kube-system.

Named as everywhere (Deployment coredns, Service kube-dns, label k8s-app=kube-dns), because people, dashboards and
network policies look for these names.
"""

from __future__ import annotations

from typing import Any

from podloom.model.kube import Object

IMAGE = "podloom.local/dns:1"
_NAME = {"name": "coredns", "namespace": "kube-system"}
_LABELS = {"k8s-app": "kube-dns"}


def dns_manifests(
    cluster_ip: str, domain: str = "cluster.local", *, upstream: str = "168.63.129.16", image: str = IMAGE
) -> list[Object]:
    """ServiceAccount, ClusterRole and binding, Deployment and Service, in the order to apply them."""
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**_NAME, "labels": _LABELS}},
        *_rbac(),
        _deployment(domain, upstream, image),
        _service(cluster_ip),
    ]


def _rbac() -> list[Object]:
    group = "rbac.authorization.k8s.io"
    verbs = ["list", "watch"]
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": verbs},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", **_NAME}],
        },
    ]


def _deployment(domain: str, upstream: str, image: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_NAME, "labels": {**_LABELS, "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": _LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": _LABELS}, "spec": _pod_spec(domain, upstream, image)},
        },
    }


def _pod_spec(domain: str, upstream: str, image: str) -> Object:
    apart = {"labelSelector": {"matchLabels": _LABELS}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]
            }
        },
        "containers": [_container(domain, upstream, image)],
    }


def _container(domain: str, upstream: str, image: str) -> Object:
    ports: list[dict[str, Any]] = [
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
    ]
    arguments = ["--cluster-domain", domain, "--listen", "0.0.0.0:53", "--upstream", upstream]
    return {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,  # of the image's entrypoint
        "ports": ports,
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}},
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": 8080, "scheme": "HTTP"},
            "initialDelaySeconds": 60,
            "timeoutSeconds": 5,
            "failureThreshold": 5,
        },
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": 8181, "scheme": "HTTP"},
            "periodSeconds": 1,
        },
    }


def _service(cluster_ip: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {**_LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "clusterIP": cluster_ip,
            "selector": _LABELS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }
