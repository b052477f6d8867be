"""`podloom image load` of what `docker save` writes: a pod of it runs, with the image's own settings."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from labkit import PODLOOM, Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
NAME = "example.test/loaded:7"


def tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (data, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def docker_archive(path: Path) -> Path:
    """One layer with busybox and a file, an entrypoint, a variable, a user and a working directory."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    layer = tar({"bin/sh": (busybox, 0o755), "srv/word": (b"from the image\n", 0o644)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["cat word; echo $GREETING; id -u; exec sleep 1000"],
            "Env": ["PATH=/bin", "GREETING=hello"],
            "WorkingDir": "/srv",
            "User": "1234",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(config).encode(), "layer.tar": layer}
    path.write_bytes(tar({k: (v, 0o644) for k, v in {**files, "manifest.json": json.dumps(manifest).encode()}.items()}))
    return path


def test_a_pod_of_a_loaded_image_runs(cluster: Lab, tmp_path: Path) -> None:
    loaded = cluster.podloom("image", "load", str(docker_archive(tmp_path / "loaded.tar")))
    assert NAME in json.dumps(loaded)
    cluster.kubectl("run", "loaded", f"--image={NAME}", "--image-pull-policy=IfNotPresent")
    try:
        cluster.kubectl("wait", "pod/loaded", "--for=condition=Ready", "--timeout=60s")
        assert cluster.kubectl("logs", "loaded").splitlines() == ["from the image", "hello", "1234"]
    finally:
        cluster.kubectl("delete", "pod", "loaded", "--grace-period=0", "--force")


def test_what_is_no_archive_is_refused_with_its_name(lab: Lab, tmp_path: Path) -> None:
    junk = tmp_path / "junk.tar"
    junk.write_bytes(b"no archive")
    refused = lab.run(PODLOOM, "image", "load", str(junk), check=False)
    assert refused.returncode == 1 and "junk.tar" in refused.stderr and "Traceback" not in refused.stderr
