"""Collecting what is wrong with an object, as the causes of a 422.

The problem: the server answers with every mistake at once, in a fixed wording (k8s.io/apimachinery,
util/validation/field). A `Report` collects causes; its methods are the kinds of mistake. Paths are written as
clients read them: spec.ports[0].port.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from podloom.kube.api.contract import Cause, Object
from podloom.kube.api.kinds import formats


def spell(value: Any) -> str:
    """A value as error messages show it: strings quoted, the rest as compact JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Report:
    """The mistakes found so far."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []

    def _add(self, reason: str, message: str, path: str) -> None:
        self.causes.append(Cause(f"FieldValue{reason}", message, path))

    def required(self, path: str, detail: str = "") -> None:
        """A value that must be given is missing."""
        self._add("Required", f"Required value: {detail}" if detail else "Required value", path)

    def invalid(self, path: str, value: Any, detail: str) -> None:
        """The value has the wrong form or contradicts another."""
        self._add("Invalid", f"Invalid value: {spell(value)}: {detail}", path)

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        """The value is not among the known ones."""
        known = ", ".join(spell(item) for item in supported)
        self._add("NotSupported", f"Unsupported value: {spell(value)}: supported values: {known}", path)

    def forbidden(self, path: str, detail: str) -> None:
        """The field may not be set here."""
        self._add("Forbidden", f"Forbidden: {detail}", path)

    def duplicate(self, path: str, value: Any) -> None:
        """The value stands twice where it must be unique."""
        self._add("Duplicate", f"Duplicate value: {spell(value)}", path)

    def not_found(self, path: str, value: Any) -> None:
        """The value refers to something that is not there."""
        self._add("NotFound", f"Not found: {spell(value)}", path)

    def too_long(self, path: str, limit: int) -> None:
        """The value has more bytes than allowed."""
        self._add("TooLong", f"Too long: may not be more than {limit} bytes", path)

    def too_many(self, path: str, count: int, limit: int) -> None:
        """The list has more items than allowed."""
        noun = "item" if limit == 1 else "items"
        self._add("TooMany", f"Too many: {count}: must have at most {limit} {noun}", path)

    def format(self, path: str, value: Any, rule: Callable[[Any], list[str]]) -> bool:
        """Apply a rule of formats.py; True when the value is good."""
        wrong = rule(value)
        for text in wrong:
            self.invalid(path, value, text)
        return not wrong

    def one_of(self, path: str, value: str, supported: Iterable[str], *, required: bool = True) -> None:
        """The value is one of those supported; an empty one is missing when required."""
        if not value:
            if required:
                self.required(path)
        elif value not in (known := list(supported)):
            self.unsupported(path, value, known)

    def immutable(self, path: str, new: Any, old: Any) -> None:
        """The value may not change."""
        if new != old:
            self.invalid(path, new, "field is immutable")

    def not_negative(self, path: str, value: Any) -> None:
        """A number of at least 0; absent is good."""
        if isinstance(value, int) and value < 0:
            self.invalid(path, value, "must be greater than or equal to 0")


def labels(report: Report, path: str, value: Mapping[str, Any] | None) -> None:
    """Keys and values of a label map."""
    for key, text in (value or {}).items():
        report.format(path, key, formats.qualified_name)
        report.format(path, str(text), formats.label_value)


def label_selector(report: Report, path: str, selector: Object | None) -> None:
    """A metav1.LabelSelector: matchLabels and matchExpressions."""
    if not selector:
        return
    labels(report, f"{path}.matchLabels", selector.get("matchLabels"))
    for i, item in enumerate(selector.get("matchExpressions") or []):
        where = f"{path}.matchExpressions[{i}]"
        operator, values = item.get("operator", ""), item.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                report.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                report.forbidden(
                    f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        else:
            report.invalid(f"{where}.operator", operator, "not a valid selector operator")
        report.format(f"{where}.key", item.get("key", ""), formats.qualified_name)
        for j, text in enumerate(values):
            report.format(f"{where}.values[{j}]", text, formats.label_value)


def selects(selector: Object | None, labels_: Mapping[str, str]) -> bool:
    """Whether a metav1.LabelSelector matches labels; an empty one matches all, None nothing."""
    if selector is None:
        return False
    if any(labels_.get(key) != text for key, text in (selector.get("matchLabels") or {}).items()):
        return False
    for item in selector.get("matchExpressions") or []:
        key, values = item.get("key", ""), item.get("values") or []
        found = {
            "In": labels_.get(key) in values,
            "NotIn": key not in labels_ or labels_[key] not in values,
            "Exists": key in labels_,
            "DoesNotExist": key not in labels_,
        }
        if not found.get(item.get("operator", ""), False):
            return False
    return True


def is_empty_selector(selector: Object | None) -> bool:
    """No requirement at all."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def int_or_percent(report: Report, path: str, value: Any) -> None:
    """A whole number of at least 0, or a percentage string."""
    if isinstance(value, str):
        if not (value.endswith("%") and value[:-1].isdigit()):
            report.invalid(
                path,
                value,
                "a valid percent string must be a numeric string followed by an ending '%'"
                " (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            )
    else:
        report.not_negative(path, value)
