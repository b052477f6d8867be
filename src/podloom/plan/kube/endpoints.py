"""Which addresses stand behind a Service: EndpointSlices and the older Endpoints.

The problem: every change of a pod moves some endpoint, and watchers on every node pay for each slice written. So
the wanted endpoints are compared with the slices that exist: those that fit stay where they are, new ones fill
slices with room, and only slices that differ are written. Deterministic up to the names of new slices.

Sources: Kubernetes "EndpointSlices" page; discovery.k8s.io/v1; conditions ready, serving and terminating.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podloom.model.kube import SERVICES, Object, owner_reference
from podloom.plan.kube.pods import is_finished, is_ready

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
MIRROR = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
HEADLESS = "service.kubernetes.io/headless"
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
ZONE = "topology.kubernetes.io/zone"
MOST_PER_SLICE = 100
MOST_IN_ENDPOINTS = 1000
_RESERVED = {SERVICE_NAME, MANAGED_BY, HEADLESS}
Ports = tuple[tuple[str, str, int | None, str], ...]  # (name, protocol, port, appProtocol), sorted


@dataclass
class SlicePlan:
    """EndpointSlices to create, replace (with the resourceVersion they were read at) and delete."""

    create: list[Object] = field(default_factory=list)
    replace: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def addresses_of(pod: Object, family: str) -> list[str]:
    """The pod's addresses of one family, `IPv4` or `IPv6`."""
    status = pod.get("status", {})
    found = [entry["ip"] for entry in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return [ip for ip in found if ip and (":" in ip) == (family == "IPv6")]


def families_of(service: Object) -> list[str]:
    """The Service's families; a headless one made before defaulting counts as IPv4."""
    return list(service["spec"].get("ipFamilies") or ["IPv4"])


def _resolved_ports(service: Object, pod: Object) -> Ports:
    """The Service's ports on this pod; a named target port is looked up in the pod's containers, else left out."""
    out = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        number = _target_port(port.get("targetPort", port["port"]), port["port"], protocol, pod)
        if number is not None:
            out.append((port.get("name", ""), protocol, number, port.get("appProtocol", "")))
    return tuple(sorted(out))


def _target_port(target: int | str, port: int, protocol: str, pod: Object) -> int | None:
    if isinstance(target, int):
        return target or port
    sidecars = (c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*(pod["spec"].get("containers") or ()), *sidecars):
        for entry in container.get("ports") or ():
            if entry.get("name") == target and entry.get("protocol", "TCP") == protocol:
                return int(entry["containerPort"])
    return None


def _hostname(service: Object, pod: Object) -> str:
    spec = pod["spec"]
    return spec.get("hostname", "") if spec.get("subdomain") == service["metadata"]["name"] else ""


def _target_ref(pod: Object) -> Object:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def endpoint_of(service: Object, pod: Object, addresses: list[str], zones: Mapping[str, str]) -> Object:
    """The endpoint of a pod; `zones` maps node names to zones."""
    leaving, serving = bool(pod["metadata"].get("deletionTimestamp")), is_ready(pod)
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoint: Object = {
        "addresses": addresses[:1],
        "conditions": {"ready": published or (serving and not leaving), "serving": serving, "terminating": leaving},
    }
    if hostname := _hostname(service, pod):
        endpoint["hostname"] = hostname
    endpoint["targetRef"] = _target_ref(pod)
    if node := pod["spec"].get("nodeName"):
        endpoint["nodeName"] = node
        if zones.get(node):
            endpoint["zone"] = zones[node]
    return endpoint


def plan_slices(
    service: Object, pods: Iterable[Object], slices: Iterable[Object], zones: Mapping[str, str]
) -> SlicePlan:
    """The writes that make the Service's managed slices show its pods (those its selector matches)."""
    own = sorted(slices, key=lambda s: str(s["metadata"]["name"]))
    if service["spec"].get("type") == "ExternalName" or service["metadata"].get("deletionTimestamp"):
        return SlicePlan(delete=own)
    groups: dict[tuple[str, Ports], list[Object]] = {}
    families = families_of(service)
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
        for family in families:
            addresses = [] if is_finished(pod) else addresses_of(pod, family)
            if addresses:
                at = (family, _resolved_ports(service, pod))
                groups.setdefault(at, []).append(endpoint_of(service, pod, addresses, zones))
    for family in families:
        if not any(have == family for have, _ in groups):
            groups[(family, ())] = []
    labels = slice_labels(service, CONTROLLER)
    return fit_slices(groups, own, labels, _slice_meta(service))


def slice_labels(service: Object, manager: str) -> dict[str, str]:
    """The Service's own labels plus those that tie the slice to it."""
    meta = service["metadata"]
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key not in _RESERVED}
    labels |= {MANAGED_BY: manager, SERVICE_NAME: meta["name"]}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return labels


def _slice_meta(service: Object) -> Object:
    meta = service["metadata"]
    return {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "ownerReferences": [owner_reference(SERVICES, service)],
    }


def _ports_of(entry: Object) -> Ports:
    return tuple(
        sorted(
            (p.get("name") or "", p.get("protocol") or "TCP", p.get("port"), p.get("appProtocol") or "")
            for p in entry.get("ports") or ()
        )
    )


def _spelled(ports: Ports) -> list[Object]:
    return [
        {"name": name, "protocol": protocol, "port": port, **({"appProtocol": app} if app else {})}
        for name, protocol, port, app in ports
    ]


def _identity(endpoint: Object) -> tuple[str, str]:
    return (endpoint.get("targetRef") or {}).get("uid", ""), endpoint["addresses"][0]


def fit_slices(
    groups: Mapping[tuple[str, Ports], list[Object]], own: list[Object], labels: dict[str, str], meta: Object
) -> SlicePlan:
    """Place the groups' endpoints (by family and ports) into the existing slices with the fewest writes."""
    plan, spare = SlicePlan(), list(own)
    wanted: list[tuple[Object | None, str, Ports, list[Object]]] = []
    short: list[tuple[str, Ports, list[Object]]] = []
    for (family, ports), endpoints in groups.items():
        fitting = [s for s in spare if s["addressType"] == family and _ports_of(s) == ports]
        spare = [s for s in spare if s not in fitting]
        placed, left = _keep(fitting, endpoints)
        for one, kept in placed:
            room = MOST_PER_SLICE - len(kept)
            wanted.append((one, family, ports, kept + left[:room]))
            left = left[room:]
        if left or not placed:
            short.append((family, ports, left))
    for family, ports, endpoints in short:
        for at in range(0, max(1, len(endpoints)), MOST_PER_SLICE):
            reused = next((s for s in spare if s["addressType"] == family), None)
            if reused is not None:
                spare.remove(reused)
            wanted.append((reused, family, ports, endpoints[at : at + MOST_PER_SLICE]))
    for existing, family, ports, endpoints in wanted:
        _want(plan, existing, {"addressType": family, "endpoints": endpoints, "ports": _spelled(ports)}, labels, meta)
    _drop_empty(plan, wanted)
    plan.delete += spare
    return plan


def _keep(slices: list[Object], endpoints: list[Object]) -> tuple[list[tuple[Object, list[Object]]], list[Object]]:
    """Each slice with those of the endpoints it already holds, and the endpoints no slice holds."""
    left = {_identity(e): e for e in endpoints}
    placed = []
    for one in slices:
        held = [left.pop(_identity(e), None) for e in one.get("endpoints") or ()]
        placed.append((one, [e for e in held if e is not None][:MOST_PER_SLICE]))
    return placed, list(left.values())


def _want(plan: SlicePlan, existing: Object | None, body: Object, labels: dict[str, str], meta: Object) -> None:
    if existing is None:
        kinds = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
        plan.create.append({**kinds, "metadata": {**meta, "labels": labels}, **body})
        return
    same = (
        (existing.get("endpoints") or []) == body["endpoints"]
        and _ports_of(existing) == _ports_of(body)
        and (existing["metadata"].get("labels") or {}) == labels
    )
    if not same:
        plan.replace.append({**existing, **body, "metadata": {**existing["metadata"], "labels": labels}})


def _drop_empty(plan: SlicePlan, wanted: list[tuple[Object | None, str, Ports, list[Object]]]) -> None:
    """Of each family keep an empty slice only when it is the family's only one."""
    for family in {w[1] for w in wanted}:
        of_family = [w for w in wanted if w[1] == family]
        empty = [w[0] for w in of_family if w[0] is not None and not w[3]]
        if len(empty) == len(of_family):
            empty = empty[1:]
        names = {e["metadata"]["name"] for e in empty if e is not None}
        plan.replace = [r for r in plan.replace if r["metadata"]["name"] not in names]
        plan.delete += [e for e in empty if e is not None]


def plan_endpoints(service: Object, pods: Iterable[Object], current: Object | None) -> Object | None:
    """The Endpoints object to write, or None when `current` is right. Primary family only (core/v1 Endpoints)."""
    family, published = families_of(service)[0], bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[Ports, tuple[list[Object], list[Object]]] = {}
    count = 0
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["name"])):
        addresses = addresses_of(pod, family)
        leaving = bool(pod["metadata"].get("deletionTimestamp"))
        ports = _resolved_ports(service, pod)
        headless = not service["spec"].get("ports")
        if not addresses or is_finished(pod) or (leaving and not published) or not (ports or headless):
            continue
        count += 1
        ready = published or is_ready(pod)
        groups.setdefault(ports, ([], []))[0 if ready else 1].append(_address(service, pod, addresses[0]))
    subsets = [_subset(ports, *groups[ports]) for ports in sorted(groups, key=str)]
    labels = {k: v for k, v in (service["metadata"].get("labels") or {}).items() if k != HEADLESS}
    labels[ENDPOINTS_MANAGED_BY] = "endpoint-controller"
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    if current and (current.get("subsets") or []) == subsets and current["metadata"].get("labels") == labels:
        return None
    meta = dict(current["metadata"]) if current else {}
    meta |= {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"], "labels": labels}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets}


def _address(service: Object, pod: Object, ip: str) -> Object:
    address: Object = {"ip": ip}
    if hostname := _hostname(service, pod):
        address["hostname"] = hostname
    if node := pod["spec"].get("nodeName"):
        address["nodeName"] = node
    address["targetRef"] = _target_ref(pod)
    return address


def _subset(ports: Ports, ready: list[Object], not_ready: list[Object]) -> Object:
    subset: Object = {}
    for name, entries in (("addresses", ready), ("notReadyAddresses", not_ready)):
        if entries:
            subset[name] = sorted(entries, key=lambda a: str(a["ip"]))[:MOST_IN_ENDPOINTS]
    spelled = [
        {k: v for k, v in (("name", n), ("port", port), ("protocol", p), ("appProtocol", app)) if v}
        for n, p, port, app in ports
    ]
    if spelled:
        subset["ports"] = spelled
    return subset


def is_mirrored(service: Object | None, endpoints: Object) -> bool:
    """Whether hand-made Endpoints are to be shown as slices: a Service without selector and no opt-out."""
    meta = endpoints["metadata"]
    if service is None or service["spec"].get("selector") or meta.get("deletionTimestamp"):
        return False
    if service["spec"].get("type") == "ExternalName":
        return False
    leader = "control-plane.alpha.kubernetes.io/leader" in (meta.get("annotations") or {})
    return not leader and (meta.get("labels") or {}).get(SKIP_MIRROR) != "true"


def plan_mirror(service: Object, endpoints: Object, slices: Iterable[Object]) -> SlicePlan:
    """The writes that make the mirrored slices show hand-made Endpoints."""
    groups: dict[tuple[str, Ports], list[Object]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = _ports_of(subset)
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(name) or ():
                family = "IPv6" if ":" in address["ip"] else "IPv4"
                endpoint = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
                endpoint |= {k: address[k] for k in ("hostname", "nodeName", "targetRef") if address.get(k)}
                groups.setdefault((family, ports), []).append(endpoint)
    meta = endpoints["metadata"]
    owner = {"apiVersion": "v1", "kind": "Endpoints", "name": meta["name"], "uid": meta["uid"]}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key not in _RESERVED}
    labels |= {MANAGED_BY: MIRROR, SERVICE_NAME: meta["name"]}
    body = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
    }
    return fit_slices(groups, sorted(slices, key=lambda s: str(s["metadata"]["name"])), labels, body)
