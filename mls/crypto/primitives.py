"""AEADs, Diffie-Hellman and raw signatures: the one module that imports `cryptography`.

Callers have checked the form of what comes in (`curves`); what the library refuses nevertheless leaves as an MLSError.
A loaded private key lives as long as the `PrivateKey` that it was loaded from. RFC 9420 §5.1; RFC 9180 §4.1, §5.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from cryptography.exceptions import InvalidSignature as SignatureMismatch
from cryptography.exceptions import InvalidTag as TagMismatch
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mls.crypto.curves import P256, P384, P521
from treekem.errors import Code, InvalidCiphertext, InvalidKey, UsageError
from treekem.rules import require

Verifier = Callable[[bytes, bytes], bool]
"""Whether a signature, the second argument, is one over the content, the first."""


class DHPrivateKey(Protocol):
    """A loaded private key."""

    @property
    def public(self) -> bytes:
        """The public key in serialized form."""

    def exchange(self, peer: bytes) -> bytes:
        """Return DH with a peer of checked form: all zeros for one of low order.

        Raises InvalidKey for one off the curve.
        """


@dataclass(frozen=True, slots=True)
class AEAD:
    """An authenticated cipher; `id` is HPKE's AEAD identifier, lengths are in bytes. Its output ends with the tag."""

    id: int
    name: str
    key_length: int
    nonce_length: int
    cipher: Callable[[bytes], AESGCM | ChaCha20Poly1305]

    def seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return the ciphertext, tag included. Raises UsageError for a key or nonce of another length."""
        self._verify_lengths(key, nonce)
        return self.cipher(key).encrypt(nonce, plaintext, aad)

    def open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext. Raises InvalidCiphertext; UsageError for a key or nonce of another length."""
        self._verify_lengths(key, nonce)
        opened = self._decrypt(key, nonce, aad, ciphertext)
        require(opened is not None, InvalidCiphertext, "R-5.1.3-03", "the ciphertext does not open")
        return cast("bytes", opened)

    def _decrypt(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes | None:
        try:
            return self.cipher(key).decrypt(nonce, ciphertext, aad)
        except TagMismatch:
            return None

    def _verify_lengths(self, key: bytes, nonce: bytes) -> None:
        if len(key) != self.key_length or len(nonce) != self.nonce_length:
            raise UsageError(f"{self.name} takes a key of {self.key_length} bytes and a nonce of {self.nonce_length}")


AES_128_GCM = AEAD(0x0001, "AES-128-GCM", 16, 12, AESGCM)
AES_256_GCM = AEAD(0x0002, "AES-256-GCM", 32, 12, AESGCM)
CHACHA20_POLY1305 = AEAD(0x0003, "ChaCha20Poly1305", 32, 12, ChaCha20Poly1305)


class _MontgomeryKey:
    """A private key of X25519 or X448, and what reads points of its curve."""

    __slots__ = ("_key", "_point", "public")

    def __init__(self, key: x25519.X25519PrivateKey | x448.X448PrivateKey, point: Callable[[bytes], Any]) -> None:
        self._key = key
        self._point = point
        self.public = key.public_key().public_bytes_raw()

    def exchange(self, peer: bytes) -> bytes:
        """Return DH with a peer of the right length."""
        try:
            return self._key.exchange(self._point(peer))
        except ValueError:  # The library refuses an all-zero result; the caller refuses it by its own rule.
            return bytes(len(peer))


def load_x25519(private: bytes) -> DHPrivateKey:
    """Load an X25519 private key of 32 bytes."""
    key = x25519.X25519PrivateKey.from_private_bytes(private)
    return _MontgomeryKey(key, x25519.X25519PublicKey.from_public_bytes)


def load_x448(private: bytes) -> DHPrivateKey:
    """Load an X448 private key of 56 bytes."""
    return _MontgomeryKey(x448.X448PrivateKey.from_private_bytes(private), x448.X448PublicKey.from_public_bytes)


def accept_every_point(public: bytes) -> None:
    """Accept: X25519 and X448 compute with every string of their length."""


class SigningKey(NamedTuple):
    """A loaded private key of a signature scheme, with its serialized public key."""

    key: Any
    public: bytes


@dataclass(frozen=True, slots=True)
class EdDSA:
    """Ed25519 or Ed448; private keys are seeds, signatures R followed by S."""

    load_private: Callable[[bytes], ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey]
    load_public: Callable[[bytes], ed25519.Ed25519PublicKey | ed448.Ed448PublicKey]

    def load(self, private: bytes) -> SigningKey:
        """Load a seed of checked length."""
        key = self.load_private(private)
        return SigningKey(key, key.public_key().public_bytes_raw())

    def sign(self, key: SigningKey, content: bytes) -> bytes:
        """Return the signature over `content`, which is deterministic by design."""
        signature: bytes = key.key.sign(content)
        return signature

    def verifier(self, public: bytes) -> Verifier:
        """Parse a public key of checked form for verification."""
        verify = self.load_public(public).verify
        return lambda content, signature: _succeeds(verify, signature, content)


ED25519 = EdDSA(ed25519.Ed25519PrivateKey.from_private_bytes, ed25519.Ed25519PublicKey.from_public_bytes)
ED448 = EdDSA(ed448.Ed448PrivateKey.from_private_bytes, ed448.Ed448PublicKey.from_public_bytes)


class _NISTKey(NamedTuple):
    """A private key of a NIST curve, and what reads points of its curve."""

    public: bytes
    key: ec.EllipticCurvePrivateKey
    point: Callable[[bytes], ec.EllipticCurvePublicKey]

    def exchange(self, peer: bytes) -> bytes:
        """Return DH with a peer of checked form. Raises InvalidKey for one off the curve."""
        return self.key.exchange(ec.ECDH(), self.point(peer))


@dataclass(frozen=True, slots=True)
class NIST:
    """ECDH and ECDSA over a NIST curve, ECDSA with `hash`; private keys are big-endian numbers, checked before."""

    curve: ec.EllipticCurve
    hash: hashes.HashAlgorithm
    order: int

    def load_dh(self, private: bytes) -> DHPrivateKey:
        """Load a private key for Diffie-Hellman."""
        loaded = self.load(private)
        return _NISTKey(loaded.public, loaded.key, self._point)

    def load(self, private: bytes) -> SigningKey:
        """Load a private key for signing."""
        key = self._private_key(private)
        return SigningKey(key, key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def verify_point(self, public: bytes) -> None:
        """Check that a point of checked form lies on the curve. Raises InvalidKey."""
        self._point(public)

    def sign(self, key: SigningKey, content: bytes) -> bytes:
        """Return a DER signature: deterministic (RFC 6979), and of the two values of s that verify the lower.

        Nonces that depend on key and content alone keep runs with seeded entropy reproducible, and need no generator.
        """
        signature: bytes = key.key.sign(content, ec.ECDSA(self.hash, deterministic_signing=True))
        r, s = decode_dss_signature(signature)
        return signature if 2 * s < self.order else encode_dss_signature(r, self.order - s)

    def verifier(self, public: bytes) -> Verifier:
        """Parse a public key of checked form for verification. Raises InvalidKey for a point off the curve."""
        verify, algorithm = self._point(public).verify, ec.ECDSA(self.hash)
        return lambda content, signature: _succeeds(verify, signature, content, algorithm)

    def _private_key(self, private: bytes) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(private, "big"), self.curve)

    def _point(self, public: bytes) -> ec.EllipticCurvePublicKey:
        point = self._point_or_none(public)
        refusal = f"the point is not on {self.curve.name}"
        require(point is not None, InvalidKey, "R-5.1.1-04", refusal, code=Code.NON_CANONICAL_KEY)
        return cast("ec.EllipticCurvePublicKey", point)

    def _point_or_none(self, public: bytes) -> ec.EllipticCurvePublicKey | None:
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(self.curve, public)
        except ValueError:
            return None


NIST_P256 = NIST(ec.SECP256R1(), hashes.SHA256(), P256.order)
NIST_P384 = NIST(ec.SECP384R1(), hashes.SHA384(), P384.order)
NIST_P521 = NIST(ec.SECP521R1(), hashes.SHA512(), P521.order)


def _succeeds(verify: Callable[..., None], *arguments: object) -> bool:
    try:
        verify(*arguments)
    except SignatureMismatch:
        return False
    return True
