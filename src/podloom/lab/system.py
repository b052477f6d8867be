"""What every cluster of the lab has in kube-system: roles of our own processes, and the cluster DNS."""

from __future__ import annotations

import asyncio
import contextlib
from importlib.resources import files
from typing import Any

import yaml

from podloom.drivers.kube import KubeClient, KubeError
from podloom.kube.dns.manifest import IMAGE, dns_manifests
from podloom.lab.imagestore import ImageName, ImageStore
from podloom.model.kube import Resource
from podloom.plan.cluster import ClusterParts

MANAGER = "podloom-lab"
READY_PAUSE_S = 0.1
KINDS = {
    "ServiceAccount": Resource("", "v1", "serviceaccounts", "ServiceAccount", True),
    "Service": Resource("", "v1", "services", "Service", True),
    "ConfigMap": Resource("", "v1", "configmaps", "ConfigMap", True),
    "Deployment": Resource("apps", "v1", "deployments", "Deployment", True),
    "ClusterRole": Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False),
    "ClusterRoleBinding": Resource(
        "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
    ),
    "Role": Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", True),
    "RoleBinding": Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True),
}


async def apply_system(kube: KubeClient, parts: ClusterParts, images: ImageStore) -> None:
    """Server-side apply every object; ours alone are touched, what users added to them stays."""
    dns = dns_manifests(parts.dns_service_ip, "cluster.local", image=_pinned(images, IMAGE))
    objects: list[dict[str, Any]] = [*own_roles(), *dns]
    await asyncio.gather(*(_apply(kube, obj) for obj in objects))


def _pinned(images: ImageStore, name: str) -> str:
    """The image by digest, so that another build of it is rolled out by the next pass."""
    image = ImageName.parse(name)
    digest = images.resolve(image)
    return f"{image.registry}/{image.repository}@{digest}" if digest else name


async def system_ready(kube: KubeClient) -> None:
    """Return when the cluster DNS serves: names are part of what a created cluster promises."""
    while True:
        deployment = await kube.get(KINDS["Deployment"], "coredns", "kube-system")
        if deployment.get("status", {}).get("readyReplicas"):
            return
        await asyncio.sleep(READY_PAUSE_S)


def own_roles() -> list[dict[str, Any]]:
    """The RBAC objects of agent and operator, the same that a real cluster applies."""
    text = (files("podloom.lab") / "rbac.yaml").read_text()
    return list(yaml.safe_load_all(text))


async def _apply(kube: KubeClient, obj: dict[str, Any]) -> None:
    meta = obj["metadata"]
    for attempt in range(5):
        with contextlib.suppress(KubeError):
            await kube.patch(
                KINDS[obj["kind"]],
                meta["name"],
                obj,
                meta.get("namespace", ""),
                kind="apply",
                manager=MANAGER,
                force=True,
            )
            return
        await asyncio.sleep(0.1 * 2**attempt)
    raise KubeError(500, "InternalError", f"{obj['kind']} {meta['name']} could not be applied", {})
