"""Questions every controller asks of a pod: is it alive, ready, available, and which would go first.

Sources: Kubernetes "Pod Lifecycle" and "ReplicaSet" pages (deletion order: unassigned, pending, not ready,
deletion cost, more pods on the same node, newer readiness, more restarts, newer).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from podloom.model.kube import Object
from podloom.plan.kube.times import parse_time

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: a suffix never spells a word
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def suffix_of(number: int, length: int) -> str:
    """`number` in the alphabet of Kubernetes name suffixes, `length` letters."""
    out = ""
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        out += _ALPHABET[digit]
    return out


def digest(value: Any, length: int = 10) -> str:
    """A short stable name for a JSON value, fit for labels and names."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return suffix_of(int.from_bytes(hashlib.blake2b(canonical, digest_size=16).digest(), "big"), length)


def without_empty(value: Any) -> Any:
    """Without empty members, which mean the same as absent ones."""
    if isinstance(value, Mapping):
        inner = {key: without_empty(member) for key, member in value.items()}
        return {key: member for key, member in inner.items() if member not in (None, {}, [], "")}
    return [without_empty(member) for member in value] if isinstance(value, list) else value


def condition(obj: Object, kind: str) -> Object:
    """The status condition of a type, or {}."""
    for entry in obj.get("status", {}).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return {}


def is_finished(pod: Object) -> bool:
    """Succeeded or Failed: it will not run again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Object) -> bool:
    """Its Ready condition is True."""
    return condition(pod, "Ready").get("status") == "True"


def available_in(pod: Object, min_ready_s: int, now: float) -> float | None:
    """Seconds until the pod counts as available: 0 when it does, None when it is not ready."""
    ready = condition(pod, "Ready")
    if ready.get("status") != "True":
        return None
    if not min_ready_s:
        return 0.0
    return max(0.0, parse_time(ready.get("lastTransitionTime")) + min_ready_s - now)


def is_available(pod: Object, min_ready_s: int, now: float) -> bool:
    """Ready for at least `min_ready_s` seconds."""
    return available_in(pod, min_ready_s, now) == 0.0


def restarts(pod: Object) -> int:
    """Restarts of all its containers."""
    return sum(c.get("restartCount", 0) for c in pod.get("status", {}).get("containerStatuses") or ())


def deletion_order(pods: Iterable[Object]) -> list[Object]:
    """The pods, the one to delete first when scaling down first."""
    pods = list(pods)
    on_node: dict[str, int] = {}
    for pod in pods:
        node = pod["spec"].get("nodeName", "")
        on_node[node] = on_node.get(node, 0) + 1

    def rank(pod: Object) -> tuple[Any, ...]:
        node = pod["spec"].get("nodeName", "")
        phase = pod.get("status", {}).get("phase", "Pending")
        ready = condition(pod, "Ready")
        return (
            bool(node),
            {"Pending": 0, "Unknown": 1}.get(phase, 2),
            is_ready(pod),
            _cost(pod),
            -on_node[node],
            -parse_time(ready.get("lastTransitionTime")) if is_ready(pod) else 0.0,
            -restarts(pod),
            -parse_time(pod["metadata"].get("creationTimestamp")),
            pod["metadata"]["name"],
        )

    return sorted(pods, key=rank)


def _cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def pod_from_template(template: Object, namespace: str, owner: Object, name: str, generate_name: str) -> Object:
    """The pod a controller creates from its template; `owner` is the controller's owner reference."""
    meta = template.get("metadata") or {}
    body: Object = {
        "name": name,
        "generateName": generate_name,
        "namespace": namespace,
        "labels": dict(meta.get("labels") or {}),
        "ownerReferences": [owner],
    }
    if meta.get("annotations"):
        body["annotations"] = dict(meta["annotations"])
    if meta.get("finalizers"):
        body["finalizers"] = list(meta["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": body, "spec": dict(template["spec"])}


def with_condition(conditions: Iterable[Object] | None, new: Object, now: str) -> list[Object]:
    """The conditions with `new` (type, status, reason, message) set; one that says the same stays as it is.

    A changed one moves to the end; its lastTransitionTime moves only with the status.
    """
    have = list(conditions or ())
    old = next((entry for entry in have if entry.get("type") == new["type"]), {})
    says = ("status", "reason", "message")
    if old and all((old.get(name) or "") == (new.get(name) or "") for name in says):
        return have
    since = old.get("lastTransitionTime", now) if old.get("status") == new["status"] else now
    entry = {**old, "lastTransitionTime": since, **new}
    kept = [other for other in have if other is not old]
    return [*kept, {name: value for name, value in entry.items() if value != ""}]
