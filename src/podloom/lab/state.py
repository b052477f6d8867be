"""Where a lab keeps what must outlive it, and what tells its users how to reach it."""

from __future__ import annotations

import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podloom.drivers.files import write_atomic
from podloom.model.errors import Rejected

DEFAULT_STATE = "/var/lib/podloom/lab"
DEFAULT_TAG = "podloom"


class LabFile(msgspec.Struct, rename="camel"):
    """$PODLOOM_STATE/lab.json: what a client needs to know."""

    cloud_url: str
    ca_file: str
    subscription_id: str
    tag: str


@dataclass(frozen=True)
class LabPaths:
    """Every path of a lab, from its state folder."""

    root: Path

    @property
    def lab_file(self) -> Path:
        return self.root / "lab.json"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def fabric(self) -> Path:
        return self.root / "fabric"

    @property
    def status_file(self) -> Path:
        return self.root / "run" / "status.json"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def kubectl_cache(self) -> Path:
        return self.root / "kubectl-cache"

    def cluster(self, key: str) -> Path:
        return self.root / "clusters" / key

    def node(self, name: str) -> Path:
        return self.root / "nodes" / name


def paths() -> LabPaths:
    """The lab this user means: PODLOOM_STATE, else /var/lib/podloom/lab."""
    return LabPaths(Path(os.environ.get("PODLOOM_STATE", DEFAULT_STATE)))


def open_lab(where: LabPaths, port: int) -> LabFile:
    """The lab's file, made now when it is not there yet; the subscription id stays for its whole life."""
    if where.lab_file.exists():
        return read_lab(where)
    tag = os.environ.get("PODLOOM_TAG", DEFAULT_TAG)
    lab = LabFile(f"https://127.0.0.1:{port}", str(where.pki / "ca.crt"), str(uuid.uuid4()), tag)
    where.root.mkdir(parents=True, exist_ok=True)
    write_atomic(where.lab_file, msgspec.json.format(msgspec.json.encode(lab)))
    return lab


def read_lab(where: LabPaths) -> LabFile:
    """Raises Rejected when there is no lab or its file is damaged."""
    try:
        return msgspec.json.decode(where.lab_file.read_bytes(), type=LabFile)
    except FileNotFoundError:
        raise Rejected(f"find the lab in {where.root}", "there is none", "run `podloom lab up`") from None
    except msgspec.DecodeError as error:
        raise Rejected(f"read {where.lab_file}", str(error), "run `podloom lab down --purge`, then `up`") from error


def python() -> str:
    """The interpreter that runs our doors: this one, by its real path, never a shim on PATH."""
    return sys.executable
