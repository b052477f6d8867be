"""RBAC: may this user do this, by the stored roles and bindings.

The problem: every request asks, so bindings are indexed by subject and the index lives until an RBAC object
changes. Semantics: Kubernetes "Using RBAC Authorization": rules only add; a RoleBinding may give a ClusterRole's
rules in one namespace; writing a role or binding must not give more than the writer has, unless the verbs
`escalate` or `bind` allow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from podloom.kube.api import errors
from podloom.kube.api.contract import Attributes, Context, Object, ResourceType, StatusError, UserInfo
from podloom.kube.api.state import State

GROUP = "rbac.authorization.k8s.io"
MASTERS = "system:masters"
_KEYS = {p: f"{GROUP}/{p}" for p in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")}

Subject = tuple[str, str]  # ("User"|"Group", name); service accounts as their user name


def _subject(subject: Object, namespace: str) -> Subject:
    if subject.get("kind") == "ServiceAccount":
        where = subject.get("namespace") or namespace
        return ("User", f"system:serviceaccount:{where}:{subject.get('name')}")
    return (subject.get("kind", ""), subject.get("name", ""))


def _has(held: Sequence[str], wanted: str) -> bool:
    return "*" in held or wanted in held


def _path_matches(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern[:-1])


def rule_allows(rule: Object, asked: Attributes) -> bool:
    """Whether one PolicyRule allows the request."""
    if not _has(rule.get("verbs") or (), asked.verb):
        return False
    if asked.path:
        return any(_path_matches(p, asked.path) for p in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups") or (), asked.group):
        return False
    resources = rule.get("resources") or ()
    whole = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    if not (_has(resources, whole) or (asked.subresource and f"*/{asked.subresource}" in resources)):
        return False
    names = rule.get("resourceNames") or ()
    return not names or asked.name in names


class Rbac:
    """The authorizer over the visible RBAC objects."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._index: dict[Subject, list[tuple[str, Object]]] | None = None
        for key in _KEYS.values():
            state.table(key).listeners.add(self._forget)

    def _forget(self, _event: object) -> None:
        self._index = None

    def _bindings(self) -> dict[Subject, list[tuple[str, Object]]]:
        """subject -> (namespace or "" for the cluster, roleRef) of its bindings."""
        if self._index is None:
            index: dict[Subject, list[tuple[str, Object]]] = {}
            for plural in ("clusterrolebindings", "rolebindings"):
                for record in self._state.table(_KEYS[plural]).records(None):
                    for subject in record.obj.get("subjects") or []:
                        entry = (record.namespace, record.obj["roleRef"])
                        index.setdefault(_subject(subject, record.namespace), []).append(entry)
            self._index = index
        return self._index

    def role_rules(self, ref: Object, namespace: str) -> list[Object]:
        """The rules of a roleRef as seen from a binding's namespace; none when the role is missing."""
        if ref.get("kind") == "ClusterRole":
            record = self._state.table(_KEYS["clusterroles"]).get("", ref.get("name", ""))
        else:
            record = self._state.table(_KEYS["roles"]).get(namespace, ref.get("name", ""))
        return (record.obj.get("rules") or []) if record else []

    def _granted(self, user: UserInfo, namespace: str) -> Iterable[tuple[str, Object, Object]]:
        """(binding namespace, roleRef, rule) for every rule in effect in a namespace ("" only the cluster's)."""
        bindings = self._bindings()
        subjects: list[Subject] = [("User", user.name), *(("Group", g) for g in user.groups)]
        for subject in subjects:
            for where, ref in bindings.get(subject, ()):
                if where and where != namespace:
                    continue
                for rule in self.role_rules(ref, where):
                    yield where, ref, rule

    def authorize(self, user: UserInfo, asked: Attributes) -> tuple[bool, str]:
        """Allowed, and by which binding's role."""
        if MASTERS in user.groups:
            return True, ""
        for where, ref, rule in self._granted(user, "" if asked.path else asked.namespace):
            if where and asked.path:
                continue
            if rule_allows(rule, asked):
                return True, f'RBAC: allowed by {ref.get("kind")} "{ref.get("name")}"'
        return False, ""

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Object], list[Object]]:
        """Resource rules and non-resource rules in effect for a user in a namespace."""
        resource: list[Object] = []
        other: list[Object] = []
        for _, _, rule in self._granted(user, namespace):
            (other if rule.get("nonResourceURLs") else resource).append(rule)
        return resource, other

    def covers(self, user: UserInfo, rules: Sequence[Object], namespace: str) -> list[Object]:
        """Those of `rules` (broken into single permissions) that the user does not have."""
        if MASTERS in user.groups:
            return []
        held = [rule for _, _, rule in self._granted(user, namespace)]
        return [part for rule in rules for part in _atoms(rule) if not any(_contains(h, part) for h in held)]


def _atoms(rule: Object) -> Iterable[Object]:
    for verb in rule.get("verbs") or []:
        for path in rule.get("nonResourceURLs") or []:
            yield {"verbs": [verb], "nonResourceURLs": [path]}
        for group in rule.get("apiGroups") or []:
            for resource in rule.get("resources") or []:
                for name in rule.get("resourceNames") or [None]:
                    atom: Object = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                    yield atom if name is None else atom | {"resourceNames": [name]}


def _contains(held: Object, atom: Object) -> bool:
    if not _has(held.get("verbs") or (), atom["verbs"][0]):
        return False
    if "nonResourceURLs" in atom:
        path = atom["nonResourceURLs"][0]
        return any(_path_matches(p, path.rstrip("*")) for p in held.get("nonResourceURLs") or ())
    resource = atom["resources"][0]
    wanted = held.get("resources") or ()
    _, _, sub = resource.partition("/")
    names = held.get("resourceNames") or []
    return (
        _has(held.get("apiGroups") or (), atom["apiGroups"][0])
        and (_has(wanted, resource) or bool(sub and f"*/{sub}" in wanted))
        and (not names or (atom.get("resourceNames", [None])[0] in names))
    )


def _shown(atom: Object) -> str:
    names = {
        "apiGroups": "APIGroups",
        "resources": "Resources",
        "resourceNames": "ResourceNames",
        "nonResourceURLs": "NonResourceURLs",
        "verbs": "Verbs",
    }
    parts = [f"{names[k]}:{_list(atom[k])}" for k in names if k in atom]
    return "{" + ", ".join(parts) + "}"


def _list(values: Sequence[Any]) -> str:
    return "[" + " ".join(f'"{v}"' for v in values) + "]"


def check_escalation(rbac: Rbac, type_: ResourceType, obj: Object, ctx: Context) -> None:
    """403 when writing this role or binding would give more than the writer has."""
    if type_.group != GROUP or MASTERS in ctx.user_info.groups:
        return
    namespace = ctx.namespace if type_.namespaced else ""
    name = obj["metadata"].get("name", "")
    if type_.plural in ("roles", "clusterroles"):
        asked = Attributes("escalate", GROUP, type_.version, type_.plural, "", namespace, name)
        rules = obj.get("rules") or []
    else:
        ref = obj.get("roleRef") or {}
        plural = "clusterroles" if ref.get("kind") == "ClusterRole" else "roles"
        asked = Attributes("bind", GROUP, type_.version, plural, "", namespace, ref.get("name", ""))
        rules = rbac.role_rules(ref, namespace)
    if rbac.authorize(ctx.user_info, asked)[0]:
        return
    missing = rbac.covers(ctx.user_info, rules, namespace)
    if missing:
        raise _escalates(type_, name, ctx.user_info, missing)


def _escalates(type_: ResourceType, name: str, user: UserInfo, missing: Sequence[Object]) -> StatusError:
    groups = _list(user.groups).replace('" "', '" "')
    lines = "\n".join(_shown(atom) for atom in missing)
    return errors.forbidden(
        type_,
        name,
        f'user "{user.name}" (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{lines}',
    )
