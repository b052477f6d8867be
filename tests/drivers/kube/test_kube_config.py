"""Kubeconfigs and service accounts become one Access; mistakes name the file and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from podloom.drivers.kube.config import from_kubeconfig, in_cluster
from podloom.drivers.pki import Authority, kubeconfig
from podloom.model.errors import Rejected, Unsupported


def write(folder: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None, **extra: Any) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "ns"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://h:1/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        **extra,
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def test_embedded_certificates(tmp_path: Path) -> None:
    """What our own authority writes can be read: CA, certificate and key inline."""
    authority = Authority.open(tmp_path, "ca")
    path = tmp_path / "config"
    path.write_text(kubeconfig("https://h:1", authority.cert_path, authority.issue("u", "u"), cluster="k", user="u"))
    access = from_kubeconfig(path)
    assert access.server == "https://h:1" and access.tls is not None and access.headers() == {}


def test_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    """certificate-authority and tokenFile are looked up beside the file."""
    Authority.open(tmp_path / "pki", "ca")
    (tmp_path / "token").write_text("secret\n")
    access = from_kubeconfig(write(tmp_path, {"tokenFile": "token"}, {"certificate-authority": "pki/ca.crt"}))
    assert access.headers() == {"Authorization": "Bearer secret"} and access.namespace == "ns"


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    """Kubelets rotate tokens: after a minute the new one is used."""
    (tmp_path / "token").write_text("one")
    access = from_kubeconfig(write(tmp_path, {"tokenFile": "token"}))
    assert access.headers()["Authorization"] == "Bearer one"
    (tmp_path / "token").write_text("two")
    assert access.headers()["Authorization"] == "Bearer one"
    access._read_at -= 61.0
    assert access.headers()["Authorization"] == "Bearer two"


def test_mistakes_are_named(tmp_path: Path) -> None:
    """No file, no YAML, no such context, a missing CA file, a credential plugin."""
    with pytest.raises(Rejected, match="nothing"):
        from_kubeconfig(tmp_path / "nothing")
    with pytest.raises(Rejected, match="no entry 'other' in contexts"):
        from_kubeconfig(write(tmp_path, {}), "other")
    with pytest.raises(Rejected, match="certificate-authority"):
        from_kubeconfig(write(tmp_path, {}, {"certificate-authority": "none.crt"}))
    with pytest.raises(Unsupported, match="credential plugin"):
        from_kubeconfig(write(tmp_path, {"exec": {"command": "x"}}))
    (tmp_path / "bad").write_text("{")
    with pytest.raises(Rejected, match="bad"):
        from_kubeconfig(tmp_path / "bad")


def test_service_account(tmp_path: Path) -> None:
    """In a pod: host and port from the environment, CA, token and namespace from the mount; IPv6 in brackets."""
    Authority.open(tmp_path, "ca")
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("here\n")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = in_cluster(tmp_path, environ)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "here")
    assert access.headers() == {"Authorization": "Bearer t"}
    with pytest.raises(Rejected, match="KUBERNETES_SERVICE_HOST"):
        in_cluster(tmp_path, {})
