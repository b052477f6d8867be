"""What a new cluster holds before anybody wrote anything."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from podloom.kube.api.contract import Object, Settings
from podloom.kube.api.kinds.bootstrap_rbac import rbac_objects
from podloom.kube.api.kinds.namespaces import NAME_LABEL
from podloom.kube.api.kinds.service_alloc import families, ip_address_object
from podloom.kube.api.kinds.types import TYPES

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_PRIORITIES = (
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
)
_CIDR_READY = "Kubernetes Service CIDR is ready"


def bootstrap_objects(settings: Settings) -> list[Object]:
    """Namespaces with their accounts, RBAC, priority classes, the service ranges and the service `kubernetes`.

    Complete objects (defaults applied) but for uid, times and revisions, to be stored where missing.
    """
    objects: list[Object] = []
    for name in NAMESPACES:
        objects += [_namespace(name), _account(name)]
    objects += rbac_objects()
    objects += [_priority(*row) for row in _PRIORITIES]
    service, now = kubernetes_service(settings), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    objects += [_service_cidr(settings, now), service]
    objects += [ip_address_object(ip, service, now) for ip in service["spec"]["clusterIPs"]]
    return objects + _api_services(now)


def _namespace(name: str) -> Object:
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {NAME_LABEL: name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _account(namespace: str) -> Object:
    return {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default", "namespace": namespace}}


def _priority(name: str, value: int, description: str) -> Object:
    return {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": name, "generation": 1},
        "value": value,
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def kubernetes_service(settings: Settings) -> Object:
    """default/kubernetes with the first address of the first service range (PLAN-08)."""
    first = str(next(ipaddress.ip_network(settings.service_cidrs[0]).hosts()))
    if ipaddress.ip_address(first).version == 6:
        first = str(ipaddress.ip_network(settings.service_cidrs[0])[1])
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
            "clusterIP": first,
            "clusterIPs": [first],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": families(settings)[:1],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def _service_cidr(settings: Settings, now: str) -> Object:
    ready = {"type": "Ready", "status": "True", "reason": "", "message": _CIDR_READY, "lastTransitionTime": now}
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": list(settings.service_cidrs)},
        "status": {"conditions": [ready]},
    }


def _api_services(now: str) -> list[Object]:
    """An APIService for each group version this server itself answers."""
    versions = list(dict.fromkeys((t.group, t.version) for t in TYPES))
    local = {
        "type": "Available",
        "status": "True",
        "reason": "Local",
        "message": "Local APIServices are always available",
        "lastTransitionTime": now,
    }
    return [
        {
            "kind": "APIService",
            "apiVersion": "apiregistration.k8s.io/v1",
            "metadata": {
                "name": f"{version}.{group}",
                "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
            },
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 18000 if not group else 17800 - 10 * position,
                "versionPriority": 30 if version == "v2" else 15 if group else 1,
            },
            "status": {"conditions": [dict(local)]},
        }
        for position, (group, version) in enumerate(versions)
    ]
