"""Runtimes that are not Kubernetes: a shell script with `ip netns`, and `ctr run --cni` of containerd (needs root)."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxkit import OUTSIDE, Box, wait_for

SCRIPT = """
set -eu
verb=$1 name=$2
export CNI_COMMAND=$verb CNI_CONTAINERID=$name CNI_NETNS=/run/netns/$name CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin
[ "$verb" = DEL ] || ip netns add "$name"
printf '{"cniVersion":"1.0.0","name":"azure","type":"azure-vnet"}' | /opt/cni/bin/azure-vnet
[ "$verb" = ADD ] || ip netns del "$name"
"""
CONTAINERD = """
version = 2
root = "{root}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
"""
PLACES = """
set -e
mkdir -p /etc/cni /opt/cni/bin /run/podloom
mount -t tmpfs none /etc/cni && mkdir /etc/cni/net.d && mount --bind {folder}/net.d /etc/cni/net.d
mount --bind {folder}/bin /opt/cni/bin
ln -s {folder}/agent.sock /run/podloom/agent.sock
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    try:
        made.start_agent()
        made.sh(PLACES.format(folder=tmp_path))
        yield made
    finally:
        made.close()


@pytest.mark.root
def test_shell_script(box: Box) -> None:
    """The default places, no CNI_ARGS, `ip netns`: the namespace has network; DEL twice leaves nothing."""
    script = box.folder / "net.sh"
    script.write_text(SCRIPT)
    results = [json.loads(box.sh(f"sh {script} ADD {name}")) for name in ("one", "two")]
    addresses = [result["ips"][0]["address"].partition("/")[0] for result in results]
    for target in (addresses[1], OUTSIDE):
        assert "1 packets received" in box.sh(f"busybox ping -c1 -W1 {target}", netns="one")
    box.sh("sleep 2")
    assert box.sh(f"sh {script} DEL one") == ""
    box.sh(f"ip netns add one; sh {script} DEL one; sh {script} DEL two")
    assert "azv" not in box.sh("ip -o link; ip route")
    box.kill_agent()
    assert box.leases() == []


@pytest.mark.lab
def test_ctr_run_with_cni(box: Box) -> None:
    """`ctr run --cni` uses the list the agent wrote, gives no pod names, and its end gives the address back."""
    rootfs = box.folder / "rootfs"
    box.sh(f"mkdir -p {rootfs}/bin {rootfs}/proc; cp $(command -v busybox) {rootfs}/bin/busybox")
    config = box.folder / "containerd.toml"
    config.write_text(CONTAINERD.format(root=box.folder / "containerd"))
    box.start("containerd", "--config", str(config), "--log-level", "warn")
    wait_for(lambda: "SERVER" in box.sh("ctr version 2>&1 | tr a-z A-Z", check=False), 20)
    inside = f"/bin/busybox ip addr show eth0; /bin/busybox ping -c1 -W2 {OUTSIDE}"
    output = box.sh(f"ctr run --rm --cni --rootfs {rootfs} demo /bin/busybox sh -c '{inside}' 2>&1")
    assert "inet 192.168.1.1/32" in output and "1 packets received" in output, output
    wait_for(lambda: "azv" not in box.sh("ip -o link; ip route"), 10)
    box.kill_agent()
    assert box.leases() == []
