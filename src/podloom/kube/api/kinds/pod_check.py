"""What is wrong with a pod spec, of a pod or a template (kubernetes apis/core/validation, ValidatePodSpec)."""

from __future__ import annotations

from collections.abc import Sequence

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds import container_check, formats, volume_check
from podloom.kube.api.kinds.check import Report, label_selector, labels

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Equal", "Exists", "Gt", "Lt")
_MAX_INT32 = (1 << 31) - 1


def check_template(
    report: Report,
    template: Object,
    path: str,
    restart: Sequence[str] = _RESTART,
    *,
    claims: Sequence[str] = (),
) -> None:
    """A PodTemplateSpec; `restart` are the policies its owner allows, `claims` the volumes it will add."""
    metadata = template.get("metadata") or {}
    labels(report, f"{path}.labels", metadata.get("labels"))
    for key in metadata.get("annotations") or {}:
        report.format(f"{path}.annotations", key, formats.qualified_name)
    check_spec(report, template.get("spec") or {}, f"{path}.spec", claims=claims)
    policy = (template.get("spec") or {}).get("restartPolicy", "")
    if policy in _RESTART and policy not in restart:
        report.unsupported(f"{path}.spec.restartPolicy", policy, restart)


def check_spec(report: Report, spec: Object, path: str = "spec", *, claims: Sequence[str] = ()) -> None:
    """A PodSpec after defaulting."""
    volumes: dict[str, Object] = {name: {} for name in claims}
    volumes |= volume_check.check_volumes(report, f"{path}.volumes", spec.get("volumes") or [])
    _check_containers(report, spec, path, volumes)
    report.one_of(f"{path}.restartPolicy", spec.get("restartPolicy", ""), _RESTART)
    report.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy", ""), _DNS)
    labels(report, f"{path}.nodeSelector", spec.get("nodeSelector"))
    if spec.get("hostNetwork"):
        _check_host_network(report, spec, path)
    for i, secret in enumerate(spec.get("imagePullSecrets") or []):
        if not secret.get("name"):
            report.required(f"{path}.imagePullSecrets[{i}].name")
    _check_affinity(report, f"{path}.affinity", spec.get("affinity") or {})
    _check_dns(report, f"{path}.dnsConfig", spec)
    for i, gate in enumerate(spec.get("readinessGates") or []):
        report.format(
            f"{path}.readinessGates[{i}].conditionType", gate.get("conditionType", ""), formats.qualified_name
        )
    _check_spread(report, f"{path}.topologySpreadConstraints", spec.get("topologySpreadConstraints") or [])
    _check_names(report, spec, path)
    _check_numbers(report, spec, path)
    check_tolerations(report, f"{path}.tolerations", spec.get("tolerations") or [])
    for i, alias in enumerate(spec.get("hostAliases") or []):
        report.format(f"{path}.hostAliases[{i}].ip", alias.get("ip", ""), formats.ip)
        for j, name in enumerate(alias.get("hostnames") or []):
            report.format(f"{path}.hostAliases[{i}].hostnames[{j}]", name, formats.dns_subdomain)


def _check_containers(report: Report, spec: Object, path: str, volumes: dict[str, Object]) -> None:
    regular = spec.get("containers") or []
    if not regular:
        report.required(f"{path}.containers")
        return
    names: set[str] = set()
    host_ports: set[tuple[str, str, int]] = set()
    for i, container in enumerate(regular):
        where = f"{path}.containers[{i}]"
        container_check.check_container(report, where, container, volumes)
        _unique(report, f"{where}.name", container, names)
        container_check.check_life(report, where, container)
        container_check.check_host_ports(report, where, container, host_ports)
    for i, container in enumerate(spec.get("initContainers") or []):
        where = f"{path}.initContainers[{i}]"
        container_check.check_container(report, where, container, volumes)
        _unique(report, f"{where}.name", container, names)
        if container.get("restartPolicy") == "Always":
            container_check.check_life(report, where, container)
        else:
            for kind in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(kind) is not None:
                    report.forbidden(
                        f"{where}.{kind}", "may not be set for init containers without restartPolicy=Always"
                    )


def _unique(report: Report, where: str, container: Object, names: set[str]) -> None:
    name = container.get("name", "")
    if name and name in names:
        report.duplicate(where, name)
    names.add(name)


def _check_host_network(report: Report, spec: Object, path: str) -> None:
    for i, container in enumerate(spec.get("containers") or []):
        for j, port in enumerate(container.get("ports") or []):
            if port.get("hostPort") and port["hostPort"] != port.get("containerPort"):
                where = f"{path}.containers[{i}].ports[{j}].containerPort"
                report.invalid(where, port.get("containerPort", 0), "must match `hostPort` when `hostNetwork` is true")


def _check_dns(report: Report, where: str, spec: Object) -> None:
    config = spec.get("dnsConfig") or {}
    servers = config.get("nameservers") or []
    if spec.get("dnsPolicy") == "None" and not servers:
        report.required(where, "must provide `dnsConfig` when `dnsPolicy` is None")
    if len(servers) > 3:
        report.invalid(f"{where}.nameservers", servers, "must not have more than 3 nameservers")
    for i, server in enumerate(servers):
        report.format(f"{where}.nameservers[{i}]", server, formats.ip)
    if len(config.get("searches") or []) > 32:
        report.invalid(f"{where}.searches", config["searches"], "must not have more than 32 search paths")
    for i, option in enumerate(config.get("options") or []):
        if not option.get("name"):
            report.required(f"{where}.options[{i}]", "must not be empty")


def _check_names(report: Report, spec: Object, path: str) -> None:
    for field, rule in (
        ("serviceAccountName", formats.dns_subdomain),
        ("nodeName", formats.dns_subdomain),
        ("hostname", formats.dns_label),
        ("subdomain", formats.dns_label),
        ("priorityClassName", formats.dns_subdomain),
        ("runtimeClassName", formats.dns_subdomain),
    ):
        if spec.get(field):
            report.format(f"{path}.{field}", spec[field], rule)


def _check_numbers(report: Report, spec: Object, path: str) -> None:
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        report.invalid(f"{path}.activeDeadlineSeconds", deadline, f"must be between 1 and {_MAX_INT32}, inclusive")
    report.not_negative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))


def check_tolerations(report: Report, path: str, tolerations: list[Object]) -> None:
    """Tolerations of a pod or of a class."""
    for i, toleration in enumerate(tolerations):
        where, key = f"{path}[{i}]", toleration.get("key", "")
        operator = toleration.get("operator") or "Equal"
        if key:
            report.format(f"{where}.key", key, formats.qualified_name)
        elif operator != "Exists":
            report.invalid(
                f"{where}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if toleration.get("tolerationSeconds") is not None and toleration.get("effect") not in ("NoExecute",):
            effect = toleration.get("effect", "")
            report.invalid(f"{where}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator not in _OPERATORS:
            report.unsupported(f"{where}.operator", operator, _OPERATORS[:2])
        elif operator == "Exists" and toleration.get("value"):
            report.invalid(f"{where}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
        elif operator == "Equal":
            report.format(f"{where}.operator", toleration.get("value", ""), formats.label_value)
        report.one_of(f"{where}.effect", toleration.get("effect", ""), EFFECTS, required=False)


def _check_spread(report: Report, path: str, constraints: list[Object]) -> None:
    for i, constraint in enumerate(constraints):
        where = f"{path}[{i}]"
        if (constraint.get("maxSkew") or 0) <= 0:
            report.invalid(f"{where}.maxSkew", constraint.get("maxSkew", 0), "must be greater than zero")
        if not constraint.get("topologyKey"):
            report.required(f"{where}.topologyKey", "can not be empty")
        report.one_of(
            f"{where}.whenUnsatisfiable", constraint.get("whenUnsatisfiable", ""), ("DoNotSchedule", "ScheduleAnyway")
        )
        label_selector(report, f"{where}.labelSelector", constraint.get("labelSelector"))


def _check_affinity(report: Report, path: str, affinity: Object) -> None:
    node = affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    where = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    if required is not None:
        if not required.get("nodeSelectorTerms"):
            report.required(f"{where}.nodeSelectorTerms", "must have at least one node selector term")
        for i, term in enumerate(required.get("nodeSelectorTerms") or []):
            _check_term(report, f"{where}.nodeSelectorTerms[{i}]", term)
    for field in ("podAffinity", "podAntiAffinity"):
        terms = (affinity.get(field) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or []
        for i, term in enumerate(terms):
            at = f"{path}.{field}.requiredDuringSchedulingIgnoredDuringExecution[{i}]"
            label_selector(report, f"{at}.labelSelector", term.get("labelSelector"))
            if not term.get("topologyKey"):
                report.required(f"{at}.topologyKey", "can not be empty")


def _check_term(report: Report, path: str, term: Object) -> None:
    known = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
    for i, item in enumerate(term.get("matchExpressions") or []):
        where, values = f"{path}.matchExpressions[{i}]", item.get("values") or []
        operator = item.get("operator", "")
        if operator not in known:
            report.invalid(f"{where}.operator", operator, "not a valid selector operator")
        elif operator in ("In", "NotIn") and not values:
            report.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            report.forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif operator in ("Gt", "Lt") and len(values) != 1:
            report.required(f"{where}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        report.format(f"{where}.key", item.get("key", ""), formats.qualified_name)
