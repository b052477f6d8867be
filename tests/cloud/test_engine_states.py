"""Any requests in any order, with restarts in between, keep what must hold of the cloud's state."""

from __future__ import annotations

import ipaddress
import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloudkit import SUBSCRIPTION, cluster_body, nic_body, vnet_body
from podloom.cloud.engine import Engine
from podloom.cloud.providers import ALL
from podloom.cloud.state import users_of
from podloom.cloud.store import Row, Store, Tombstone
from podloom.model.arm import MANAGED_CLUSTERS, NETWORK_INTERFACES, RESOURCE_GROUPS, VIRTUAL_NETWORKS, ResourceId
from podloom.model.findings import Refusal

GROUP_NAMES = ("one", "two")
GROUPS = st.sampled_from(GROUP_NAMES)
NUMBERS = st.integers(0, 3)
COUNTS = st.integers(1, 3)
STATES = st.sampled_from(["Succeeded", "Failed"])
SUBNETS = st.sampled_from(["a", "b"])
BUSY = {"Creating", "Updating", "Deleting"}


def rid(group: str, type_: str = "", name: str = "") -> ResourceId:
    return ResourceId(SUBSCRIPTION, group, type_, (name,)) if type_ else ResourceId(SUBSCRIPTION, group)


class CloudStates(RuleBasedStateMachine):
    """Requests are refused or done; after each, the state must make sense."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="podloom-test-"))
        self.ticks = itertools.count()
        self.watched: dict[str, int] = {}
        self.position = 0
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder / "cloud.db")
        rules = [rules(self.store) for rules in ALL]
        self.engine = Engine(self.store, rules, SUBSCRIPTION, lambda: f"2026-01-01T00:00:{next(self.ticks)}Z")

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def attempt(self, work: object, *args: object, **kwargs: object) -> None:
        try:
            work(*args, **kwargs)  # type: ignore[operator]
        except Refusal as refusal:
            assert refusal.findings

    @initialize()
    def furnish(self) -> None:
        for group in GROUP_NAMES:
            self.make_group(group)
            self.make_network(group, True)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule(group=GROUPS)
    def make_group(self, group: str) -> None:
        self.attempt(self.engine.put, rid(group), {"location": "westeurope"})

    @rule(group=GROUPS)
    def delete_group(self, group: str) -> None:
        self.attempt(self.engine.delete, rid(group))

    @rule(group=GROUPS, both=st.booleans())
    def make_network(self, group: str, both: bool) -> None:
        subnets = [("a", "10.1.0.0/29"), ("b", "10.1.1.0/29")]
        self.attempt(self.engine.put, rid(group, VIRTUAL_NETWORKS, "net"), vnet_body(*subnets[: 1 + both]))

    @rule(group=GROUPS)
    def delete_network(self, group: str) -> None:
        self.attempt(self.engine.delete, rid(group, VIRTUAL_NETWORKS, "net"))

    @rule(group=GROUPS, home=GROUPS, number=NUMBERS, subnet=SUBNETS, last=st.none() | st.integers(3, 7))
    def make_nic(self, group: str, home: str, number: int, subnet: str, last: int | None) -> None:
        id_ = rid(home, VIRTUAL_NETWORKS, "net").child("subnets", subnet)
        static = f"10.1.{'ab'.index(subnet)}.{last}" if last is not None else ""
        self.attempt(self.engine.put, rid(group, NETWORK_INTERFACES, f"nic{number}"), nic_body(str(id_), static))

    @rule(group=GROUPS, number=NUMBERS)
    def delete_nic(self, group: str, number: int) -> None:
        self.attempt(self.engine.delete, rid(group, NETWORK_INTERFACES, f"nic{number}"))

    @rule(group=GROUPS, home=GROUPS, count=COUNTS, own=st.booleans())
    def make_cluster(self, group: str, home: str, count: int, own: bool) -> None:
        subnet = str(rid(home, VIRTUAL_NETWORKS, "net").child("subnets", "a")) if own else ""
        self.attempt(self.engine.put, rid(group, MANAGED_CLUSTERS, "k"), cluster_body(count, subnet))

    @rule(group=GROUPS)
    def delete_cluster(self, group: str) -> None:
        self.attempt(self.engine.delete, rid(group, MANAGED_CLUSTERS, "k"))

    @rule(group=GROUPS, state=STATES, behind=st.booleans())
    def report(self, group: str, state: str, behind: bool) -> None:
        for type_, name in ((MANAGED_CLUSTERS, "k"), (VIRTUAL_NETWORKS, "net"), (NETWORK_INTERFACES, "nic0")):
            row = self.store.get(rid(group, type_, name).key)
            if row is not None:
                self.attempt(self.engine.report, row.id, {"provisioningState": state}, row.generation - behind)

    @rule(group=GROUPS)
    def finalize(self, group: str) -> None:
        self.attempt(self.engine.finalize, rid(group, MANAGED_CLUSTERS, "k"))

    @rule()
    def watch(self) -> None:
        """A watcher that comes by now and then, as a consumer of the change stream would."""
        for change in self.store.changes_after(self.position, 10_000):
            self.position = change.seq
            if isinstance(change, Tombstone):
                self.watched.pop(change.id.lower(), None)
            elif isinstance(change, Row):
                self.watched[change.id.key] = change.seq

    @invariant()
    def everything_lives_in_a_group(self) -> None:
        groups = {row.id.key for row in self.store.of_type(RESOURCE_GROUPS)}
        assert {row.id.group_id.key for row in self.all()} <= groups

    @invariant()
    def addresses_are_given_once_and_never_azures_own(self) -> None:
        seen: set[tuple[str, str]] = set()
        for nic in self.store.of_type(NETWORK_INTERFACES):
            for config in nic.body["properties"]["ipConfigurations"]:
                place = (config["properties"]["subnet"]["id"].lower(), config["properties"]["privateIPAddress"])
                assert place not in seen
                seen.add(place)
                assert int(ipaddress.ip_address(place[1])) % 8 in (4, 5, 6)
                assert self.store.owner_of(*place) == nic.id.key

    @invariant()
    def no_address_is_held_by_what_is_gone(self) -> None:
        subnets = [
            rid(group, VIRTUAL_NETWORKS, "net").child("subnets", name).key for group in GROUP_NAMES for name in "ab"
        ]
        for pool in [*subnets, "mac", "public"]:
            for owner in self.store.taken(pool).values():
                assert self.store.get(owner) is not None, (pool, owner)

    @invariant()
    def what_is_used_exists(self) -> None:
        for nic in self.store.of_type(NETWORK_INTERFACES):
            for config in nic.body["properties"]["ipConfigurations"]:
                subnet = ResourceId.parse(config["properties"]["subnet"]["id"])
                assert self.engine.get(subnet)
                assert nic.id in users_of(self.store, subnet)

    @invariant()
    def an_operation_is_in_flight_exactly_while_work_is(self) -> None:
        for row in self.all():
            rules = self.engine.rules[row.id.type.lower()]
            if row.state == "Deleting":
                continue  # its operation may have failed while the wish stays
            if rules.realised_by:
                assert (self.store.in_flight(row.id.key) is not None) == (row.state in BUSY), row.id

    @invariant()
    def a_watcher_that_caught_up_knows_everything(self) -> None:
        self.watch()
        assert self.watched == {row.id.key: row.seq for row in self.all()}

    @invariant()
    def a_group_being_deleted_waits_only_for_clusters(self) -> None:
        for group in self.store.of_type(RESOURCE_GROUPS):
            if group.state == "Deleting":
                clusters = self.store.of_type(MANAGED_CLUSTERS, group.id.key)
                assert clusters
                assert {cluster.state for cluster in clusters} == {"Deleting"}

    def all(self) -> list[Row]:
        return [
            row for group in self.store.of_type(RESOURCE_GROUPS) for row in (group, *self.store.in_group(group.id.key))
        ]


CloudStates.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCloudStates = CloudStates.TestCase
