"""Certificates and kubeconfigs.

The problem: every door speaks TLS with client certificates, and a restarted lab must present the same
authority as before. An authority is a key and a certificate in two files, made once; what it issues is written
beside it. EC P-256 keys, because ten nodes' worth of RSA keys would take seconds.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podloom.drivers.files import write_atomic

VALIDITY = timedelta(days=3650)
CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class KeyPair:
    """Where a certificate and its key lie; PEM, the key readable by the owner only."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority kept in a folder as ca.crt and ca.key."""

    def __init__(self, folder: Path, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._cert = cert
        self._key = key

    @property
    def cert_path(self) -> Path:
        return self.folder / "ca.crt"

    @classmethod
    def open(cls, folder: Path, common_name: str) -> Authority:
        """The authority of `folder`, made now when it is not there yet."""
        cert_path, key_path = folder / "ca.crt", folder / "ca.key"
        if cert_path.exists() and key_path.exists():
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return cls(folder, x509.load_pem_x509_certificate(cert_path.read_bytes()), key)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        cert = _builder(name, name, key).add_extension(_CA, critical=True).add_extension(_CA_USAGE, critical=True)
        # A verifier that follows RFC 5280 strictly, as Python 3.13 does, refuses a chain without key identifiers.
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signed = cert.add_extension(identifier, critical=False).sign(key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(key_path, _key_pem(key), mode=0o600)
        write_atomic(cert_path, signed.public_bytes(serialization.Encoding.PEM))
        return cls(folder, signed, key)

    def issue(self, name: str, common_name: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> KeyPair:
        """The pair `name` for this subject, made when it is missing or its names no longer fit.

        groups become organizations (Kubernetes reads them as groups); hosts are DNS names or addresses.
        """
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.cert.exists() and pair.key.exists() and self._fits(pair.cert, common_name, groups, hosts):
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        cert = (
            _builder(_subject(common_name, groups), self._cert.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_PURPOSES, critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        if hosts:
            cert = cert.add_extension(_alternative_names(hosts), critical=False)
        write_atomic(pair.key, _key_pem(key), mode=0o600)
        write_atomic(pair.cert, cert.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return pair

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def _fits(self, path: Path, common_name: str, groups: Sequence[str], hosts: Sequence[str]) -> bool:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        if cert.issuer != self._cert.subject or cert.subject != _subject(common_name, groups):
            return False
        if not hosts:
            return True
        try:
            names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        return set(names) >= set(_alternative_names(hosts))


_CA = x509.BasicConstraints(ca=True, path_length=0)
_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
_LEAF_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def _subject(common_name: str, groups: Sequence[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_key(path: Path) -> Path:
    """The private key that signs service account tokens, made when missing (PEM, EC P-256)."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _key_pem(ec.generate_private_key(ec.SECP256R1())), mode=0o600)
    return path


def kubeconfig(server: str, ca: Path, pair: KeyPair, *, cluster: str, user: str, context: str = "") -> str:
    """A kubeconfig (YAML) with everything embedded, as `aks get-credentials` hands it out."""
    context = context or cluster
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": _base64(ca)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _base64(pair.cert), "client-key-data": _base64(pair.key)},
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
