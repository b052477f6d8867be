"""Volumes on disk: ROOT/pods/UID/volumes/KIND/NAME, written so that a reader never sees half an update.

The problem: a container reads its ConfigMap while it changes, and a kubelet may be killed at any moment. Files of
one volume live in a timestamped directory; `..data` is a symlink swapped by rename to the newest one, and the names
users see are symlinks through it (Kubernetes atomic writer). Secrets and tokens are kept in tmpfs.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podloom.drivers.runtime.mounts import mount_tmpfs, unmount_below
from podloom.model.errors import Rejected
from podloom.plan.kubelet.volumes import Empty, File, Files, HostPath, VolumePlan

_DATA = "..data"


class VolumeStore:
    """The volumes of this node's pods, below `root`."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def pod_dir(self, uid: str) -> Path:
        return self.root / "pods" / uid

    def set_up(self, pod: Mapping[str, Any], name: str, plan: VolumePlan) -> Path:
        """Make the volume as planned (again: updates it); its path on the node. Rejected, OSError."""
        if isinstance(plan, HostPath):
            return _host_path(plan, name)
        security = pod["spec"].get("securityContext") or {}
        group = security.get("fsGroup")
        kind = "empty-dir" if isinstance(plan, Empty) else "secret" if plan.secret else "configmap"
        path = self.pod_dir(pod["metadata"]["uid"]) / "volumes" / f"kubernetes.io~{kind}" / name
        path.mkdir(parents=True, exist_ok=True)
        if isinstance(plan, Empty):
            if plan.memory:
                mount_tmpfs(path, size_bytes=plan.size_bytes)
            path.chmod(0o2777 if group is not None else 0o777)
            if group is not None:
                os.chown(path, -1, group)
            return path
        if plan.secret:
            mount_tmpfs(path, mode=0o755)
        write_atomically(path, plan, group)
        return path

    def hosts_file(self, uid: str, text: str) -> Path:
        path = self.pod_dir(uid) / "etc-hosts"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        path.chmod(0o644)
        return path

    def termination_log(self, uid: str, container: str, attempt: int) -> Path:
        """An empty file anyone may write, one per start."""
        path = self.pod_dir(uid) / "containers" / container / str(attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        return path

    def uids(self) -> set[str]:
        """Pods that have something on disk."""
        base = self.root / "pods"
        return {path.name for path in base.iterdir()} if base.is_dir() else set()

    def remove(self, uid: str) -> None:
        """Unmount and delete all the pod has on disk; nothing there is success."""
        path = self.pod_dir(uid)
        if path.exists():
            unmount_below(path)
            shutil.rmtree(path, ignore_errors=True)


def _host_path(plan: HostPath, name: str) -> Path:
    """Check or make the path as its type asks (Kubernetes docs, "hostPath volume types")."""
    path = Path(plan.path)
    if plan.type == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif plan.type == "FileOrCreate":
        path.touch(mode=0o644, exist_ok=True)
    checks = {
        "Directory": path.is_dir,
        "File": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    check = checks.get(plan.type)
    if check is not None and not check():
        raise Rejected(
            f'MountVolume.SetUp failed for volume "{name}"', f"hostPath type check failed: {path} is not a {plan.type}"
        )
    if not plan.type and not path.exists():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def _current(path: Path) -> dict[str, File]:
    if not (path / _DATA).exists():
        return {}
    data = (path / _DATA).resolve()
    return {
        str(file.relative_to(data)): File(file.read_bytes(), file.stat().st_mode & 0o777)
        for file in data.rglob("*")
        if file.is_file()
    }


def write_atomically(path: Path, plan: Files, group: int | None = None) -> bool:
    """Make the directory hold exactly the planned files; False when it did already."""
    wanted = {name: File(one.data, one.mode | (0o440 if group is not None else 0)) for name, one in plan.files.items()}
    for name in wanted:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise Rejected("write a volume", f"path {name!r} leaves the volume")
    if (path / _DATA).exists() and _current(path) == wanted:
        return False
    old = str((path / _DATA).readlink()) if (path / _DATA).is_symlink() else ""
    fresh = path / f"..{secrets.token_hex(6)}"
    fresh.mkdir(mode=0o755)
    for name, one in wanted.items():
        file = fresh / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(one.data)
        file.chmod(one.mode)
        if group is not None:
            os.chown(file, -1, group)
    swap = path / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.replace(path / _DATA)
    _link_names(path, {Path(name).parts[0] for name in wanted})
    if old and old != fresh.name:
        shutil.rmtree(path / old, ignore_errors=True)
    return True


def _link_names(path: Path, names: set[str]) -> None:
    for entry in path.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (path / name).is_symlink():
            (path / name).symlink_to(f"{_DATA}/{name}")


def sub_path(volume: Path, relative: str) -> Path:
    """A path inside the volume, made when missing; Rejected when it (or a symlink in it) leads out."""
    if relative.startswith("/") or ".." in Path(relative).parts:
        raise Rejected("mount a subPath", f"{relative!r} must stay inside the volume")
    real = (volume / relative).resolve()
    if not real.is_relative_to(volume.resolve()):
        raise Rejected("mount a subPath", f"{relative!r} leads out of the volume")
    if not real.exists():
        real.mkdir(parents=True, exist_ok=True)
        real.chmod(volume.stat().st_mode & 0o7777)
    return real
