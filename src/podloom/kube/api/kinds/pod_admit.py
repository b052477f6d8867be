"""What admission adds to a new pod: its account and token, priority, tolerations, limits.

The problem: a real server's default plugins (ServiceAccount, Priority, DefaultTolerationSeconds, LimitRanger) complete
every pod; without them no pod could speak to the API, and no node failure would move it.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds.base import forbidden
from podloom.kube.api.kinds.noderules import MIRROR
from podloom.kube.api.kinds.pod_defaults import containers
from podloom.kube.api.kinds.quantity import amount, canonical

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_PREFIX = "kube-api-access-"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_TOKEN_SECONDS = 3607  # an hour, and 7 so that one can tell it was not asked for
_EVICT_SECONDS = 300
_UNSCHEDULED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit(pod: Object, ctx: Context) -> None:
    """Complete a new pod in place; 403 for an account or priority class that is not there."""
    spec = pod["spec"] = pod.get("spec") or {}
    _service_account(pod, spec, ctx)
    _priority(pod, spec, ctx)
    _tolerations(spec)
    _limit_ranges(pod, spec, ctx)


def _refuse(pod: Object, ctx: Context, why: str) -> None:
    raise forbidden(ctx, "pods", pod["metadata"].get("name", ""), why)


def _service_account(pod: Object, spec: Object, ctx: Context) -> None:
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        return
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = ctx.namespace or pod["metadata"].get("namespace", "")
    account = ctx.reader.get("", "serviceaccounts", namespace, name)
    if account is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        _refuse(pod, ctx, why)
        return
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    if wanted is None or wanted:
        _mount_token(spec)


def _mount_token(spec: Object) -> None:
    present = [v["name"] for v in spec.get("volumes") or [] if v.get("name", "").startswith(TOKEN_PREFIX)]
    name = present[0] if present else TOKEN_PREFIX + "".join(random.choices(_ALPHABET, k=5))
    used = False
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or []:
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == TOKEN_PATH for mount in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}]
            used = True
    if used and not present:
        spec["volumes"] = [*(spec.get("volumes") or []), token_volume(name)]


def token_volume(name: str) -> Object:
    """The projected volume by which a pod gets token, CA and namespace."""
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources: list[Object] = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


def _priority(pod: Object, spec: Object, ctx: Context) -> None:
    name = spec.get("priorityClassName")
    classes = {c["metadata"]["name"]: c for c in ctx.reader.list("scheduling.k8s.io", "priorityclasses")}
    found: Object | None = classes.get(name or "")
    if name and found is None:
        _refuse(pod, ctx, f"no PriorityClass with name {name} was found")
    if not name:
        defaults = [c for c in classes.values() if c.get("globalDefault")]
        found = min(defaults, key=lambda c: int(c.get("value", 0)), default=None)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
    value = int((found or {}).get("value", 0))
    if spec.get("priority") not in (None, value):
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission"
            f" controller computed {value} from the given PriorityClass name"
        )
        _refuse(pod, ctx, why)
    spec["priority"] = value
    policy = (found or {}).get("preemptionPolicy") or "PreemptLowerPriority"
    spec["preemptionPolicy"] = spec.get("preemptionPolicy") or policy


def _tolerations(spec: Object) -> None:
    """A pod leaves a node that stays away for five minutes, unless it says otherwise."""
    given = list(spec.get("tolerations") or [])
    for key in _UNSCHEDULED:
        covered = any(t.get("key") in (key, None, "") and t.get("effect") in ("NoExecute", None, "") for t in given)
        if not covered:
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            given.append({**toleration, "tolerationSeconds": _EVICT_SECONDS})
    spec["tolerations"] = given


def _limit_ranges(pod: Object, spec: Object, ctx: Context) -> None:
    namespace = ctx.namespace or pod["metadata"].get("namespace", "")
    items = [
        item
        for limit_range in ctx.reader.list("", "limitranges", namespace)
        for item in (limit_range.get("spec") or {}).get("limits") or []
    ]
    for item in items:
        if item.get("type") == "Container":
            for field in ("initContainers", "containers"):
                for container in spec.get(field) or []:
                    _apply_limits(container, item)
    wrong = [text for item in items for text in _beyond(spec, item)]
    if wrong:
        _refuse(pod, ctx, wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")


def _apply_limits(container: Object, item: Object) -> None:
    resources = container["resources"] = container.get("resources") or {}
    for field, source in (("limits", "default"), ("requests", "defaultRequest")):
        if item.get(source):
            resources[field] = {**item[source], **(resources.get(field) or {})}


def _beyond(spec: Object, item: Object) -> list[str]:
    """Where the pod lies outside the minimum or maximum of a limit range item."""
    kind = item.get("type", "")
    if kind == "Container":
        groups = [[c] for c in containers(spec)]
    elif kind == "Pod":
        groups = [list(spec.get("containers") or [])]
    else:
        return []
    wrong: list[str] = []
    for group in groups:
        for name, bound in (item.get("min") or {}).items():
            total = _sum(group, "requests", name)
            if total is None:
                wrong.append(f"minimum {name} usage per {kind} is {canonical(bound)}.  No request is specified")
            elif total < amount(bound):
                shown = _spell(total, name)
                wrong.append(f"minimum {name} usage per {kind} is {canonical(bound)}, but request is {shown}")
        for name, bound in (item.get("max") or {}).items():
            total = _sum(group, "limits", name)
            if total is None:
                wrong.append(f"maximum {name} usage per {kind} is {canonical(bound)}.  No limit is specified")
            elif total > amount(bound):
                shown = _spell(total, name)
                wrong.append(f"maximum {name} usage per {kind} is {canonical(bound)}, but limit is {shown}")
    return wrong


def _sum(group: list[Object], field: str, name: str) -> Fraction | None:
    values: list[Any] = [((c.get("resources") or {}).get(field) or {}).get(name) for c in group]
    given = [amount(value) for value in values if value is not None]
    return sum(given, Fraction(0)) if given else None


def _spell(total: Fraction, name: str) -> str:
    if name == "memory" and total.denominator == 1 and total % 1024 == 0:
        return canonical(f"{total // 1024}Ki")
    return canonical(f"{int(total * 1000)}m")
