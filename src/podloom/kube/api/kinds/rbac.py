"""Roles and bindings: what they must have (kubernetes apis/rbac/validation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podloom.kube.api.contract import Column, Context, Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report, label_selector
from podloom.kube.api.kinds.show import text

GROUP = "rbac.authorization.k8s.io"


def _check_rules(report: Report, rules: Sequence[Object] | None, *, namespaced: bool) -> None:
    for i, rule in enumerate(rules or []):
        where = f"rules[{i}]"
        if not rule.get("verbs"):
            report.required(f"{where}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if namespaced:
                report.invalid(
                    f"{where}.nonResourceURLs",
                    rule["nonResourceURLs"],
                    "namespaced rules cannot apply to non-resource URLs",
                )
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                report.invalid(
                    f"{where}.nonResourceURLs",
                    rule["nonResourceURLs"],
                    "rules cannot apply to both regular resources and non-resource URLs",
                )
            continue
        if not rule.get("apiGroups"):
            report.required(f"{where}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            report.required(f"{where}.resources", "resource rules must supply at least one resource")


class RoleKind(BuiltIn):
    """Rules within a namespace."""

    name_rule = "path"
    create_on_update = True
    namespaced = True
    shows_age = False
    printed = ((Column("Created At", "date", "", ""), lambda o, _: o["metadata"].get("creationTimestamp")),)

    def columns(self) -> Sequence[Column]:
        name, _ = super().columns()
        return [name, Column("Created At", "date", "", text("", "objectmeta-meta-v1.creationTimestamp").description)]

    def default(self, obj: Object, ctx: Context) -> None:
        obj.setdefault("rules", None)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        _check_rules(report, obj.get("rules"), namespaced=self.namespaced)


class ClusterRoleKind(RoleKind):
    """Rules for the whole cluster, or the sum of other roles."""

    namespaced = False

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        super().check(report, obj, old, ctx)
        rule = obj.get("aggregationRule")
        if not rule:
            return
        selectors = rule.get("clusterRoleSelectors") or []
        if not selectors:
            report.required(
                "aggregationRule.clusterRoleSelectors",
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            )
        for i, selector in enumerate(selectors):
            label_selector(report, f"aggregationRule.clusterRoleSelectors[{i}]", selector)


def _subjects(kind: str) -> Any:
    def cell(obj: Object, _: str) -> str:
        found = [s for s in obj.get("subjects") or [] if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s.get('name', '')}" for s in found)
        return ", ".join(s.get("name", "") for s in found)

    return cell


def _binding_columns(schema: str) -> tuple[tuple[Column, Any], ...]:
    name = schema.split("-", maxsplit=1)[0]
    shown = {"rolebinding": "roleBinding", "clusterrolebinding": "clusterRoleBinding"}[name]
    role = text("Role", text("", f"{schema}.roleRef").description.removesuffix(" This field is immutable."))
    return (
        (role, lambda o, _: f"{o['roleRef'].get('kind', '')}/{o['roleRef'].get('name', '')}"),
        (text("Users", f"Users in the {shown}", 1), _subjects("User")),
        (text("Groups", f"Groups in the {shown}", 1), _subjects("Group")),
        (text("ServiceAccounts", f"ServiceAccounts in the {shown}", 1), _subjects("ServiceAccount")),
    )


class RoleBindingKind(BuiltIn):
    """Subjects of a role, whose reference never changes."""

    name_rule = "path"
    create_on_update = True
    role_kinds: tuple[str, ...] = ("Role", "ClusterRole")
    printed = _binding_columns("rolebinding-rbac-v1")

    def default(self, obj: Object, ctx: Context) -> None:
        role = obj["roleRef"] = obj.get("roleRef") or {}
        role["apiGroup"] = role.get("apiGroup") or GROUP
        for subject in obj.get("subjects") or []:
            if subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = subject.get("apiGroup") or GROUP

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        role = obj["roleRef"]
        if role["apiGroup"] != GROUP:
            report.unsupported("roleRef.apiGroup", role["apiGroup"], [GROUP])
        if role.get("kind", "") not in self.role_kinds:
            report.unsupported("roleRef.kind", role.get("kind", ""), self.role_kinds)
        if not role.get("name"):
            report.required("roleRef.name")
        else:
            report.format("roleRef.name", role["name"], formats.path_segment)
        for i, subject in enumerate(obj.get("subjects") or []):
            self._check_subject(report, f"subjects[{i}]", subject)

    def _check_subject(self, report: Report, where: str, subject: Object) -> None:
        kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
        if not name:
            report.required(f"{where}.name")
        if kind == "ServiceAccount":
            if name:
                report.format(f"{where}.name", name, formats.dns_subdomain)
            if group:
                report.unsupported(f"{where}.apiGroup", group, [""])
            if self.role_kinds[0] == "ClusterRole" and not subject.get("namespace"):
                report.required(f"{where}.namespace")
        elif kind in ("User", "Group"):
            if group != GROUP:
                report.unsupported(f"{where}.apiGroup", group, [GROUP])
        else:
            report.unsupported(f"{where}.kind", kind, ["ServiceAccount", "User", "Group"])

    def check_change(self, report: Report, obj: Object, old: Object, ctx: Context) -> None:
        if obj["roleRef"] != old.get("roleRef"):
            report.invalid("roleRef", obj["roleRef"], "cannot change roleRef")


class ClusterRoleBindingKind(RoleBindingKind):
    """Subjects of a ClusterRole, for the whole cluster."""

    role_kinds = ("ClusterRole",)
    printed = _binding_columns("clusterrolebinding-rbac-v1")
