"""Roles and bindings: what they must have, and aggregated ClusterRoles kept whole.

The problem: a ClusterRole with an aggregationRule has the rules of all that its selectors match. A real cluster has
a controller for it; here the write of a ClusterRole rewrites the aggregated ones in the same transaction, so
permissions never lag.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from podloom.kube.api.contract import Column, Context, Object, Write
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report, label_selector, selects
from podloom.kube.api.kinds.show import text
from podloom.kube.api.kinds.types import type_of

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

    def create(self, obj: Object, ctx: Context) -> None:
        self._aggregate_self(obj, ctx)

    def update(self, obj: Object, old: Object, ctx: Context) -> None:
        self._aggregate_self(obj, ctx)

    def _aggregate_self(self, obj: Object, ctx: Context) -> None:
        if obj.get("aggregationRule"):
            others = [r for r in ctx.reader.list(GROUP, "clusterroles") if _name(r) != _name(obj)]
            obj["rules"] = aggregated(obj, others)

    def after_store(self, obj: Object, old: Object | None, ctx: Context) -> Sequence[Write]:
        return _propagate(obj, obj, ctx)

    def after_delete(self, obj: Object, ctx: Context) -> Sequence[Write]:
        return _propagate(obj, None, ctx)


def _name(role: Object) -> str:
    return str(role["metadata"].get("name", ""))


def aggregated(role: Object, others: Sequence[Object]) -> list[Object] | None:
    """The rules of an aggregated role: those of all roles its selectors match, by name, each once."""
    found: list[Object] = []
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []:
        for other in sorted(others, key=_name):
            if _name(other) == _name(role) or not selects(selector, other["metadata"].get("labels") or {}):
                continue
            found += [rule for rule in other.get("rules") or [] if rule not in found]
    return found or None


def _propagate(changed: Object, now: Object | None, ctx: Context) -> list[Write]:
    """Writes of the aggregated roles whose rules the change alters, aggregates of aggregates included."""
    roles = {_name(r): r for r in ctx.reader.list(GROUP, "clusterroles")}
    roles.pop(_name(changed), None)
    if now is not None:
        roles[_name(now)] = now
    writes: dict[str, Write] = {}
    for _ in range(3):  # admin aggregates edit aggregates view: chains are short, and a cycle must end
        stable = True
        for name, role in sorted(roles.items()):
            if not role.get("aggregationRule") or role["metadata"].get("deletionTimestamp"):
                continue
            rules = aggregated(role, list(roles.values()))
            if rules == role.get("rules"):
                continue
            stable = False
            if name != _name(changed):
                roles[name] = {**deepcopy(role), "rules": rules}
                writes[name] = Write(type_of(GROUP, "clusterroles"), "", name, roles[name])
        if stable:
            break
    return list(writes.values())


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
    role = text("Role", f"{schema}.roleRef")
    return (
        (role, lambda o, _: f"{o['roleRef'].get('kind', '')}/{o['roleRef'].get('name', '')}"),
        (text("Users", f"Users in the {shown}", 1), _subjects("User")),
        (text("Groups", f"Groups in the {shown}", 1), _subjects("Group")),
        (text("ServiceAccounts", f"ServiceAccounts in the {shown}", 1), _subjects("ServiceAccount")),
    )


class RoleBindingKind(BuiltIn):
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
    role_kinds = ("ClusterRole",)
    printed = _binding_columns("clusterrolebinding-rbac-v1")
