"""The node's one private nftables table: `inet podloom`.

The problem: masquerade and services are few rules and many facts. The rules stand in the table's body, the facts are
elements of sets and maps, one row each, so a change of one service touches its own elements and no packet pays for
how many there are. The body changes only with the node's addresses, and when a service outgrows the pick chains.

Order of the hooks: `source` drops what a pod sends under an address that is not routed to it; `services` translates
destinations (prerouting for pods, output for the node itself); `refused` answers what is still addressed to a
service (no backends, or not a port of it) with a reset or port unreachable; `leave` gives leaving packets the
node's address, also those that a pod would otherwise receive from itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podloom.model.cni import IPAddress
from podloom.model.nnc import Network
from podloom.model.rows import Kind, Row, RowId, nft_element_row, nft_table_row, route_row, sysctl_row
from podloom.plan.endpoint import HOST_PREFIX
from podloom.plan.services import SLOTS, ServiceView, frontend_elements, local_backends, pick_chains

FAMILY, TABLE = "inet", "podloom"
OWNER = "node"
_SEED = "0x706f646c"
_KEPT_CONTAINERS = ("vips", "frontends", "backends", "hairpin", "untranslated")
_PICK = "goto pick_"


@dataclass(frozen=True)
class NodeFacts:
    """What the table's body depends on: this node's ranges, untranslated destinations, its primary addresses."""

    ranges: tuple[Network, ...]
    untranslated: tuple[Network, ...]
    addresses: tuple[IPAddress, ...]


def plan_node_table(facts: NodeFacts, view: ServiceView) -> tuple[Row, ...]:
    """The rows of the table: one body, and an element per service address, frontend, backend and local backend."""
    rows = _node_rows(facts, view.picks())
    for frontend in view.frontends:
        version = frontend.address.version
        (key, verdict), backends = frontend_elements(frontend)
        rows.append(_element(f"frontends{version}", key, verdict))
        rows += (_element(f"backends{version}", element, data) for element, data in backends)
    rows += (_element(f"vips{address.version}", str(address)) for address in view.addresses)
    for address in local_backends(view.frontends, facts.ranges):
        rows.append(_element(f"hairpin{address.version}", f"{address} . {address}"))
    return tuple(rows)


def plan_node_basics(facts: NodeFacts) -> tuple[Row, ...]:
    """Forwarding on, and addresses of the node's ranges that no pod holds are unreachable.

    Without the latter a packet for a pod that is gone follows the default route out and comes back, until its TTL ends.
    """
    forwarding = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    versions = sorted({network.version for network in facts.ranges})
    return (
        *(sysctl_row("", forwarding[version], 1, OWNER) for version in versions),
        *(route_row("", str(network), type="unreachable", owner=OWNER) for network in facts.ranges),
    )


def plan_kept_table(facts: NodeFacts, found: Mapping[RowId, str]) -> tuple[Row, ...]:
    """The table while the cluster is not known: the node's own rows, and the elements from the cluster that are there.

    `found` are the table's elements as read; this is for an agent that starts before the API server can be reached.
    """
    kept = [
        _element(str(row_id.key[3]), str(row_id.key[4]), value)
        for row_id, value in found.items()
        if row_id.kind is Kind.NFT_ELEMENT and str(row_id.key[3]).startswith(_KEPT_CONTAINERS)
    ]
    verdicts = (str(row.value).removeprefix(_PICK).removesuffix("_6") for row in kept)
    most = max((int(count) for count in verdicts if count.isdecimal()), default=0)
    return (*_node_rows(facts, pick_chains(most)), *kept)


def _node_rows(facts: NodeFacts, picks: int) -> list[Row]:
    rows = [nft_table_row("", FAMILY, TABLE, table_body(facts, picks), OWNER)]
    rows += (_element(f"local{network.version}", str(network)) for network in facts.ranges)
    rows += (_element(f"untranslated{network.version}", str(network)) for network in facts.untranslated)
    return rows


def table_body(facts: NodeFacts, picks: int) -> str:
    """The table's declarations and rules, for the families the node has addresses in."""
    families = sorted({address.version for address in facts.addresses})
    parts = [_declarations(version) for version in families]
    parts += [_choosers(version, picks) for version in families]
    parts.append(_service_hooks(families))
    parts.append(_refusal_hooks(families))
    parts.append(_masquerade_hook(facts.addresses))
    return "\n".join(parts)


def _element(container: str, element: str, data: str = "") -> Row:
    return nft_element_row("", FAMILY, TABLE, container, element, data, OWNER)


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _declarations(version: int) -> str:
    ip, kind = _ip(version), f"ipv{version}_addr"
    key = f"{ip} daddr . meta l4proto . th dport"
    return f"""\
set vips{version} {{ type {kind}; }}
set hairpin{version} {{ type {kind} . {kind}; }}
set local{version} {{ type {kind}; flags interval; }}
set untranslated{version} {{ type {kind}; flags interval; }}
map frontends{version} {{ type {kind} . inet_proto . inet_service : verdict; }}
map backends{version} {{ typeof {key} . numgen random mod 65536 : {ip} daddr . th dport; }}"""


def _choosers(version: int, picks: int) -> str:
    """pick_N for N backends by chance, `sticky` by the client's address."""
    ip = _ip(version)
    suffix = "" if version == 4 else "_6"
    key = f"{ip} daddr . meta l4proto . th dport"
    chains = [
        f"chain pick_{count}{suffix} {{\n dnat {ip} to {key} . numgen random mod {count} map @backends{version}\n}}"
        for count in range(1, picks + 1)
    ]
    chains.append(
        f"chain sticky{suffix} {{\n"
        f" dnat {ip} to {key} . jhash {ip} saddr mod {SLOTS} seed {_SEED} map @backends{version}\n}}"
    )
    return "\n".join(chains)


def _service_hooks(families: Iterable[int]) -> str:
    lookups = "\n".join(f" {_ip(v)} daddr . meta l4proto . th dport vmap @frontends{v}" for v in families)
    return f"""\
chain services_in {{
 type nat hook prerouting priority -100; policy accept;
{lookups}
}}
chain services_out {{
 type nat hook output priority -100; policy accept;
{lookups}
}}"""


def _refusal_hooks(families: Iterable[int]) -> str:
    jumps = "\n".join(f" {_ip(v)} daddr @vips{v} goto refuse" for v in families)
    sources = "\n".join(
        f' iifname "{HOST_PREFIX}*" meta nfproto ipv{v} fib saddr . iif oif 0 drop' for v in families if v == 4
    )
    return f"""\
chain refuse {{
 meta l4proto tcp reject with tcp reset
 reject with icmpx port-unreachable
}}
chain refused_forward {{
 type filter hook forward priority 0; policy accept;
{jumps}
}}
chain refused_output {{
 type filter hook output priority 0; policy accept;
{jumps}
}}
chain source {{
 type filter hook prerouting priority -300; policy accept;
{sources}
}}"""


def _masquerade_hook(addresses: Iterable[IPAddress]) -> str:
    lines: list[str] = []
    for address in addresses:
        version, ip = address.version, _ip(address.version)
        lines += (
            f" {ip} saddr . {ip} daddr @hairpin{version} snat {ip} to {address}",
            f" {ip} saddr @local{version} {ip} daddr != @untranslated{version} snat {ip} to {address}",
        )
    body = "\n".join(lines)
    return f"""\
chain leave {{
 type nat hook postrouting priority 100; policy accept;
{body}
}}"""
