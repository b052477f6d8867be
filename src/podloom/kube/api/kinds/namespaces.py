"""Namespaces: a label with their name, a finalizer, and an account for their pods."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import ClassVar

from podloom.kube.api.contract import Context, Object, Write
from podloom.kube.api.kinds.base import BuiltIn, keep
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import text
from podloom.kube.api.kinds.types import type_of

NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceKind(BuiltIn):
    """Creating one creates its default ServiceAccount in the same transaction, so pods can be made at once."""

    has_status = True
    name_rule = "label"
    returns_deleted = True
    printed = ((text("Status", "The status of the namespace"), lambda o, _: (o.get("status") or {}).get("phase", "")),)
    field_labels = ("status.phase",)
    unknown_field_label = "field label not supported: {label}"
    initial_status: ClassVar[Object | None] = {"phase": "Active"}

    def default(self, obj: Object, ctx: Context) -> None:
        name = obj["metadata"].get("name")
        if name:
            labels = obj["metadata"].get("labels") or {}
            obj["metadata"]["labels"] = {**labels, NAME_LABEL: name}
        obj.setdefault("spec", {})
        obj.setdefault("status", {})

    def create(self, obj: Object, ctx: Context) -> None:
        finalizers = obj["spec"].get("finalizers") or []
        obj["spec"]["finalizers"] = [*finalizers, *([] if "kubernetes" in finalizers else ["kubernetes"])]

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        if ctx.subresource == "finalize":
            wanted = (obj.get("spec") or {}).get("finalizers") or []
            keep(obj, old, "status")
            obj["metadata"] = deepcopy(old["metadata"])
            obj["spec"] = {"finalizers": wanted} if wanted else {}
        elif ctx.subresource != "status":
            keep(obj, old, "spec")

    def check_status(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        phase = (obj.get("status") or {}).get("phase", "")
        wanted = "Terminating" if obj["metadata"].get("deletionTimestamp") else "Active"
        if phase != wanted:
            reason = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            if wanted == "Terminating":
                reason = "may only be 'Active' if `deletionTimestamp` is empty"
            report.invalid("status.Phase", phase, reason)

    def after_store(self, obj: Object, old: Object | None, ctx: Context) -> Sequence[Write]:
        if old is not None:
            return ()
        name = obj["metadata"]["name"]
        account = {
            "kind": "ServiceAccount",
            "apiVersion": "v1",
            "metadata": {"name": "default", "namespace": name},
        }
        return (Write(type_of("", "serviceaccounts"), name, "default", account),)

    def field_values(self, obj: Object) -> dict[str, str]:
        return {"status.phase": (obj.get("status") or {}).get("phase", "")}
