"""CustomResourceDefinition as a kind, and the decisions of its controllers: names and conditions.

The problem: a definition is defaulted and validated like other kinds, then serves only once its names are accepted
(no other definition of the group uses them); the conditions NamesAccepted, Established and Terminating say where
it stands (apiextensions-apiserver controllers status, establish and finalizer).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from podloom.kube.api.contract import Cause, Column, Context, Kind, Object, ResourceType, Subresource
from podloom.kube.api.schema.celcheck import unenforced
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.crdvalidation import validate_crd, validate_crd_update

APPROVAL = "api-approved.kubernetes.io"
TYPE = ResourceType(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    kind="CustomResourceDefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(Subresource("status", "CustomResourceDefinition", ("get", "patch", "update")),),
    storage_version_hash="jfWCUB31mvA=",
)


class CrdKind(Kind):
    """CustomResourceDefinition, apiextensions.k8s.io/v1."""

    type = TYPE

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind", "")
        if kind:
            names.setdefault("singular", kind.lower())
            names.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {"strategy": "None"})
        service = ((spec["conversion"].get("webhook") or {}).get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_create(self, obj: Object, ctx: Context) -> None:
        obj["metadata"]["generation"] = 1
        stored = [v["name"] for v in obj["spec"].get("versions") or () if v.get("storage")]
        obj["status"] = {"acceptedNames": {}, "storedVersions": stored[:1] or None}

    def prepare_update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "status":
            obj["spec"] = old["spec"]
            obj["metadata"]["generation"] = old["metadata"].get("generation", 1)
            return
        obj["status"] = clone(old.get("status") or {})
        stored = [v["name"] for v in obj["spec"].get("versions") or () if v.get("storage")]
        kept = obj["status"].get("storedVersions") or []
        if stored and stored[0] not in kept:
            obj["status"]["storedVersions"] = [*kept, stored[0]]
        generation = old["metadata"].get("generation", 1)
        obj["metadata"]["generation"] = generation + (obj["spec"] != old["spec"])

    def validate_create(self, obj: Object, ctx: Context) -> list[Cause]:
        causes = validate_crd(obj)
        _warn(obj, ctx)
        return causes

    def validate_update(self, obj: Object, old: Object, ctx: Context) -> list[Cause]:
        if ctx.subresource == "status" or obj["spec"] == old["spec"]:
            return []
        causes = validate_crd_update(obj, old)
        _warn(obj, ctx)
        return causes

    def columns(self) -> Sequence[Column]:
        text = (
            "CreationTimestamp is a timestamp representing the server time when this object was created. It is not "
            "guaranteed to be set in happens-before order across separate operations. Clients may not set this "
            "value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null "
            "for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/"
            "api-conventions.md#metadata"
        )
        name = (
            "Name must be unique within a namespace. Is required when creating resources, although some resources "
            "may allow a client to request the generation of an appropriate name automatically. Name is primarily "
            "intended for creation idempotence and configuration definition. Cannot be updated. More info: "
            "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
        )
        return Column("Name", format="name", description=name), Column("Created At", "date", description=text)


def _warn(crd: Object, ctx: Context) -> None:
    if (crd["spec"].get("conversion") or {}).get("strategy") == "Webhook":
        ctx.warnings.append("spec.conversion.strategy: Webhook is not called here; versions differ by apiVersion only")
    for index, version in enumerate(crd["spec"].get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema:
            ctx.warnings += unenforced(schema, f"spec.versions[{index}].schema.openAPIV3Schema")


# -- the controllers' decisions ----------------------------------------------------------------------------


def settled(crd: Object, others: Sequence[Object], now: str) -> Object | None:
    """crd with its names accepted or refused and its conditions set; None when nothing changes. Pure."""
    spec, status = crd["spec"], crd.get("status") or {}
    accepted = status.get("acceptedNames") or {}
    peers = [o for o in others if o["spec"]["group"] == spec["group"]]
    names, refusal = _names(spec["names"], accepted, peers)
    conditions = [dict(c) for c in status.get("conditions") or ()]
    if refusal is None:
        _set(conditions, "NamesAccepted", "True", ("NoConflicts", "no conflicts found"), now)
    else:
        _set(conditions, "NamesAccepted", "False", refusal, now)
    established = next((c for c in conditions if c["type"] == "Established"), None)
    if established is None or established["status"] != "True":
        if refusal is None:
            text = "the initial names have been accepted"
            _set(conditions, "Established", "True", ("InitialNamesAccepted", text), now)
        elif established is None:
            _set(conditions, "Established", "False", ("NotAccepted", "not all names are accepted"), now)
    _approval(crd, conditions, now)
    if names == _shown(accepted) and conditions == (status.get("conditions") or []):
        return None
    return {**crd, "status": {**status, "conditions": conditions, "acceptedNames": names}}


def terminating(crd: Object, status: str, reason: str, message: str, now: str) -> Object:
    """crd with the condition Terminating."""
    before = crd.get("status") or {}
    conditions = [dict(c) for c in before.get("conditions") or ()]
    _set(conditions, "Terminating", status, (reason, message), now)
    return {**crd, "status": {**before, "conditions": conditions}}


def _names(wanted: Object, accepted: Object, peers: Iterable[Object]) -> tuple[Object, tuple[str, str] | None]:
    """The names accepted now, and reason and message of the last conflict, if any."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for peer in peers:
        theirs = (peer.get("status") or {}).get("acceptedNames") or {}
        resources |= {theirs.get("plural", ""), theirs.get("singular", ""), *(theirs.get("shortNames") or ())}
        kinds |= {theirs.get("kind", ""), theirs.get("listKind", "")}
    names = _shown(accepted)
    refusal = None
    for key, used, reason in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        want = wanted.get(key)
        each = want or [] if key == "shortNames" else [want or ""]
        have = accepted.get(key) or []
        taken = [
            name for name in each if name and name in used and name not in (have if key == "shortNames" else [have])
        ]
        if taken:
            texts = [f'"{name}" is already in use' for name in taken]
            refusal = (reason, texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]")
        elif want:
            names[key] = want
        else:
            names.pop(key, None)
    if wanted.get("categories"):
        names["categories"] = wanted["categories"]
    else:
        names.pop("categories", None)
    return names, refusal


def _shown(names: Object) -> Object:
    return {key: value for key, value in names.items() if value}


def _approval(crd: Object, conditions: list[Object], now: str) -> None:
    group = crd["spec"]["group"]
    if not (group.endswith((".k8s.io", ".kubernetes.io")) or group in {"k8s.io", "kubernetes.io"}):
        return
    value = (crd["metadata"].get("annotations") or {}).get(APPROVAL, "")
    kind = "KubernetesAPIApprovalPolicyConformant"
    if value.startswith("unapproved"):
        text = f'not approved: "{value}"'
        _set(conditions, kind, "False", ("UnapprovedAnnotation", text), now)
    elif value:
        _set(conditions, kind, "True", ("ApprovedAnnotation", f"approved in {value}"), now)


def _set(conditions: list[Object], kind: str, status: str, why: tuple[str, str], now: str) -> None:
    reason, message = why
    wanted: dict[str, Any] = {"type": kind, "status": status, "reason": reason, "message": message}
    for condition in conditions:
        if condition["type"] == kind:
            if any(condition.get(key) != value for key, value in wanted.items()):
                time = now if condition["status"] != status else condition.get("lastTransitionTime", now)
                condition.update(wanted, lastTransitionTime=time)
            return
    conditions.append({**wanted, "lastTransitionTime": now})
