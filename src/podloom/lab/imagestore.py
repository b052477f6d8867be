"""Container images on disk: blobs by digest and the names that point at them.

The problem: nodes pull by name over the registry protocol, users load archives of either common format, and a
half-written image must never be served. Blobs are files named by their SHA-256 (OCI image layout); a name is one
small file replaced atomically after everything it needs is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from podloom.drivers.files import write_atomic
from podloom.model.errors import Rejected

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Blob:
    digest: str
    size: int


@dataclass(frozen=True)
class ImageName:
    """registry/repository:tag, normalised as container runtimes do (docker.io/library/nginx:latest)."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ImageName:
        if not text or any(c.isspace() for c in text):
            raise Rejected(f"read image name {text!r}", "it is empty or has white space", "write [registry/]name[:tag]")
        head, slash, rest = text.partition("/")
        is_registry = bool(slash) and ("." in head or ":" in head or head == "localhost")
        registry, path = (head, rest) if is_registry else ("docker.io", text)
        repository, _, tag = path.partition(":")
        if registry == "docker.io" and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, tag or "latest")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


class ImageStore:
    """The images of one lab, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.blobs = folder / "blobs"
        self.names = folder / "names"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.names.mkdir(parents=True, exist_ok=True)

    def blob_path(self, digest: str) -> Path | None:
        """Where a blob lies; None when it is unknown or the digest is malformed."""
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
            return None
        path = self.blobs / value
        return path if path.exists() else None

    def add_bytes(self, data: bytes) -> Blob:
        digest = hashlib.sha256(data).hexdigest()
        if not (self.blobs / digest).exists():
            write_atomic(self.blobs / digest, data)
        return Blob(f"sha256:{digest}", len(data))

    def add_stream(self, stream: IO[bytes]) -> Blob:
        """Copy a stream of any size into the store."""
        temporary = self.blobs / f".new.{os.getpid()}"
        digest, size = hashlib.sha256(), 0
        with temporary.open("wb") as file:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.blobs / digest.hexdigest())
        return Blob(f"sha256:{digest.hexdigest()}", size)

    def resolve(self, name: ImageName) -> str | None:
        """The manifest digest a name points at."""
        try:
            return (self.names / quote(str(name), safe="")).read_text()
        except FileNotFoundError:
            return None

    def point(self, name: ImageName, manifest: Blob) -> None:
        write_atomic(self.names / quote(str(name), safe=""), manifest.digest)

    def known(self) -> Iterator[ImageName]:
        for path in sorted(self.names.iterdir()):
            if not path.name.startswith("."):
                yield ImageName.parse(unquote(path.name))

    def add_image(self, config: dict[str, Any], layers: list[tuple[Blob, str]], names: list[ImageName]) -> Blob:
        """Store config and manifest for layers that are already here (blob, media type); returns the manifest."""
        config_blob = self.add_bytes(json.dumps(config).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_blob.digest, "size": config_blob.size},
            "layers": [{"mediaType": kind, "digest": blob.digest, "size": blob.size} for blob, kind in layers],
        }
        stored = self.add_bytes(json.dumps(manifest).encode())
        for name in names:
            self.point(name, stored)
        return stored

    def load(self, archive: Path) -> list[ImageName]:
        """Add the images of an archive made by `docker save` or in OCI layout; returns their names.

        Raises Rejected when it is neither; nothing is named before all of it is stored.
        """
        if not archive.is_file():
            raise Rejected(f"load image archive {archive}", "no such file", "give a file made by `docker save`")
        try:
            with tarfile.open(archive) as tar:
                members = {m.name.removeprefix("./"): m for m in tar.getmembers()}
                if "manifest.json" in members:
                    return self._load_docker(tar, members)
                if "index.json" in members:
                    return self._load_oci(tar, members)
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise Rejected(f"load image archive {archive}", f"it is damaged ({error})", "make it again") from error
        raise Rejected(
            f"load image archive {archive}",
            "it holds neither manifest.json nor index.json",
            "make it with `docker save` or `ctr image export`",
        )

    def _load_docker(self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> list[ImageName]:
        loaded: list[ImageName] = []
        for image in json.loads(_read(tar, members["manifest.json"])):
            names = [ImageName.parse(tag) for tag in image.get("RepoTags") or ()]
            if not names:
                raise ValueError("an image in it has no name")
            layers = [self._add_layer(tar, _resolve_link(members, path)) for path in image["Layers"]]
            self.add_image(json.loads(_read(tar, members[image["Config"]])), layers, names)
            loaded += names
        return loaded

    def _add_layer(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[Blob, str]:
        stream = tar.extractfile(member)
        assert stream is not None
        with stream:
            compressed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            return self.add_stream(stream), LAYER_GZIP if compressed else LAYER

    def _load_oci(self, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> list[ImageName]:
        for name, member in members.items():
            if name.startswith("blobs/sha256/") and member.isfile():
                self._add_layer(tar, member)
        loaded: list[ImageName] = []
        for entry in json.loads(_read(tar, members["index.json"]))["manifests"]:
            notes = entry.get("annotations", {})
            text = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name", "")
            image = ImageName.parse(text)
            self.point(image, Blob(entry["digest"], entry["size"]))
            loaded.append(image)
        return loaded


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name} is not a file")
    return stream.read()


def _resolve_link(members: dict[str, tarfile.TarInfo], path: str) -> tarfile.TarInfo:
    """`docker save` writes a layer shared by two images once, and a symbolic link for the other."""
    member = members[path]
    if not member.issym():
        return member
    return members[os.path.normpath(str(Path(path).parent / member.linkname))]
