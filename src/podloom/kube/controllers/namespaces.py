"""The namespace controllers: what every namespace gets, and the emptying of a deleted one.

The problem: a namespace may go only when nothing is left in it, of any kind, custom resources included, and things
may hold on by finalizers or grace. So each visit asks discovery for the kinds, deletes every collection, looks
what is left, says so in conditions, and only an empty namespace loses its `kubernetes` finalizer.
"""

from __future__ import annotations

from typing import ClassVar

from podloom.drivers.kube import KubeError
from podloom.kube.controllers.cluster import Cluster
from podloom.kube.controllers.controller import Controller
from podloom.model.kube import CONFIGMAPS, NAMESPACES, PODS, SERVICEACCOUNTS, Key, Object, Resource
from podloom.plan.kube.namespaces import content_conditions

ROOT_CA = "kube-root-ca.crt"
_ABOUT_ROOT_CA = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
_LOOK_AGAIN_S = 0.5


class NamespaceContent(Controller):
    """Empties namespaces that are being deleted."""

    name: ClassVar[str] = "namespace-controller"
    workers: ClassVar[int] = 4

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.namespaces = cluster.view(NAMESPACES)
        self.namespaces.listen(self._changed)
        cluster.view(PODS).listen(self._pod_changed)

    def _changed(self, kind: str, namespace: Object, _old: Object | None) -> None:
        if kind != "DELETED" and namespace["metadata"].get("deletionTimestamp"):
            self.queue.add(("", namespace["metadata"]["name"]))

    def _pod_changed(self, kind: str, pod: Object, _old: Object | None) -> None:
        """The last pod's end is when the namespace can go: do not wait for the next look."""
        namespace = self.namespaces.get(pod["metadata"]["namespace"])
        if kind == "DELETED" and namespace and namespace["metadata"].get("deletionTimestamp"):
            self.queue.add_after(("", namespace["metadata"]["name"]), 0.02)

    async def sync(self, key: Key) -> float | None:
        namespace = self.namespaces.objects.get(key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return None
        if "kubernetes" not in (namespace.get("spec", {}).get("finalizers") or ()):
            return None
        remaining = await self._empty(key[1])
        if remaining:
            await self._tell(namespace, remaining)
            return _LOOK_AGAIN_S
        await self._finalize(namespace)
        return None

    async def _empty(self, name: str) -> dict[str, list[Object]]:
        """Delete everything in the namespace; what is left, by resource."""
        client, remaining = self.cluster.client, {}
        for res, verbs in await client.discover():
            if not res.namespaced or not {"list", "delete"} <= verbs:
                continue
            try:
                items, _ = await client.list(res, name)
                if items:
                    await self._delete_all(res, name, items, verbs)
                    items, _ = await client.list(res, name)
            except KubeError as e:
                if e.status in (404, 405):  # unregistered since discovery
                    continue
                raise
            if items:
                remaining[res.group_resource] = items
        return remaining

    async def _delete_all(self, res: Resource, name: str, items: list[Object], verbs: frozenset[str]) -> None:
        if all(item["metadata"].get("deletionTimestamp") for item in items):
            return
        if "deletecollection" in verbs:
            await self.cluster.client.delete_collection(res, name)
            return
        for item in items:
            await self.cluster.delete(res, {**item, "metadata": {**item["metadata"], "namespace": name}})

    async def _tell(self, namespace: Object, remaining: dict[str, list[Object]]) -> None:
        conditions = content_conditions(namespace, remaining, self.cluster.now())
        if conditions != namespace.get("status", {}).get("conditions"):
            body = {"status": {"conditions": conditions}}
            await self.cluster.patch(NAMESPACES, namespace, body, subresource="status")

    async def _finalize(self, namespace: Object) -> None:
        left = [f for f in namespace["spec"]["finalizers"] if f != "kubernetes"]
        body = {**namespace, "apiVersion": "v1", "kind": "Namespace", "spec": {**namespace["spec"], "finalizers": left}}
        try:
            await self.cluster.client.replace(NAMESPACES, body, subresource="finalize")
        except KubeError as e:
            if not e.not_found:
                raise


class NamespaceDefaults(Controller):
    """Each namespace has the service account `default` and the cluster's CA for pods to trust."""

    name: ClassVar[str] = "serviceaccount-controller"

    def __init__(self, cluster: Cluster, ca_pem: str) -> None:
        super().__init__(cluster)
        self.ca_pem = ca_pem
        self.namespaces = cluster.view(NAMESPACES)
        self.accounts, self.configs = cluster.view(SERVICEACCOUNTS), cluster.view(CONFIGMAPS)
        self.configs.informer.trim = _without_others_data
        self.namespaces.listen(lambda _kind, obj, _old: self.queue.add(("", obj["metadata"]["name"])))
        self.accounts.listen(lambda kind, obj, _old: self._changed("default", kind, obj))
        self.configs.listen(lambda kind, obj, _old: self._changed(ROOT_CA, kind, obj))

    def _changed(self, name: str, kind: str, obj: Object) -> None:
        if obj["metadata"]["name"] == name and (kind == "DELETED" or name == ROOT_CA):
            self.queue.add(("", obj["metadata"]["namespace"]))

    async def sync(self, key: Key) -> float | None:
        namespace = self.namespaces.objects.get(key)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        if self.accounts.get("default", key[1]) is None:
            await self._create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": key[1]}})
        current = self.configs.get(ROOT_CA, key[1])
        wanted = {"ca.crt": self.ca_pem}
        about = {"kubernetes.io/description": _ABOUT_ROOT_CA}
        if not self.ca_pem:
            return None
        if current is None:
            meta = {"name": ROOT_CA, "namespace": key[1], "annotations": about}
            await self._create(CONFIGMAPS, {"metadata": meta, "data": wanted})
        elif current.get("data") != wanted:
            await self.cluster.replace(CONFIGMAPS, {**current, "data": wanted})
        return None

    async def _create(self, res: Resource, obj: Object) -> None:
        try:
            await self.cluster.create(res, obj)
        except KubeError as e:
            gone = e.not_found or e.status == 403  # the namespace went, or is going
            if not e.already_exists and not gone:
                raise


def _without_others_data(config: Object) -> Object:
    """ConfigMaps may be large; here only the CA's content matters."""
    meta = {name: value for name, value in config["metadata"].items() if name != "managedFields"}
    if meta["name"] == ROOT_CA:
        return {**config, "metadata": meta}
    meta.pop("annotations", None)
    return {"metadata": meta}
