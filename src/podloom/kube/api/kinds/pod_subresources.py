"""Binding, eviction, ephemeral containers and resize of pods.

The problem: each is a narrow write with its own rules: a pod is bound once, an eviction respects disruption budgets,
the others change one part of the spec only.
"""

from __future__ import annotations

from copy import deepcopy

from podloom.kube.api.contract import Answer, Context, Object, StatusError, Write
from podloom.kube.api.kinds.check import selects
from podloom.kube.api.kinds.types import type_of

SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def bind(body: Object, pod: Object, ctx: Context) -> Answer:
    """Set the node of a pod (pods/binding); 409 when it has one, or is being deleted."""
    name, target = pod["metadata"]["name"], body.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        raise StatusError(
            422,
            "Invalid",
            f'Binding "{name}" is invalid: target.kind: Unsupported value: "{target["kind"]}": supported values:'
            ' "Node", "<empty>"',
            details={"name": name, "kind": "Binding"},
        )
    if not target.get("name"):
        raise StatusError(
            422,
            "Invalid",
            f'Binding "{name}" is invalid: target.name: Required value',
            details={"name": name, "kind": "Binding"},
        )
    current = (pod.get("spec") or {}).get("nodeName")
    if pod["metadata"].get("deletionTimestamp"):
        raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if current:
        raise _conflict(name, f'pod {name} is already assigned to node "{current}"')
    if pod["spec"].get("schedulingGates"):
        raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    uid = (body.get("metadata") or {}).get("uid")
    if uid and uid != pod["metadata"].get("uid"):
        raise _conflict(name, f"pod {name} has another uid than the binding")
    bound = deepcopy(pod)
    bound["spec"]["nodeName"] = target["name"]
    notes = (body.get("metadata") or {}).get("annotations")
    if notes:
        bound["metadata"]["annotations"] = {**(bound["metadata"].get("annotations") or {}), **notes}
    set_condition(bound, {"type": "PodScheduled", "status": "True"}, ctx.now)
    return Answer(dict(SUCCESS), 201, [Write(type_of("", "pods"), bound["metadata"]["namespace"], name, bound)])


def _conflict(name: str, why: str) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}',
        details={"name": name, "kind": "pods/binding"},
    )


def set_condition(pod: Object, condition: Object, now: str) -> None:
    """Replace or add the condition of its type, with the time of a change of status."""
    status = pod.setdefault("status", {})
    old = [c for c in status.get("conditions") or [] if c.get("type") == condition["type"]]
    unchanged = bool(old) and old[0].get("status") == condition["status"]
    since = old[0].get("lastTransitionTime") if unchanged else now
    new = {"lastProbeTime": None, "lastTransitionTime": since, **condition}
    others = [c for c in status.get("conditions") or [] if c.get("type") != condition["type"]]
    status["conditions"] = [*others, new]


def evict(body: Object, pod: Object, ctx: Context) -> Answer:
    """Delete a pod if its disruption budget allows (pods/eviction); 429 when not."""
    metadata = pod["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    done = dict(SUCCESS)
    removal = Write(type_of("", "pods"), namespace, name, None)
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed", "Pending") or metadata.get("deletionTimestamp"):
        return Answer(done, 201, [removal])
    budgets = [
        b
        for b in ctx.reader.list("policy", "poddisruptionbudgets", namespace)
        if selects((b.get("spec") or {}).get("selector"), metadata.get("labels") or {})
    ]
    if len(budgets) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", text)
    if not budgets:
        return Answer(done, 201, [removal])
    return Answer(done, 201, [_charge(budgets[0], name, ctx), removal])


def _charge(budget: Object, pod: str, ctx: Context) -> Write:
    """Take one disruption off the budget; 429 when it has none left."""
    status, name = budget.get("status") or {}, budget["metadata"]["name"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0) or not status.get(
        "disruptionsAllowed"
    ):
        wanted, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        error = StatusError(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )
        message = f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        error.details["causes"] = [{"reason": "DisruptionBudget", "message": message}]
        raise error
    charged = deepcopy(budget)
    charged["status"]["disruptionsAllowed"] -= 1
    charged["status"].setdefault("disruptedPods", {})[pod] = ctx.now
    return Write(type_of("policy", "poddisruptionbudgets"), budget["metadata"]["namespace"], name, charged)


def take_over(obj: Object, old: Object, subresource: str) -> None:
    """Keep the old pod but for the part a subresource writes."""
    sent = deepcopy(obj.get("spec") or {})
    version = (obj.get("metadata") or {}).get("resourceVersion")
    managed = (obj.get("metadata") or {}).get("managedFields")
    obj.clear()
    obj.update(deepcopy(old))
    if version:
        obj["metadata"]["resourceVersion"] = version
    if managed is not None:
        obj["metadata"]["managedFields"] = managed
    if subresource == "ephemeralcontainers":
        obj["spec"].pop("ephemeralContainers", None)
        if sent.get("ephemeralContainers"):
            obj["spec"]["ephemeralContainers"] = sent["ephemeralContainers"]
        return
    for field in ("containers", "initContainers"):
        resources = {c.get("name"): c for c in sent.get(field) or []}
        for container in obj["spec"].get(field) or []:
            wanted = resources.get(container.get("name"), {})
            for part in ("resources", "resizePolicy"):
                if part in wanted:
                    container[part] = wanted[part]
