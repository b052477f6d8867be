"""What is wrong with a pod's volumes (kubernetes apis/core/validation, ValidateVolumes)."""

from __future__ import annotations

from collections.abc import Callable

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.container_check import check_field_ref, local_path

_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_DOWNWARD = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")


def check_volumes(report: Report, path: str, volumes: list[Object]) -> dict[str, Object]:
    """Check volumes; returns the good ones by name, for the mounts to refer to."""
    known: dict[str, Object] = {}
    for i, volume in enumerate(volumes):
        where, name = f"{path}[{i}]", volume.get("name", "")
        before = len(report.causes)
        _check_source(report, where, volume)
        if not name:
            report.required(f"{where}.name")
        elif not report.format(f"{where}.name", name, formats.dns_label):
            pass
        elif name in known:
            report.duplicate(f"{where}.name", name)
        if len(report.causes) == before:
            known[name] = volume
    return known


def _check_source(report: Report, where: str, volume: Object) -> None:
    given = [kind for kind, value in volume.items() if kind != "name" and value is not None]
    if not given:
        report.required(where, "must specify a volume type")
    for kind in given[1:]:
        report.forbidden(f"{where}.{kind}", "may not specify more than 1 volume type")
    if given and given[0] in _SOURCES:
        _SOURCES[given[0]](report, f"{where}.{given[0]}", volume[given[0]])


def _host_path(report: Report, where: str, source: Object) -> None:
    path = source.get("path", "")
    if not path:
        report.required(f"{where}.path")
    elif ".." in path.split("/"):
        report.invalid(f"{where}.path", path, "must not contain '..'")
    if source.get("type") not in (None, *_HOST_PATH_TYPES):
        report.unsupported(f"{where}.type", source["type"], _HOST_PATH_TYPES)


def _config_map(report: Report, where: str, source: Object) -> None:
    if not source.get("name"):
        report.required(f"{where}.name")
    _mode(report, where, source)
    _items(report, where, source)


def _secret(report: Report, where: str, source: Object) -> None:
    if not source.get("secretName"):
        report.required(f"{where}.secretName")
    _mode(report, where, source)
    _items(report, where, source)


def _mode(report: Report, where: str, source: Object) -> None:
    mode = source.get("defaultMode")
    if mode is not None and not 0 <= mode <= 0o777:
        report.invalid(f"{where}.defaultMode", mode, "must be a number between 0 and 0777 (octal), both inclusive")


def _items(report: Report, where: str, source: Object) -> None:
    for i, item in enumerate(source.get("items") or []):
        at = f"{where}.items[{i}]"
        for field in ("key", "path"):
            if not item.get(field):
                report.required(f"{at}.{field}")
        local_path(report, f"{at}.path", item.get("path", ""))


def _downward(report: Report, where: str, source: Object) -> None:
    _mode(report, where, source)
    for i, item in enumerate(source.get("items") or []):
        at = f"{where}.items[{i}]"
        if not item.get("path"):
            report.required(f"{at}.path")
        local_path(report, f"{at}.path", item.get("path", ""))
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None and resource is not None:
            report.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif field is not None:
            check_field_ref(report, f"{at}.fieldRef", field, _DOWNWARD)
        elif resource is None:
            report.required(at, "one of fieldRef and resourceFieldRef is required")


def _projected(report: Report, where: str, source: Object) -> None:
    _mode(report, where, source)
    for i, part in enumerate(source.get("sources") or []):
        at = f"{where}.sources[{i}]"
        kinds = [kind for kind, value in part.items() if value is not None]
        for kind in kinds[1:]:
            report.forbidden(f"{at}.{kind}", "may not specify more than 1 volume type")
        for kind in ("configMap", "secret"):
            if part.get(kind) is not None and not part[kind].get("name"):
                report.required(f"{at}.{kind}.name")
        token = part.get("serviceAccountToken")
        if token is not None:
            if not token.get("path"):
                report.required(f"{at}.serviceAccountToken.path")
            if (token.get("expirationSeconds") or 0) < 600:
                why = "may not specify a duration less than 10 minutes"
                report.invalid(f"{at}.serviceAccountToken.expirationSeconds", token.get("expirationSeconds"), why)


def _claim(report: Report, where: str, source: Object) -> None:
    if not source.get("claimName"):
        report.required(f"{where}.claimName")


_SOURCES: dict[str, Callable[[Report, str, Object], None]] = {
    "hostPath": _host_path,
    "configMap": _config_map,
    "secret": _secret,
    "downwardAPI": _downward,
    "projected": _projected,
    "persistentVolumeClaim": _claim,
}
