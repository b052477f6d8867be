"""JSON Web Tokens of service accounts: RS256 or ES256 over compact JSON (RFC 7515, RFC 7518, RFC 7519)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from podloom.kube.api.contract import Object
from podloom.model.errors import Rejected


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


class TokenKey:
    """The key that signs and checks service account tokens; RSA or P-256, PEM."""

    def __init__(self, private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self._public = private.public_key()
        self.algorithm = "RS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256"
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = _encode(hashlib.sha256(der).digest()).decode()
        self._checked: dict[str, Object] = {}

    @classmethod
    def load(cls, path: Path) -> TokenKey:
        """The key in a PEM file; raises Rejected when it is no RSA or EC private key."""
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise Rejected(f"load service account key {path}", "it is neither RSA nor EC", "give a PEM private key")
        return cls(key)

    @classmethod
    def generate(cls) -> TokenKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def sign(self, claims: Object) -> str:
        """A token over claims."""
        header = {"alg": self.algorithm, "kid": self.key_id}
        signed = _encode(orjson.dumps(header)) + b"." + _encode(orjson.dumps(claims))
        if isinstance(self._private, rsa.RSAPrivateKey):
            signature = self._private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = decode_dss_signature(self._private.sign(signed, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return (signed + b"." + _encode(signature)).decode()

    def verify(self, token: str) -> Object:
        """The claims of a token with a good signature; raises ValueError. Does not look at times."""
        known = self._checked.get(token)
        if known is not None:
            return known
        try:
            header, payload, signature = token.encode("ascii").split(b".")
            if orjson.loads(_decode(header)).get("alg") != self.algorithm:
                raise ValueError("unexpected signature algorithm")
            self._check(header + b"." + payload, _decode(signature))
            claims = orjson.loads(_decode(payload))
        except (UnicodeError, binascii.Error, orjson.JSONDecodeError) as exc:
            raise ValueError("not a JSON Web Token") from exc
        if not isinstance(claims, dict):
            raise ValueError("claims are not an object")
        if len(self._checked) > 4096:
            self._checked.clear()
        self._checked[token] = claims
        return claims

    def _check(self, signed: bytes, signature: bytes) -> None:
        try:
            if isinstance(self._public, rsa.RSAPublicKey):
                self._public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            else:
                half = len(signature) // 2
                r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
                self._public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as exc:
            raise ValueError("bad signature") from exc

    def jwk(self) -> Object:
        """The public key as a JSON Web Key (RFC 7517), for /openid/v1/jwks."""
        base: Object = {"use": "sig", "kid": self.key_id, "alg": self.algorithm}
        if isinstance(self._public, rsa.RSAPublicKey):
            numbers = self._public.public_numbers()
            size = (numbers.n.bit_length() + 7) // 8
            return base | {
                "kty": "RSA",
                "n": _encode(numbers.n.to_bytes(size, "big")).decode(),
                "e": _encode(numbers.e.to_bytes(3, "big")).decode(),
            }
        point = self._public.public_numbers()
        return base | {
            "kty": "EC",
            "crv": "P-256",
            "x": _encode(point.x.to_bytes(32, "big")).decode(),
            "y": _encode(point.y.to_bytes(32, "big")).decode(),
        }
