"""Leases: heartbeats of nodes and leadership of controllers."""

from __future__ import annotations

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds import noderules
from podloom.kube.api.kinds.base import BuiltIn
from podloom.kube.api.kinds.check import Report
from podloom.kube.api.kinds.show import text


class LeaseKind(BuiltIn):
    """A lease and its bounds (coordination.k8s.io/v1)."""

    create_on_update = True
    unconditional_update = False
    printed = (
        (
            text("Holder", "leasespec-coordination-v1.holderIdentity"),
            lambda o, _: (o.get("spec") or {}).get("holderIdentity") or "",
        ),
    )

    def admit(self, obj: Object, old: Object | None, ctx: Context) -> None:
        noderules.restrict_lease(obj, ctx)

    def check(self, report: Report, obj: Object, old: Object | None, ctx: Context) -> None:
        spec = obj.get("spec") or {}
        duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if duration is not None and duration <= 0:
            report.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
        report.not_negative("spec.leaseTransitions", transitions)
