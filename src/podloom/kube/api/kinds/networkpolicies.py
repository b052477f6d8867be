"""NetworkPolicies (kubernetes apis/networking/validation)."""

from __future__ import annotations

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import formats
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report, label_selector
from podloom.kube.api.kinds.show import selector, text

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")


def _check_port(report: Report, where: str, rule: Object) -> None:
    report.one_of(f"{where}.protocol", rule.get("protocol", ""), _PROTOCOLS, required=False)
    port, end = rule.get("port"), rule.get("endPort")
    if isinstance(port, int):
        report.format(f"{where}.port", port, formats.port_number)
        if end is not None and end < port:
            report.invalid(f"{where}.endPort", port, "must be greater than or equal to `port`")
        elif end is not None:
            report.format(f"{where}.endPort", end, formats.port_number)
    elif isinstance(port, str):
        if end is not None:
            report.invalid(f"{where}.endPort", end, "may not be specified when `port` is non-numeric")
        report.format(f"{where}.port", port, formats.port_name)
    elif end is not None:
        report.invalid(f"{where}.endPort", end, "may not be specified when `port` is not specified")


def _check_peer(report: Report, where: str, peer: Object) -> None:
    others = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    block = peer.get("ipBlock")
    for field in others:
        label_selector(report, f"{where}.{field}", peer[field])
    if block is not None:
        _check_block(report, f"{where}.ipBlock", block)
    if not others and block is None:
        report.required(where, "must specify a peer")
    elif others and block is not None:
        report.forbidden(where, "may not specify both ipBlock and another peer")


def _check_block(report: Report, where: str, block: Object) -> None:
    cidr = block.get("cidr", "")
    if not cidr:
        report.required(f"{where}.cidr")
        return
    if not report.format(f"{where}.cidr", cidr, formats.cidr):
        return
    outer = formats.parse_cidr(cidr)
    for i, text_ in enumerate(block.get("except") or []):
        path = f"{where}.except[{i}]"
        if not report.format(path, text_, formats.cidr):
            continue
        inner = formats.parse_cidr(text_)
        assert outer is not None and inner is not None
        inside = outer.version == inner.version and inner.network_address in outer
        if not inside or outer.prefixlen >= inner.prefixlen:
            report.invalid(path, text_, "must be a strict subset of `cidr`")


class NetworkPolicyKind(BuiltIn):
    """Selectors, peers, ports and policy types (networking.k8s.io/v1)."""

    generation = True
    printed = (
        (text("Pod-Selector", "networkpolicyspec-networking-v1.podSelector"), lambda o, _: selector(_selector(o))),
    )

    def default(self, obj: Object, ctx: Context) -> None:
        spec = obj["spec"] = obj.get("spec") or {}
        for direction in ("ingress", "egress"):
            for rule in spec.get(direction) or []:
                for port in rule.get("ports") or []:
                    port["protocol"] = port.get("protocol") or "TCP"
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj["spec"]
        label_selector(report, "spec.podSelector", spec.get("podSelector"))
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(direction) or []):
                where = f"spec.{direction}[{i}]"
                for j, port in enumerate(rule.get("ports") or []):
                    _check_port(report, f"{where}.ports[{j}]", port)
                for j, peer in enumerate(rule.get(peers) or []):
                    _check_peer(report, f"{where}.{peers}[{j}]", peer)
        types = spec.get("policyTypes") or []
        if len(types) > 2:
            report.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
            return
        for i, kind in enumerate(types):
            if kind not in _TYPES:
                report.unsupported(f"spec.policyTypes[{i}]", kind, _TYPES)


def _selector(policy: Object) -> Object | None:
    found: Object | None = (policy.get("spec") or {}).get("podSelector")
    return found
