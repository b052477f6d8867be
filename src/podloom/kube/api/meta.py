"""ObjectMeta: what the server fills in, what it refuses, and what a client may not change.

The problem: every kind shares these rules (Kubernetes API conventions "Metadata", "Object names and IDs",
"Labels", "Annotations"), and their error texts are part of the interface.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from podloom.kube.api.contract import Cause, Kind, Object

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ANNOTATIONS_BYTES_MAX = 256 * 1024
_BLOCKING_OWNERS = (("v1", "Event"),)

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_NAME_PART_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def now_text() -> str:
    """The current time as metav1.Time has it: RFC 3339, seconds, Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def random_suffix(count: int = 5) -> str:
    """A generateName suffix: letters and digits that make no words."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


def generated_name(base: str) -> str:
    return base[: 63 - 5] + random_suffix()


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def subdomain_errors(value: str) -> list[str]:
    """What is wrong with a DNS-1123 subdomain."""
    found = [_too_long(253)] if len(value) > 253 else []
    return found + ([] if _SUBDOMAIN.fullmatch(value) else [_SUBDOMAIN_TEXT])


def label_errors(value: str) -> list[str]:
    """What is wrong with a DNS-1123 label."""
    found = [_too_long(63)] if len(value) > 63 else []
    return found + ([] if _LABEL.fullmatch(value) else [_LABEL_TEXT])


def dns1035_errors(value: str) -> list[str]:
    """What is wrong with a DNS-1035 label."""
    found = [_too_long(63)] if len(value) > 63 else []
    return found + ([] if _LABEL_1035.fullmatch(value) else [_LABEL_1035_TEXT])


def path_errors(value: str) -> list[str]:
    """What is wrong with a path segment name (RBAC objects)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in ("/", "%") if c in value]


_RULES: dict[str, Callable[[str], list[str]]] = {
    "subdomain": subdomain_errors,
    "label": label_errors,
    "dns1035": dns1035_errors,
    "path": path_errors,
    "custom": lambda _value: [],
}


def qualified_name_errors(value: str) -> list[str]:
    """What is wrong with a label or annotation key, or a finalizer: [prefix/]name."""
    parts = value.split("/")
    errors = []
    if len(parts) > 2:
        return [
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ]
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {e}" for e in subdomain_errors(parts[0])]
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append("name part must be no more than 63 characters")
    if not _NAME_PART.fullmatch(name):
        errors.append(_NAME_PART_TEXT)
    return errors


def label_value_errors(value: str) -> list[str]:
    """What is wrong with a label value."""
    found = [_too_long(63)] if len(value) > 63 else []
    return found + ([] if _VALUE.fullmatch(value) else [_VALUE_TEXT])


def _wrong(field: str, value: str, why: str) -> Cause:
    shown = value.replace("\\", "\\\\").replace('"', '\\"')
    return Cause("FieldValueInvalid", f'Invalid value: "{shown}": {why}', field)


def validate(obj: Object, kind: Kind, namespaced: bool) -> list[Cause]:
    """Every mistake of metadata, in the reference server's order."""
    meta = obj["metadata"]
    causes: list[Cause] = []
    rule = _RULES[kind.name_rule]
    base = meta.get("generateName", "")
    if base:
        text = base[:-1] if base.endswith("-") else base
        causes += [_wrong("metadata.generateName", base, e) for e in rule(text)]
    name = meta.get("name", "")
    if not name:
        causes.append(Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name"))
    elif not base:
        causes += [_wrong("metadata.name", name, e) for e in rule(name)]
    if namespaced and not meta.get("namespace"):
        causes.append(Cause("FieldValueRequired", "Required value", "metadata.namespace"))
    return causes + _validate_maps(meta) + _validate_lists(meta)


def _validate_maps(meta: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in sorted((meta.get("labels") or {}).items(), key=_as_written(meta)):
        causes += [_wrong("metadata.labels", key, e) for e in qualified_name_errors(key)]
        causes += [_wrong("metadata.labels", value, e) for e in label_value_errors(value)]
    size = 0
    for key, value in (meta.get("annotations") or {}).items():
        causes += [_wrong("metadata.annotations", key, e) for e in qualified_name_errors(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > _ANNOTATIONS_BYTES_MAX:
        causes.append(
            Cause(
                "FieldValueTooLong",
                f"Too long: may not be more than {_ANNOTATIONS_BYTES_MAX} bytes",
                "metadata.annotations",
            )
        )
    return causes


def _as_written(meta: Object) -> Callable[[tuple[str, str]], int]:
    order = {key: at for at, key in enumerate(meta.get("labels") or {})}
    return lambda item: order[item[0]]


def _validate_lists(meta: Object) -> list[Cause]:
    causes: list[Cause] = []
    controllers = []
    for at, owner in enumerate(meta.get("ownerReferences") or []):
        path = f"metadata.ownerReferences[{at}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(
                    _wrong(
                        f"{path}.{field}",
                        "",
                        "version must not be empty" if field == "apiVersion" else "must not be empty",
                    )
                )
        if (owner.get("apiVersion"), owner.get("kind")) in _BLOCKING_OWNERS:
            causes.append(_wrong(path, owner["kind"], "is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(owner.get("name", ""))
    if len(controllers) > 1:
        causes.append(
            _wrong(
                "metadata.ownerReferences",
                str(controllers),
                "Only one reference can have Controller set to true. Found "
                f'"true" in references for {controllers[0]} and {controllers[1]}',
            )
        )
    for finalizer in meta.get("finalizers") or []:
        causes += [_wrong("metadata.finalizers", finalizer, e) for e in qualified_name_errors(finalizer)]
        if "/" not in finalizer and finalizer not in ("orphan", "foregroundDeletion", "kubernetes"):
            causes.append(
                _wrong(
                    "metadata.finalizers",
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    return causes


def validate_finalizer_change(obj: Object, old: Object) -> list[Cause]:
    """An object being deleted may lose finalizers but gain none."""
    if not old["metadata"].get("deletionTimestamp"):
        return []
    before = old["metadata"].get("finalizers") or []
    added = [f for f in obj["metadata"].get("finalizers") or [] if f not in before]
    if not added:
        return []
    shown = ", ".join(f'"{f}"' for f in added)
    why = (
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        f"[]string{{{shown}}}"
    )
    return [Cause("FieldValueForbidden", why, "metadata.finalizers")] * 2
