"""What may change in the spec of a pod that exists (kubernetes apis/core/validation, ValidatePodUpdate)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds import container_check
from podloom.kube.api.kinds.check import Report, spell

_ALLOWED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check(report: Report, spec: Object, old: Object) -> None:
    """Refuse every change but of images, deadlines, added tolerations and opened scheduling gates."""
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or []) != len(old.get(field) or []):
            noun = "containers" if field == "containers" else "init containers"
            report.forbidden(f"spec.{field}", f"pod updates may not add or remove {noun}")
            return
        for i, container in enumerate(spec.get(field) or []):
            if not container.get("image"):
                report.required(f"spec.{field}[{i}].image")
    _check_deadline(report, spec, old)
    _check_tolerations(report, spec, old)
    frozen = _with_allowed(spec, old)
    changes = list(differences(old, frozen, "spec"))
    if changes:
        report.forbidden("spec", "\n".join([_ALLOWED, *changes, ""]))


def _with_allowed(spec: Object, old: Object) -> Object:
    """The new spec with what may change set back to the old."""
    frozen = deepcopy(spec)
    for field in ("containers", "initContainers"):
        for container, before in zip(frozen.get(field) or [], old.get(field) or [], strict=False):
            container["image"] = before.get("image", "")
    allowed = ["activeDeadlineSeconds", "tolerations"]
    if old.get("schedulingGates") and _fewer(spec.get("schedulingGates") or [], old["schedulingGates"]):
        allowed += ["schedulingGates", "nodeSelector"]
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        allowed.append("terminationGracePeriodSeconds")
    for field in allowed:
        frozen.pop(field, None)
        if field in old:
            frozen[field] = old[field]
    return frozen


def _fewer(gates: list[Object], old: list[Object]) -> bool:
    return all(gate in old for gate in gates)


def _check_deadline(report: Report, spec: Object, old: Object) -> None:
    now, before = spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if now is not None and now < 0:
        report.invalid("spec.activeDeadlineSeconds", now, "must be between 0 and 2147483647, inclusive")
    elif now is not None and before is not None and now > before:
        report.invalid("spec.activeDeadlineSeconds", now, "must be less than or equal to previous value")
    elif now is None and before is not None:
        report.invalid("spec.activeDeadlineSeconds", now, "must not update from a positive integer to nil value")


def _check_tolerations(report: Report, spec: Object, old: Object) -> None:
    def bare(toleration: Object) -> Object:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    now = [bare(t) for t in spec.get("tolerations") or []]
    for toleration in old.get("tolerations") or []:
        if bare(toleration) not in now:
            why = "existing toleration can not be modified except its tolerationSeconds"
            report.forbidden("spec.tolerations", why)
            return


def differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """Lines `- path: old` and `+ path: new` of what differs; absent and empty are the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{i}]")
    elif (old or None) != (new or None):
        yield f"- {path}: {spell(old)}"
        yield f"+ {path}: {spell(new)}"


def check_ephemeral(report: Report, spec: Object, old: Object) -> None:
    """Ephemeral containers may be added; those there stay as they are."""
    before = {c.get("name"): c for c in old.get("ephemeralContainers") or []}
    others = {c.get("name") for f in ("containers", "initContainers") for c in spec.get(f) or []}
    volumes = {v.get("name", ""): v for v in spec.get("volumes") or []}
    seen: set[str] = set()
    for i, container in enumerate(spec.get("ephemeralContainers") or []):
        where, name = f"spec.ephemeralContainers[{i}]", container.get("name", "")
        container_check.check_container(report, where, container, volumes)
        if name in seen or name in others:
            report.duplicate(f"{where}.name", name)
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            report.not_found(f"{where}.targetContainerName", target)
        for field in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if container.get(field):
                report.forbidden(f"{where}.{field}", "cannot be set for an Ephemeral Container")
        if name in before and before[name] != container:
            why = f'existing ephemeral containers "{name}" may not be changed'
            report.forbidden("spec.ephemeralContainers", why)
    for name in before:
        if name not in seen:
            why = f'existing ephemeral containers "{name}" may not be removed'
            report.forbidden("spec.ephemeralContainers", why)
