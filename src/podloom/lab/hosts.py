"""A node of the lab: namespaces, folders and a real containerd.

The problem: several nodes on one machine, each with everything a node agent expects at its usual path (/run,
/etc/cni, /opt/cni/bin, /var/lib/...), and a crash of one that takes nothing else with it. A node is a static process,
PID 1 of its own mount, uts, ipc, cgroup and pid namespaces, in the network namespace that the fabric made for
its NIC. Its folders are bind mounts from the lab's state; containerd, the node runtime and the agent are started
inside. Killing PID 1 is the crash of the node: the kernel ends the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podloom.drivers.files import write_if_changed
from podloom.lab.processes import ProcessSpec
from podloom.native import native_path

FOLDERS: Mapping[str, str] = {
    "podloom": "/var/lib/podloom",
    "containerd": "/var/lib/containerd",
    "cni": "/var/lib/cni",
    "kubelet": "/var/lib/kubelet",
    "log-pods": "/var/log/pods",
    "log-containers": "/var/log/containers",
    "etc-cni": "/etc/cni",
    "etc-containerd": "/etc/containerd",
    "etc-kubernetes": "/etc/kubernetes",
    "cni-bin": "/opt/cni/bin",
}
SANDBOX_IMAGE = "podloom.local/pause:1"
NOFILE = 65536
CAP_SYS_RESOURCE = 24
MNT_DETACH = 2


@dataclass(frozen=True)
class Host:
    """One node: its name, its folder in the lab's state, its network namespace and its lab's tag."""

    tag: str
    name: str
    root: Path
    netns: str
    name_server: str
    registry: str  # http://address:port of the lab's registry; empty: none
    proxy: str  # http://address:port for pulls from elsewhere; empty: none

    @property
    def cgroup(self) -> str:
        return f"{self.tag}/{self.name}"

    def folder(self, key: str) -> Path:
        return self.root / key

    def prepare(self) -> None:
        """Make the node's folders and files; idempotent."""
        for key in FOLDERS:
            self.folder(key).mkdir(parents=True, exist_ok=True)
        for root in cgroup_roots():
            delegate(root, Path(self.cgroup))
        write_if_changed(self.root / "resolv.conf", f"nameserver {self.name_server}\n")
        write_if_changed(self.root / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        write_if_changed(self.folder("etc-containerd") / "config.toml", containerd_config(may_raise_oom_score()))
        if self.registry:
            mirror = self.folder("etc-containerd") / "certs.d" / "_default"
            mirror.mkdir(parents=True, exist_ok=True)
            write_if_changed(mirror / "hosts.toml", registry_mirror(self.registry))

    def holder(self) -> ProcessSpec:
        """PID 1 of the node."""
        binds = [flag for key, target in FOLDERS.items() for flag in ("--bind", str(self.folder(key)), target)]
        files = [
            flag for name in ("resolv.conf", "hosts") for flag in ("--bind", str(self.root / name), f"/etc/{name}")
        ]
        namespaces = ["--netns", f"/run/netns/{self.netns}", "--unshare", "--leaf", "init", "--hostname", self.name]
        placement = [*self._cgroups(), *namespaces, "--tmpfs", "/run", *files, *binds, "--sys"]
        return ProcessSpec(
            f"node/{self.name}/holder", (str(native_path("pause")), self.name), self._log("holder"), tuple(placement)
        )

    def containerd(self, holder_pid: int) -> ProcessSpec:
        environment = {"NO_PROXY": "198.19.0.0/24,localhost,127.0.0.1"}
        if self.proxy:
            environment |= {"HTTP_PROXY": self.proxy, "HTTPS_PROXY": self.proxy}
        program = shutil.which("containerd") or "/usr/bin/containerd"
        return self.process("containerd", (program, "--log-level", "warn"), holder_pid, environment)

    def process(
        self, name: str, argv: Sequence[str], holder_pid: int, environment: Mapping[str, str] | None = None
    ) -> ProcessSpec:
        """A process inside the node."""
        placement = (*self._cgroups("system"), "--nofile", str(NOFILE))
        spec_name = f"node/{self.name}/{name}"
        return ProcessSpec(spec_name, tuple(argv), self._log(name), placement, environment or {}, holder_pid)

    def remove(self) -> None:
        """Remove the node's cgroups and folders; its processes must be gone. Idempotent."""
        self.remove_cgroups()
        unmount_below(self.root)
        shutil.rmtree(self.root, ignore_errors=True)

    def remove_cgroups(self) -> None:
        for root in cgroup_roots():
            remove_cgroup(root / self.cgroup)
            with contextlib.suppress(OSError):  # other nodes of the lab are still there
                (root / self.tag).rmdir()

    def _cgroups(self, child: str = "") -> tuple[str, ...]:
        # The node's folder is the root of its cgroup namespace. All processes are one level below, because cgroup v2
        # allows none in a folder whose children have controllers.
        folders = (root / self.cgroup / child for root in cgroup_roots())
        return tuple(flag for folder in folders for flag in ("--cgroup", str(folder)))

    def _log(self, name: str) -> Path:
        return self.root / "log" / f"{name}.log"


def cgroup_roots() -> list[Path]:
    """Every mounted cgroup hierarchy, v1 and v2, read from the kernel: layouts differ from machine to machine."""
    roots = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        kind = tail.split()[0]
        path = Path(fields.split()[4])
        if kind in {"cgroup", "cgroup2"} and path not in roots:
            roots.append(path)
    return roots


def delegate(root: Path, path: Path) -> None:
    """Make root/path; on cgroup v2 hand every controller of `root` down to it. `root` itself is not ours to change."""
    folder = root
    for part in path.parts:
        folder = folder / part
        folder.mkdir(exist_ok=True)
        controllers = folder / "cgroup.controllers"
        if controllers.exists():
            for name in controllers.read_text().split():
                with contextlib.suppress(OSError):  # one that cannot be handed down is a limit that cannot be set
                    (folder / "cgroup.subtree_control").write_text(f"+{name}")


def remove_cgroup(folder: Path) -> None:
    """Remove a cgroup folder and those below it; what still holds a process stays. Only folders, deepest first."""
    if not folder.is_dir():
        return
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()


def unmount_below(folder: Path) -> None:
    """Detach what is still mounted in `folder` in our own mount namespace, deepest first."""
    libc = ctypes.CDLL(None, use_errno=True)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(f"{folder}/")), key=len, reverse=True):
        if libc.umount2(point.encode(), MNT_DETACH) != 0 and ctypes.get_errno() != errno.EINVAL:
            raise OSError(ctypes.get_errno(), "unmount", point)


def may_raise_oom_score() -> bool:
    """Whether this machine lets us lower oom_score_adj below our own; containerd's CRI must know."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return False


def containerd_config(raise_oom_score: bool) -> str:
    """containerd's config.toml (version 2, read by 1.6 to 2.x): CRI with overlayfs and runc, nothing we do not use."""
    restrict = "false" if raise_oom_score else "true"
    return f"""version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", \
"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", \
"io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  restrict_oom_score_adj = {restrict}
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  max_concurrent_downloads = 5
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""


def registry_mirror(url: str) -> str:
    """hosts.toml for every registry: ask the lab's first, then the real one."""
    return f"""[host."{url}"]
  capabilities = ["pull", "resolve"]
"""
