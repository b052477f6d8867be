"""Volumes on disk: atomic, idempotent, never outside their directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.drivers.runtime.mounts import mounts_below
from podloom.kube.kubelet.volumes import VolumeStore, sub_path, write_atomically
from podloom.model.errors import Rejected
from podloom.plan.kubelet.volumes import Empty, File, Files, HostPath

POD = {"metadata": {"uid": "u1"}, "spec": {}}
names = st.sampled_from(["a", "b", "deep/c", "deep/d", "deep/er/e"])
contents = st.dictionaries(names, st.builds(File, st.binary(max_size=8), st.sampled_from([0o644, 0o400])), max_size=5)


def shown(path: Path) -> dict[str, File]:
    """What a container sees: visible names only, followed through their links."""
    out = {}
    for folder, _, files in os.walk(path, followlinks=True):
        for name in files:
            file = Path(folder, name)
            if not str(file.relative_to(path)).startswith(".."):
                out[str(file.relative_to(path))] = File(file.read_bytes(), file.stat().st_mode & 0o777)
    return out


@given(st.lists(contents, min_size=1, max_size=5))
def test_every_update_shows_exactly_the_plan(steps: list[dict[str, File]]) -> None:
    """Whatever was there before, afterwards exactly the planned files are seen; a repetition changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for files in steps:
            write_atomically(path, Files(files, False))
            assert shown(path) == files
            assert not write_atomically(path, Files(files, False))
        assert len([entry for entry in path.iterdir() if entry.name.startswith("..")]) == 2


def test_a_reader_keeps_its_version(tmp_path: Path) -> None:
    """Files of one update appear together: the link that readers follow is swapped in one step."""
    write_atomically(tmp_path, Files({"a": File(b"1", 0o644), "b": File(b"1", 0o644)}, False))
    before = (tmp_path / "..data").readlink()
    write_atomically(tmp_path, Files({"a": File(b"2", 0o644), "b": File(b"2", 0o644)}, False))
    assert (tmp_path / "..data").readlink() != before
    assert (tmp_path / "a").readlink() == Path("..data/a")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_no_file_leaves_the_volume(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected):
        write_atomically(tmp_path, Files({name: File(b"", 0o644)}, False))
    with pytest.raises(Rejected):
        sub_path(tmp_path, name)


def test_sub_paths(tmp_path: Path) -> None:
    """A missing subPath is made with the volume's mode; a symlink may not lead out."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    made = sub_path(volume, "x/y")
    assert made.is_dir() and made.stat().st_mode & 0o777 == 0o777
    (volume / "out").symlink_to("/etc")
    with pytest.raises(Rejected):
        sub_path(volume, "out/new")
    (volume / "in").symlink_to("x")
    assert sub_path(volume, "in/y") == made


def test_host_paths(tmp_path: Path) -> None:
    store = VolumeStore(str(tmp_path / "kubelet"))
    file = tmp_path / "file"
    assert store.set_up(POD, "v", HostPath(str(file), "FileOrCreate")) == file and file.is_file()
    with pytest.raises(Rejected, match="hostPath type check failed"):
        store.set_up(POD, "v", HostPath(str(file), "Directory"))
    store.set_up(POD, "v", HostPath(str(tmp_path / "new"), "DirectoryOrCreate"))
    store.remove("u1")
    assert (tmp_path / "new").is_dir()


@pytest.mark.root
def test_memory_volumes_leave_nothing(tmp_path: Path) -> None:
    """Secrets and memory volumes are tmpfs, made once, and gone after the pod."""
    store = VolumeStore(str(tmp_path / "kubelet"))
    for _ in range(2):
        secret = store.set_up(POD, "s", Files({"k": File(b"v", 0o400)}, True))
        memory = store.set_up(POD, "m", Empty(True, 1 << 20))
    disk = store.set_up(POD, "d", Empty(False))
    assert set(mounts_below(tmp_path)) == {secret, memory}
    assert not os.path.ismount(disk) and disk.stat().st_mode & 0o777 == 0o777
    assert store.uids() == {"u1"}
    store.remove("u1")
    assert not mounts_below(tmp_path) and not store.pod_dir("u1").exists()


@pytest.mark.root
def test_fs_group(tmp_path: Path) -> None:
    store = VolumeStore(str(tmp_path / "kubelet"))
    pod = {"metadata": {"uid": "u2"}, "spec": {"securityContext": {"fsGroup": 1234}}}
    files = store.set_up(pod, "f", Files({"k": File(b"v", 0o600)}, False))
    assert ((files / "k").stat().st_gid, (files / "k").stat().st_mode & 0o777) == (1234, 0o640)
    empty = store.set_up(pod, "e", Empty(False))
    assert (empty.stat().st_gid, empty.stat().st_mode & 0o7777) == (1234, 0o2777)
    store.remove("u2")
