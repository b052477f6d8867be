"""Images come in from archives of either format and go out by name."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from podloom.lab.imagestore import LAYER, LAYER_GZIP, ImageName, ImageStore
from podloom.model.errors import Rejected


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest"),
        ("podloom.local/echo:1", "podloom.local/echo:1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_names_are_read_as_runtimes_read_them(text: str, full: str) -> None:
    assert str(ImageName.parse(text)) == full


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_a_docker_archive_is_served_by_its_names(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "store")
    entry = {"Config": "c.json", "RepoTags": ["app:2"], "Layers": ["l/layer.tar", "m/layer.tar"]}
    files = {
        "manifest.json": json.dumps([entry]).encode(),
        "c.json": b'{"rootfs": {}}',
        "l/layer.tar": b"plain tar",
        "m/layer.tar": b"\x1f\x8bgzip",
    }
    names = store.load(archive(tmp_path / "a.tar", files))
    assert [str(n) for n in names] == ["docker.io/library/app:2"] == [str(n) for n in store.known()]
    digest = store.resolve(names[0])
    assert digest is not None
    manifest = json.loads((store.blob_path(digest) or tmp_path).read_bytes())
    assert [layer["mediaType"] for layer in manifest["layers"]] == [LAYER, LAYER_GZIP]


@pytest.mark.parametrize("files", [{}, {"manifest.json": b"nonsense"}, {"manifest.json": b'[{"Layers": ["x"]}]'}])
def test_a_bad_archive_is_refused_and_names_nothing(tmp_path: Path, files: dict[str, bytes]) -> None:
    store = ImageStore(tmp_path / "store")
    path = archive(tmp_path / "bad.tar", files)
    with pytest.raises(Rejected, match=r"bad\.tar"):
        store.load(path)
    assert list(store.known()) == []


def test_a_blob_path_is_never_outside_the_store(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    assert store.blob_path("sha256:../../../etc/passwd") is None
    assert store.blob_path("md5:" + "0" * 64) is None
