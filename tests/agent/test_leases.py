"""The lease book: batches, failing disks, restarts."""

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from agentkit import RANGE
from podloom.agent.leases import LeaseBook
from podloom.drivers.store.lease import LeaseStore
from podloom.model.cni import Attachment
from podloom.model.errors import Unavailable
from podloom.model.lease import LeaseRequest


def request(container: str, **more: str) -> LeaseRequest:
    return LeaseRequest(
        Attachment(container, "eth0"),
        "/run/netns/x",
        "d",
        more.get("pod", container),
        more.get("uid", ""),
        "azure",
        1.0,
    )


class FailingStore(LeaseStore):
    """Fails its next `failures` commits, as a full disk does."""

    failures = 0

    def commit(self, **what: object) -> None:  # type: ignore[override]
        if self.failures:
            self.failures -= 1
            raise Unavailable("write the lease store", "disk full")
        super().commit(**what)  # type: ignore[arg-type]


async def test_a_failed_commit_gives_everything_back() -> None:
    """When the disk fails no address is lost and the lease that was to be replaced stands."""
    store = FailingStore(":memory:")
    book = LeaseBook(store)
    book.set_ranges((RANGE,))
    first = await book.add(request("a"))
    free = book.free()
    store.failures = 1
    outcomes = await asyncio.gather(
        book.add(request("b")), book.add(request("c"), instead_of=[first.attachment]), return_exceptions=True
    )
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert book.free() == free and list(book.leases.values()) == [first] == store.leases()
    store.failures = 1
    with pytest.raises(Unavailable):
        await book.remove(first.attachment)
    assert list(book.leases.values()) == [first]
    await book.remove(first.attachment)
    assert book.leases == {} and store.leases() == [] and book.free() == 254


async def test_one_turn_of_the_loop_is_one_commit() -> None:
    """ADDs and DELs of one moment share a transaction."""
    book = LeaseBook(LeaseStore(":memory:"))
    book.set_ranges((RANGE,))
    old = await book.add(request("old"))
    before = book.commits
    await asyncio.gather(*(book.add(request(f"c{n}")) for n in range(20)), book.remove(old.attachment))
    assert book.commits == before + 1


async def test_round_robin_survives_a_restart(tmp_path: Path) -> None:
    """The address given out last is remembered: a new agent does not start from the beginning."""
    with LeaseStore(tmp_path / "agent.db") as store:
        book = LeaseBook(store)
        book.set_ranges((RANGE,))
        for number in range(3):
            await book.add(request(f"c{number}"))
            await book.remove(Attachment(f"c{number}", "eth0"))
    with LeaseStore(tmp_path / "agent.db") as store:
        book = LeaseBook(store)
        book.set_ranges((RANGE,))
        assert str((await book.add(request("new"))).addresses[0]) == "192.168.1.4"


async def test_a_new_range_leaves_leases_as_they_are() -> None:
    """Addresses of another range stay with their pods and do not count against the new one."""
    book = LeaseBook(LeaseStore(":memory:"))
    book.set_ranges((RANGE,))
    old = await book.add(request("a"))
    book.set_ranges((ip_network("192.168.9.0/24"),))
    assert str((await book.add(request("b"))).addresses[0]) == "192.168.9.1"
    assert old.attachment in book.leases and book.free() == 253


async def test_dual_stack_gives_one_of_each() -> None:
    """Two ranges, two addresses, one lease."""
    book = LeaseBook(LeaseStore(":memory:"))
    book.set_ranges((RANGE, ip_network("fd12:3456:789a::/120")))
    lease = await book.add(request("a"))
    assert [address.version for address in lease.addresses] == [4, 6]
    assert lease.addresses == LeaseBook(book._store).leases[lease.attachment].addresses


async def test_without_a_range_nothing_is_given() -> None:
    """No NodeNetworkConfig yet: an error that says what to wait for."""
    with pytest.raises(Unavailable, match="NodeNetworkConfig"):
        await LeaseBook(LeaseStore(":memory:")).add(request("a"))
