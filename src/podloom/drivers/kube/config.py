"""Where the API server is and who we are: kubeconfig files and the in-cluster service account.

The problem: the same doors run with a kubeconfig (lab processes, nodes) and in a pod (cluster DNS). Both become
one `Access`: URL, TLS context, and a token that is read again when its file changes, as kubelets rotate it.
"""

from __future__ import annotations

import base64
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podloom.model.errors import Rejected, Unsupported

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_TTL_S = 60.0


@dataclass
class Access:
    """How to reach one API server. `token_file` wins over `token`; tls is None for plain http."""

    server: str
    tls: ssl.SSLContext | None = None
    token: str = ""
    token_file: Path | None = None
    server_hostname: str | None = None
    namespace: str = "default"
    _read_at: float = field(default=-1e9, repr=False)

    def headers(self) -> dict[str, str]:
        """Authorization for the next request; a token file is read at most once a minute."""
        if self.token_file is not None and time.monotonic() - self._read_at > _TOKEN_TTL_S:
            self.token = self.token_file.read_text().strip()
            self._read_at = time.monotonic()
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def from_kubeconfig(path: str | Path, context: str = "") -> Access:
    """The Access of a kubeconfig's current (or named) context; raises Rejected, Unsupported."""
    import yaml  # not needed in a pod, where memory counts

    path = Path(path)
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as e:
        raise Rejected(f"reading kubeconfig {path}", str(e)) from e
    config = config if isinstance(config, dict) else {}
    chosen = _named(config, "contexts", context or config.get("current-context") or "", path)["context"]
    cluster = _named(config, "clusters", chosen.get("cluster", ""), path)["cluster"]
    user = _named(config, "users", chosen["user"], path).get("user") or {} if chosen.get("user") else {}
    if "exec" in user or "auth-provider" in user:
        raise Unsupported(f"kubeconfig {path}", "its user needs a credential plugin", "use certificates or a token")
    token_file = user.get("tokenFile")
    return Access(
        server=cluster["server"].rstrip("/"),
        tls=_tls(cluster, user, path.parent) if cluster["server"].startswith("https:") else None,
        token=user.get("token", ""),
        token_file=(path.parent / token_file) if token_file else None,
        server_hostname=cluster.get("tls-server-name"),
        namespace=chosen.get("namespace") or "default",
    )


def in_cluster(root: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] | None = None) -> Access:
    """The Access of a pod's service account (Kubernetes page "Accessing the API from a Pod"); raises Rejected."""
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    token_file = root / "token"
    if not host or not token_file.exists():
        raise Rejected(
            "in-cluster configuration", f"no KUBERNETES_SERVICE_HOST or no {token_file}", "give --kubeconfig"
        )
    namespace = root / "namespace"
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        tls=ssl.create_default_context(cafile=str(root / "ca.crt")),
        token_file=token_file,
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )


def _named(config: Mapping[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return dict(entry)
    raise Rejected(f"kubeconfig {path}", f"no entry {name!r} in {section}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    ca = _data(cluster, "certificate-authority", folder)
    tls = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    cert, key = _data(user, "client-certificate", folder), _data(user, "client-key", folder)
    if cert and key:
        _load_chain(tls, cert + b"\n" + key)
    return tls


def _data(section: Mapping[str, Any], name: str, folder: Path) -> bytes:
    """A PEM given inline (name-data, base64) or as a file relative to the kubeconfig."""
    if inline := section.get(f"{name}-data"):
        return base64.b64decode(inline)
    if file := section.get(name):
        try:
            return (folder / str(file)).read_bytes()
        except OSError as e:
            raise Rejected(f"reading {name}", str(e)) from e
    return b""


def _load_chain(tls: ssl.SSLContext, pem: bytes) -> None:
    """Load certificate and key that are only in memory: OpenSSL wants a path, so a memfd has one."""
    fd = os.memfd_create("kubeconfig-user")
    try:
        os.write(fd, pem)
        tls.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
