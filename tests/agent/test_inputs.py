"""What the agent takes from the API server, and the lists, plugins and leases that follow from it."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import orjson
import pytest

from agentkit import MemoryNode
from podloom.agent.collector import Collector
from podloom.agent.host import boot_identity, netns_exists
from podloom.agent.inputs import Inputs
from podloom.agent.install import install_conflist, install_plugins, write_atomically
from podloom.agent.leases import LeaseBook
from podloom.agent.settings import parse_settings
from podloom.drivers.kube.fake import FakeKube
from podloom.drivers.store.lease import LeaseStore
from podloom.model.kube import CONFIGMAPS, ENDPOINTSLICES, NNCS, PODS, SERVICES
from podloom.native import native_path
from podloom.render.conflist import FILE_NAME, overlay_conflist

POD_CIDR = (ip_network("192.168.0.0/16"),)


def nnc(range_: str = "192.168.1.0/24", status: str = "Updated", **more: Any) -> dict[str, Any]:
    container = {"id": "x", "primaryIP": range_, "subnetAddressSpace": "192.168.0.0/16", "nodeIP": "10.224.0.4"}
    return {
        "metadata": {"name": "n1", "namespace": "kube-system"},
        "status": {"status": status, "networkContainers": [container], **more},
    }


class Followed:
    """Inputs that follow an API server in memory."""

    def __init__(self, store: LeaseStore) -> None:
        self.kube = FakeKube()
        self.book = LeaseBook(store)
        self.changes = 0
        self.inputs = Inputs("n1", self.book, self._count)
        self._tasks = [asyncio.create_task(i.run()) for i in self.inputs.informers(self.kube)]

    def _count(self) -> None:
        self.changes += 1

    async def settle(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0.002)
            if self.inputs.services_known():
                break
        await asyncio.sleep(0.02)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    made = Followed(LeaseStore(":memory:"))
    yield made
    await made.close()


async def test_a_range_is_used_once_the_cloud_carries_it(followed: Followed) -> None:
    """Updating gives no addresses; Updated does; a later Updating takes nothing away."""
    assert "no NodeNetworkConfig" in followed.inputs.trouble()
    followed.kube.put(NNCS, nnc(status="Updating", message="the route is missing"))
    await followed.settle()
    assert "the route is missing" in followed.inputs.trouble() and not followed.book.ranges
    followed.kube.put(NNCS, nnc())
    await followed.settle()
    assert followed.inputs.trouble() == "" and list(map(str, followed.book.ranges)) == ["192.168.1.0/24"]
    followed.kube.put(NNCS, nnc(status="Updating"))
    await followed.settle()
    assert followed.inputs.trouble() == ""


async def test_the_last_range_is_remembered(followed: Followed, tmp_path: Path) -> None:
    """An agent that starts without an API server uses what it was told last."""
    store = LeaseStore(tmp_path / "agent.db")
    first = Followed(store)
    first.kube.put(NNCS, nnc("192.168.7.0/24"))
    await first.settle()
    await first.close()
    again = Inputs("n1", LeaseBook(store), lambda: None)
    assert again.network is not None and again.trouble() == "" and not again.services_known()
    store.close()


async def test_a_malformed_config_is_ignored(followed: Followed) -> None:
    """A broken NodeNetworkConfig does not replace a good one."""
    followed.kube.put(NNCS, nnc())
    await followed.settle()
    followed.kube.put(NNCS, nnc("192.168.1.7/24"))
    await followed.settle()
    assert list(map(str, followed.book.ranges)) == ["192.168.1.0/24"]


async def test_masquerade_configmaps(followed: Followed) -> None:
    """OUT-05: ConfigMaps by prefix in kube-system, YAML; others and broken ones do not count."""

    def configmap(name: str, text: str, namespace: str = "kube-system") -> None:
        followed.kube.put(CONFIGMAPS, {"metadata": {"name": name, "namespace": namespace}, "data": {"config": text}})

    configmap("azure-ip-masq-agent-config-a", "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n")
    configmap("azure-ip-masq-agent-config-b", "nonMasqueradeCIDRs: [172.16.0.0/12]")
    configmap("azure-ip-masq-agent-config-c", "nonMasqueradeCIDRs: [")
    configmap("azure-ip-masq-agent-config-d", "nonMasqueradeCIDRs: [10.0.0.1/8]")
    configmap("other", "nonMasqueradeCIDRs: [1.0.0.0/8]")
    configmap("azure-ip-masq-agent-config-e", "nonMasqueradeCIDRs: [2.0.0.0/8]", "default")
    await followed.settle()
    found = followed.inputs.masquerade().untranslated(POD_CIDR)
    assert list(map(str, found)) == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]


async def test_services_are_served_once_all_lists_are_read(followed: Followed) -> None:
    """The view follows Services and EndpointSlices and every change is announced."""
    meta = {"name": "web", "namespace": "d"}
    port = {"name": "", "port": 80, "protocol": "TCP"}
    followed.kube.put(SERVICES, {"metadata": meta, "spec": {"clusterIPs": ["10.0.0.5"], "ports": [port]}})
    assert followed.inputs.view().addresses == ()
    await followed.settle()
    assert followed.inputs.view().frontends == () and len(followed.inputs.view().addresses) == 1
    before = followed.changes
    labels = {"kubernetes.io/service-name": "web"}
    endpoints = [{"addresses": ["192.168.1.5"], "conditions": {"ready": True}}]
    followed.kube.put(
        ENDPOINTSLICES,
        {"metadata": {**meta, "labels": labels}, "addressType": "IPv4", "ports": [port], "endpoints": endpoints},
    )
    await followed.settle()
    assert len(followed.inputs.view().frontends) == 1 and followed.changes > before


async def test_lost_leases_are_collected_and_others_are_not() -> None:
    """Collected: no namespace; or nobody in it and unknown to the API server. Kept: everything else."""
    node, kube, clock = MemoryNode(), FakeKube(), [0.0]
    for name in ("known", "unknown", "busy", "homeless"):
        await node.add(name, name, uid=f"uid-{name}")
    kube.put(PODS, {"metadata": {"name": "known", "namespace": "d", "uid": "uid-known"}, "spec": {"nodeName": "n1"}})
    homes = {f"/run/netns/{name}" for name in ("known", "unknown", "busy")}
    collector = Collector(
        node.pods,
        kube,
        "n1",
        interval_s=10,
        netns_exists=homes.__contains__,
        empty_netns=lambda paths: set(paths) - {"/run/netns/busy"},
        now=lambda: clock[0],
    )
    kube.down = True
    assert await collector.run_once() == 0, "never at first sight"
    clock[0] = 10.0
    assert await collector.run_once() == 1, "the homeless one"
    kube.down = False
    assert await collector.run_once() == 0
    clock[0] = 20.0
    assert await collector.run_once() == 0, "patience with the unknown one"
    clock[0] = 30.0
    assert await collector.run_once() == 1
    assert sorted(a.container_id for a in node.book.leases) == ["busy", "known"]
    node.close()


def test_boot_identity_changes_with_boot_and_with_pid_1(tmp_path: Path) -> None:
    """A reboot of the kernel and of a machine that is a container are both new boots."""

    def machine(boot: str, started: int) -> str:
        (tmp_path / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
        (tmp_path / "1").mkdir(exist_ok=True)
        (tmp_path / "1/stat").write_text(f"1 (a) b) S {' '.join(['0'] * 18)} {started} 0 0")
        return boot_identity(tmp_path)

    assert machine("a", 5) == machine("a", 5)
    assert len({machine("a", 5), machine("a", 6), machine("b", 5)}) == 3


def test_what_is_no_namespace(tmp_path: Path) -> None:
    """A missing path, a plain file (a leftover of `ip netns`) and a relative name are no namespaces."""
    (tmp_path / "left").touch()
    assert not netns_exists(str(tmp_path / "left")) and not netns_exists(str(tmp_path / "none"))
    assert not netns_exists("x") and not netns_exists("")
    assert netns_exists("/proc/self/ns/net") and not netns_exists("/proc/0/ns/net")


def test_plugins_and_list_are_installed_whole(tmp_path: Path) -> None:
    """Executable under its names, reference plugins beside it, list written once; a wrong file is mended."""
    reference = tmp_path / "lib"
    reference.mkdir()
    (reference / "portmap").write_bytes(b"portmap")
    plugins, lists = tmp_path / "bin", tmp_path / "net.d"
    assert install_plugins(native_path("azure-vnet"), plugins, reference)
    names = {path.name for path in plugins.iterdir()}
    assert names == {"azure-vnet", "azure-vnet-ipam", "azure-ipam", "portmap", "loopback"}
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in plugins.iterdir())
    assert install_conflist(lists, portmap=True) and not install_conflist(lists, portmap=True)
    (lists / FILE_NAME).write_text("{")
    assert install_conflist(lists, portmap=True)
    assert orjson.loads((lists / FILE_NAME).read_bytes()) == overlay_conflist(portmap=True)
    assert [path.name for path in lists.iterdir()] == [FILE_NAME], "no temporary file is left"


def test_without_portmap_the_list_leaves_it_out(tmp_path: Path) -> None:
    """A list that names a missing plugin would fail every pod."""
    assert not install_plugins(native_path("azure-vnet"), tmp_path / "bin", tmp_path / "none")
    assert [p["type"] for p in overlay_conflist(portmap=False)["plugins"]] == ["azure-vnet"]


def test_atomic_write_keeps_what_is_right(tmp_path: Path) -> None:
    """A file that holds the content already is not touched."""
    path = tmp_path / "a" / "b"
    assert write_atomically(path, b"x", 0o644)
    before = path.stat().st_ino
    assert not write_atomically(path, b"x", 0o644) and path.stat().st_ino == before
    assert write_atomically(path, b"x", 0o755) and path.stat().st_mode & 0o777 == 0o755


def test_settings() -> None:
    """Defaults are a real node's paths."""
    settings = parse_settings(["--node-name", "n1"])
    assert str(settings.socket) == "/run/podloom/agent.sock"
    assert str(settings.spool) == "/var/lib/podloom/spool"
    with pytest.raises(SystemExit):
        parse_settings([])


async def test_the_object_of_aks_s_own_controller(followed: Followed) -> None:
    """An overlay object as AKS writes it, with no word on its state, is served; a pool of addresses is refused."""
    made = nnc()
    made["spec"] = {"requestedIPCount": 0}
    made["status"] = {
        "assignedIPCount": 256,
        "networkContainers": [
            {
                "assignmentMode": "static",
                "id": "5c034b2f-aef2-43fc-8a65-f9f353e3624b",
                "nodeIP": "10.224.0.6",
                "primaryIP": "192.168.1.0/24",
                "subnetAddressSpace": "192.168.0.0/16",
                "subnetName": "routingdomain_0c1994ec-f208-56f6-abeb-fd3e51b272c8_overlaysubnet",
                "type": "overlay",
                "version": 0,
            }
        ],
    }
    followed.kube.put(NNCS, made)
    await followed.settle()
    assert followed.inputs.trouble() == "" and followed.book.ranges == (ip_network("192.168.1.0/24"),)
    pool = {"assignmentMode": "dynamic", "type": "vnet", "primaryIP": "10.1.0.4", "id": "x"}
    pool["ipAssignments"] = [{"name": "a", "ip": "10.1.0.5"}]  # type: ignore[assignment]
    followed.kube.put(NNCS, {**made, "status": {"networkContainers": [pool]}})
    await followed.settle()
    assert followed.book.ranges == (ip_network("192.168.1.0/24"),), "what cannot be read changes nothing"
