"""The lease store on disk."""

import os
import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from podloom.drivers.store.lease import LeaseStore
from podloom.model.cni import Attachment
from podloom.model.errors import Bug, Unavailable
from podloom.model.lease import Lease


def lease(container: str, *addresses: str) -> Lease:
    where = Attachment(container, "eth0")
    return Lease(where, tuple(map(ip_address, addresses)), f"/run/netns/{container}", "d", "web", "u", "azure", 1.5)


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    """Leases, their order of addresses and remembered facts outlive the process."""
    with LeaseStore(tmp_path / "agent.db") as store:
        store.commit(add=[lease("a", "192.168.1.9", "192.168.1.2"), lease("b", "192.168.1.3")], meta={"boot": "x"})
    with LeaseStore(tmp_path / "agent.db") as store:
        assert sorted(store.leases(), key=lambda item: item.attachment.container_id) == [
            lease("a", "192.168.1.9", "192.168.1.2"),
            lease("b", "192.168.1.3"),
        ]
        assert (store.meta("boot"), store.meta("none")) == ("x", None)


@pytest.mark.parametrize("second", [lease("b", "192.168.1.2"), lease("a", "192.168.1.3")])
def test_an_address_and_an_attachment_are_leased_once(second: Lease) -> None:
    """The database itself refuses a second holder; the whole batch is undone."""
    with LeaseStore(":memory:") as store:
        store.commit(add=[lease("a", "192.168.1.2")])
        with pytest.raises(Bug, match="already leased"):
            store.commit(add=[lease("c", "192.168.1.7"), second], delete=[Attachment("zzz", "eth0")])
        assert store.leases() == [lease("a", "192.168.1.2")]


def test_a_batch_deletes_before_it_adds() -> None:
    """An address given back in a batch can be given out in the same batch; deleting the unknown is nothing."""
    with LeaseStore(":memory:") as store:
        store.commit(add=[lease("a", "192.168.1.2")])
        store.commit(add=[lease("b", "192.168.1.2")], delete=[Attachment("a", "eth0"), Attachment("?", "eth0")])
        assert store.leases() == [lease("b", "192.168.1.2")]


def test_clear_forgets_leases_and_keeps_facts() -> None:
    """A new boot has no pods."""
    with LeaseStore(":memory:") as store:
        store.commit(add=[lease("a", "192.168.1.2")], meta={"nnc": "{}"})
        store.clear({"boot": "2"})
        assert (store.leases(), store.meta("nnc"), store.meta("boot")) == ([], "{}", "2")


def test_a_second_agent_is_kept_out(tmp_path: Path) -> None:
    """The file lock lets one process in, and the next after it."""
    first = LeaseStore(tmp_path / "agent.db")
    with pytest.raises(Unavailable, match="another agent"):
        LeaseStore(tmp_path / "agent.db")
    first.close()
    LeaseStore(tmp_path / "agent.db").close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A corrupt file is one clear error, and the lock is given back."""
    path = tmp_path / "agent.db"
    path.write_bytes(b"not a database" * 1000)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"agent\.db"):
            LeaseStore(path)


WRITER = """
import sys
from ipaddress import ip_address
from podloom.drivers.store.lease import LeaseStore
from podloom.model.cni import Attachment
from podloom.model.lease import Lease
store = LeaseStore(sys.argv[1])
for n in range(1, 100000):
    item = Lease(Attachment(f"c{n}", "eth0"), (ip_address(0x0A000000 + n),), "", "d", "p", "u", "azure", 0.0)
    store.commit(add=[item])
    print(n, flush=True)
"""


def test_kill_9_loses_no_answered_commit(tmp_path: Path) -> None:
    """Everything that was reported committed before a SIGKILL is there afterwards, and nothing is half there."""
    path = tmp_path / "agent.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout
    for _ in range(50):
        writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    reported = 50 + len(writer.stdout.read().split())
    writer.wait()
    writer.stdout.close()
    with LeaseStore(path) as store:
        leases = store.leases()
    assert reported <= len(leases) <= reported + 1
    assert all(len(item.addresses) == 1 for item in leases)
