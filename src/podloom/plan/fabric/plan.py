"""The whole fabric: from what the cloud wants to rows, and what is wrong with which resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podloom.model.errors import PodloomError, Rejected
from podloom.model.rows import FABRIC_PROTOCOL, Kind, Row, RowId, Tag
from podloom.plan.fabric import names
from podloom.plan.fabric.domains import memberships, plan_domain, plan_refusals
from podloom.plan.fabric.filters import plan_filters
from podloom.plan.fabric.internet import plan_internet
from podloom.plan.fabric.router import plan_nic, plan_router
from podloom.plan.fabric.settings import NFT_TABLE, FabricSettings
from podloom.plan.fabric.view import Nic, View, VNet


@dataclass(frozen=True)
class FabricPlan:
    """Rows, each owned by the lower-cased id of the resource it is there for, and problems by such id."""

    rows: tuple[Row, ...]
    problems: Mapping[str, PodloomError]


def fabric_tag(tag: str) -> Tag:
    """What marks the fabric's kernel objects; the user's own namespace ("") is not ours."""
    return Tag(
        protocol=FABRIC_PROTOCOL,
        link_prefixes=names.LINK_PREFIXES,
        netns_prefix=names.netns_prefix(tag),
        nft_prefix=NFT_TABLE,
        guarded=frozenset({""}),
    )


def plan_fabric(settings: FabricSettings, view: View, outbound: Mapping[str, str]) -> FabricPlan:
    """Rows for everything in the view; `outbound` has each VNet's public address."""
    problems = dict(view.problems)
    rows = plan_internet(settings, view.publics.values())
    for vnet in view.vnets.values():
        rows += _network(settings, view, vnet, outbound[vnet.id], problems)
    for nic in view.nics.values():
        if nic.vnet not in view.vnets:
            problems[nic.id] = Rejected(
                f"attach {nic.id}", f"there is no virtual network {nic.vnet}", "create it first", target=nic.id
            )
    for domain in view.domains.values():
        if domain.vnet not in view.vnets:
            problems[domain.id] = Rejected(
                f"route {domain.id}", f"there is no virtual network {domain.vnet}", "create it first", target=domain.id
            )
    return FabricPlan(tuple(_first_come(rows, problems)), problems)


def _first_come(rows: Iterable[Row], problems: dict[str, PodloomError]) -> list[Row]:
    """Rows of which no two claim one key with different values; who comes second has a problem, and only that row
    is missing (two NICs with one address, one pod range routed to two nodes)."""
    kept: dict[RowId, Row] = {}
    for row in rows:
        first = kept.setdefault(row.id, row)
        if first.value != row.value:
            problems[row.owner] = Rejected(
                f"realise {row} for {row.owner}", f"{first.owner} has it", "remove one of them", target=row.owner
            )
    return list(kept.values())


def _network(
    settings: FabricSettings, view: View, vnet: VNet, outbound: str, problems: dict[str, PodloomError]
) -> list[Row]:
    rows = plan_router(settings, vnet, outbound)
    nics: list[Nic] = []
    for nic in view.nics.values():
        if nic.vnet != vnet.id:
            continue
        try:
            rows += plan_nic(settings, vnet, nic)
            nics.append(nic)
        except Rejected as error:
            problems[nic.id] = error
    members, wrong = memberships(vnet, nics, view.domains.values())
    problems.update(wrong)
    for member in members:
        rows += plan_domain(settings, vnet, member)
    main = {str(row.key[2]): True for row in rows if row.kind is Kind.ROUTE and row.key[1] == 254}
    rows += plan_refusals(settings, vnet, members, main)
    return rows + plan_filters(settings, vnet, nics, members, outbound)
