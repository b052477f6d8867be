"""Defaults of pods and pod templates (kubernetes apis/core/v1/defaults.go).

The problem: a pod as written leaves most out; controllers, the scheduler and the node runtime want it whole, and
two servers must fill it in alike or `kubectl diff` never rests. `template` is what both pods and templates get,
`pod` adds what only pods get.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from podloom.kube.api.contract import Object
from podloom.kube.api.kinds.quantity import canonical, canonicalise

_MODE_0644 = 420
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_VOLUME_SOURCES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")


def containers(spec: Object) -> Iterator[Object]:
    """All containers of a pod spec: init, regular, ephemeral."""
    for field in _CONTAINER_LISTS:
        yield from spec.get(field) or []


def pod(obj: Object) -> None:
    """Default a Pod in place."""
    spec = obj["spec"] = obj.get("spec") or {}
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or []:
            _requests_from_limits(container)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        for field in ("initContainers", "containers"):
            for container in spec.get(field) or []:
                for port in container.get("ports") or []:
                    if not port.get("hostPort"):
                        port["hostPort"] = port.get("containerPort", 0)
    template(spec)
    _default_status(obj.get("status") or {})


def _requests_from_limits(container: Object) -> None:
    limits = (container.get("resources") or {}).get("limits")
    if not limits:
        return
    requests = container["resources"].get("requests") or {}
    container["resources"]["requests"] = {**limits, **requests}


def _default_status(status: Object) -> None:
    for one, many in (("podIP", "podIPs"), ("hostIP", "hostIPs")):
        if status.get(one) and not status.get(many):
            status[many] = [{"ip": status[one]}]
        elif status.get(many) and not status.get(one):
            status[one] = status[many][0].get("ip", "")


def template(spec: Object) -> None:
    """Default a pod spec in place, of a pod or of a template."""
    _default_accounts(spec)
    for field, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
    ):
        if spec.get(field) in (None, ""):
            spec[field] = value
    spec["securityContext"] = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or []:
        _default_volume(volume)
    for container in containers(spec):
        _default_container(container)
    canonicalise(spec.get("overhead"))
    for field in ("limits", "requests"):
        canonicalise((spec.get("resources") or {}).get(field))


def _default_accounts(spec: Object) -> None:
    """serviceAccount is the old name of serviceAccountName; both are shown."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field) is False:
            del spec[field]


def _default_volume(volume: Object) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    for kind in _VOLUME_SOURCES_WITH_MODE:
        source = volume.get(kind)
        if source is not None and source.get("defaultMode") is None:
            source["defaultMode"] = _MODE_0644
    if volume.get("hostPath") is not None and volume["hostPath"].get("type") is None:
        volume["hostPath"]["type"] = ""
    if (volume.get("emptyDir") or {}).get("sizeLimit") is not None:
        _canonical_in(volume["emptyDir"], "sizeLimit")
    _default_items(volume.get("downwardAPI"))
    for source in (volume.get("projected") or {}).get("sources") or []:
        _default_items(source.get("downwardAPI"))
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
    claim = ((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec")
    if claim is not None and claim.get("volumeMode") is None:
        claim["volumeMode"] = "Filesystem"
    image = volume.get("image")
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = pull_policy(image.get("reference", ""))


def _default_items(downward: Object | None) -> None:
    for item in (downward or {}).get("items") or []:
        _default_refs(item)


def _default_refs(holder: Object) -> None:
    if holder.get("fieldRef") is not None:
        holder["fieldRef"]["apiVersion"] = holder["fieldRef"].get("apiVersion") or "v1"
    if holder.get("resourceFieldRef") is not None:
        holder["resourceFieldRef"].setdefault("divisor", "0")
        _canonical_in(holder["resourceFieldRef"], "divisor")


def _canonical_in(holder: Object, field: str) -> None:
    try:
        holder[field] = canonical(holder[field])
    except ValueError:
        return


def pull_policy(image: str) -> str:
    """Always for an image without tag and digest or with tag latest, else IfNotPresent."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "Always" if not colon or tag == "latest" else "IfNotPresent"


def _default_container(container: Object) -> None:
    for port in container.get("ports") or []:
        port["protocol"] = port.get("protocol") or "TCP"
    for variable in container.get("env") or []:
        _default_refs(variable.get("valueFrom") or {})
    resources = container["resources"] = container.get("resources") or {}
    for field in ("limits", "requests"):
        canonicalise(resources.get(field))
    container["terminationMessagePath"] = container.get("terminationMessagePath") or "/dev/termination-log"
    container["terminationMessagePolicy"] = container.get("terminationMessagePolicy") or "File"
    container["imagePullPolicy"] = container.get("imagePullPolicy") or pull_policy(container.get("image", ""))
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(kind) is not None:
            _default_probe(container[kind])
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None:
            _default_http(handler.get("httpGet"))


def _default_probe(probe: Object) -> None:
    defaults: tuple[tuple[str, Any], ...] = (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    )
    for field, value in defaults:
        probe[field] = probe.get(field) or value
    _default_http(probe.get("httpGet"))
    if probe.get("grpc") is not None and probe["grpc"].get("service") is None:
        probe["grpc"]["service"] = ""


def _default_http(action: Object | None) -> None:
    if action is not None:
        action["path"] = action.get("path") or "/"
        action["scheme"] = action.get("scheme") or "HTTP"
