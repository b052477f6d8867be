"""An authority is made once and issues what TLS accepts."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import yaml

from podloom.drivers.pki import Authority, kubeconfig


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[object, ...]:
    """The subject of the client's certificate as the server saw it."""
    near, far = socket.socketpair()
    seen: list[object] = []

    def serve() -> None:
        with server.wrap_socket(far, server_side=True) as tls:
            seen.extend((tls.getpeercert() or {}).get("subject", ()))
            tls.sendall(b"x")  # one that only closes breaks the client's pipe with OpenSSL 3.5

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(near, server_hostname=name) as tls:
        tls.recv(1)
    thread.join()
    return tuple(seen)


def test_a_client_certificate_carries_user_and_groups(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, "test authority")
    serving = authority.issue("server", "server", hosts=["localhost", "127.0.0.1"])
    user = authority.issue("user", "jane", groups=["a", "b"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.cert_path))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(serving.cert, serving.key)
    client = ssl.create_default_context(cafile=str(authority.cert_path))
    for context in (server, client):  # Python 3.13's default
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(user.cert, user.key)
    subject = handshake(server, client, "127.0.0.1")
    assert (("organizationName", "a"),) in subject and (("commonName", "jane"),) in subject


def test_an_authority_opened_again_issues_nothing_new(tmp_path: Path) -> None:
    """A restart presents the same certificates; a changed address is a new one."""
    first = Authority.open(tmp_path, "x").issue("s", "s", hosts=["10.0.0.1"]).cert.read_bytes()
    again = Authority.open(tmp_path, "x").issue("s", "s", hosts=["10.0.0.1"]).cert.read_bytes()
    other = Authority.open(tmp_path, "x").issue("s", "s", hosts=["10.0.0.2"]).cert.read_bytes()
    assert first == again != other


def test_a_kubeconfig_has_everything_embedded(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, "x")
    text = kubeconfig("https://127.0.0.1:1", authority.cert_path, authority.issue("u", "u"), cluster="c", user="u")
    document = yaml.safe_load(text)
    assert document["current-context"] == "c"
    assert document["users"][0]["user"]["client-key-data"]
