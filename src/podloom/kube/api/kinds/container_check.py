"""What is wrong with a container (kubernetes apis/core/validation, validateContainers)."""

from __future__ import annotations

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.quantity import amount, canonical

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL = ("Always", "IfNotPresent", "Never")
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)


def check_container(report: Report, where: str, container: Object, volumes: dict[str, Object]) -> None:
    """What every kind of container must have."""
    name, image = container.get("name", ""), container.get("image", "")
    if name:
        report.format(f"{where}.name", name, formats.dns_label)
    else:
        report.required(f"{where}.name")
    if not image:
        report.required(f"{where}.image")
    elif image != image.strip():
        report.invalid(f"{where}.image", image, "must not have leading or trailing whitespace")
    policy = container.get("terminationMessagePolicy", "")
    report.one_of(f"{where}.terminationMessagePolicy", policy, ("FallbackToLogsOnError", "File"))
    _check_ports(report, f"{where}.ports", container.get("ports") or [])
    for i, variable in enumerate(container.get("env") or []):
        _check_env(report, f"{where}.env[{i}]", variable)
    for i, source in enumerate(container.get("envFrom") or []):
        _check_env_from(report, f"{where}.envFrom[{i}]", source)
    _check_mounts(report, f"{where}.volumeMounts", container.get("volumeMounts") or [], volumes)
    report.one_of(f"{where}.imagePullPolicy", container.get("imagePullPolicy", ""), _PULL)
    check_resources(report, f"{where}.resources", container.get("resources") or {})


def _check_ports(report: Report, path: str, ports: list[Object]) -> None:
    names: set[str] = set()
    for i, port in enumerate(ports):
        where, name = f"{path}[{i}]", port.get("name", "")
        if name and report.format(f"{where}.name", name, formats.port_name):
            if name in names:
                report.duplicate(f"{where}.name", name)
            names.add(name)
        if not port.get("containerPort"):
            report.required(f"{where}.containerPort")
        else:
            report.format(f"{where}.containerPort", port["containerPort"], formats.port_number)
        if port.get("hostPort"):
            report.format(f"{where}.hostPort", port["hostPort"], formats.port_number)
        report.one_of(f"{where}.protocol", port.get("protocol", ""), _PROTOCOLS)


def check_host_ports(report: Report, path: str, container: Object, taken: set[tuple[str, str, int]]) -> None:
    """A host port stands once in a pod for a protocol and host address."""
    for i, port in enumerate(container.get("ports") or []):
        number = port.get("hostPort")
        if not number:
            continue
        key = (port.get("protocol", ""), port.get("hostIP", ""), number)
        if key in taken:
            report.duplicate(f"{path}.ports[{i}].hostPort", f"{key[0]}/{key[1]}/{number}")
        taken.add(key)


def _check_env(report: Report, where: str, variable: Object) -> None:
    name = variable.get("name", "")
    if name:
        report.format(f"{where}.name", name, formats.env_name)
    else:
        report.required(f"{where}.name")
    source = variable.get("valueFrom")
    if source is None:
        return
    given = [kind for kind in _ENV_SOURCES if source.get(kind) is not None]
    if variable.get("value"):
        report.invalid(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
    if not given:
        known = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        report.invalid(f"{where}.valueFrom", "", f"must specify one of: {known}")
    elif len(given) > 1:
        report.invalid(f"{where}.valueFrom", "", "may not have more than one field specified at a time")
    if source.get("fieldRef") is not None:
        check_field_ref(report, f"{where}.valueFrom.fieldRef", source["fieldRef"], FIELD_PATHS)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind) is not None:
            key = source[kind].get("key", "")
            if not key:
                report.required(f"{where}.valueFrom.{kind}.key")
            else:
                report.format(f"{where}.valueFrom.{kind}.key", key, formats.config_key)


def check_field_ref(report: Report, where: str, ref: Object, known: tuple[str, ...]) -> None:
    """An ObjectFieldSelector: one of the known paths, or one label or annotation."""
    path = ref.get("fieldPath", "")
    if not path:
        report.required(f"{where}.fieldPath")
        return
    base, bracket, rest = path.partition("[")
    if bracket and base in ("metadata.labels", "metadata.annotations") and rest.startswith("'"):
        key = rest.removeprefix("'").removesuffix("]").removesuffix("'")
        report.format(f"{where}.fieldPath", key, formats.qualified_name)
    elif path not in known:
        report.unsupported(f"{where}.fieldPath", path, sorted(known))


def _check_env_from(report: Report, where: str, source: Object) -> None:
    kinds = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
    if not kinds:
        report.invalid(where, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(kinds) > 1:
        report.invalid(where, "", "may not have more than one field specified at a time")
    for kind in kinds:
        if not source[kind].get("name"):
            report.required(f"{where}.{kind}.name")


def _check_mounts(report: Report, path: str, mounts: list[Object], volumes: dict[str, Object]) -> None:
    seen: set[str] = set()
    for i, mount in enumerate(mounts):
        where, name, at = f"{path}[{i}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            report.required(f"{where}.name")
        elif name not in volumes:
            report.not_found(f"{where}.name", name)
        if not at:
            report.required(f"{where}.mountPath")
        elif at in seen:
            report.invalid(f"{where}.mountPath", at, "must be unique")
        seen.add(at)
        if mount.get("subPath") and mount.get("subPathExpr"):
            report.invalid(
                f"{where}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
            )
        for field in ("subPath", "subPathExpr"):
            local_path(report, f"{where}.{field}", mount.get(field, ""))


def local_path(report: Report, where: str, value: str) -> None:
    """A relative path that stays below its base."""
    if value.startswith("/"):
        report.invalid(where, value, "must be a relative path")
    if ".." in value.split("/"):
        report.invalid(where, value, "must not contain '..'")


def check_resources(report: Report, where: str, resources: Object) -> None:
    """Limits and requests: known names, no negative amounts, requests within limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, values in (("limits", limits), ("requests", requests)):
        for name, value in values.items():
            _check_resource(report, f"{where}.{field}", name, value)
            if field == "requests" and name in limits and amount(value) > amount(limits[name]):
                why = f"must be less than or equal to {name} limit of {canonical(limits[name])}"
                report.invalid(f"{where}.requests", canonical(value), why)


def _check_resource(report: Report, path: str, name: str, value: object) -> None:
    where = f"{path}[{name}]"
    report.format(where, name, formats.qualified_name)
    if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        report.invalid(where, name, "must be a standard resource type or fully qualified")
        report.invalid(where, name, "must be a standard resource for containers")
    try:
        if amount(value) < 0:
            report.invalid(where, canonical(value), "must be greater than or equal to 0")
    except ValueError:
        report.invalid(where, value, "must be a quantity")


def check_life(report: Report, where: str, container: Object) -> None:
    """Lifecycle hooks and probes."""
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None:
            _check_handler(report, f"{where}.lifecycle.{hook}", handler)
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(kind)
        if probe is None:
            continue
        at = f"{where}.{kind}"
        _check_handler(report, at, probe)
        for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
            report.not_negative(f"{at}.{field}", probe.get(field))
        if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            report.invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")


def _check_handler(report: Report, where: str, handler: Object) -> None:
    given = [kind for kind in _HANDLERS if handler.get(kind) is not None]
    if not given:
        report.required(where, "must specify a handler type")
    for kind in given[1:]:
        report.forbidden(f"{where}.{kind}", "may not specify more than 1 handler type")
    kind = given[0] if given else ""
    action = handler.get(kind) or {}
    if kind == "exec" and not action.get("command"):
        report.required(f"{where}.exec.command")
    elif kind in ("httpGet", "tcpSocket", "grpc"):
        port = action.get("port", 0)
        rule = formats.port_name if isinstance(port, str) else formats.port_number
        report.format(f"{where}.{kind}.port", port, rule)
        if kind == "httpGet":
            report.one_of(f"{where}.httpGet.scheme", action.get("scheme", ""), ("HTTP", "HTTPS"))
