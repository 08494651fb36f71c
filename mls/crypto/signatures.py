"""Signature schemes: EdDSA and ECDSA as RFC 8446 encodes them.

ECDSA signatures are malleable: of (r, s) and (r, n - s) both verify or neither does. Ours have the low s. Both are
accepted on receipt, since RFC 8446 does not choose and peers send either: a signature is no identifier of its content.
RFC 9420 §5.1.1, §5.1.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.crypto import primitives
from mls.crypto.curves import EDWARDS448, EDWARDS25519, P256, P384, P521, EdwardsCurve, WeierstrassCurve
from mls.crypto.kem import draw
from mls.crypto.primitives import Verifier
from treekem.errors import InvalidSignature
from treekem.rules import require
from treekem.secrets import PrivateKey
from treekem.suite import Entropy


class SignaturePrivateKey(PrivateKey):
    """A seed of EdDSA, or a number of ECDSA, big-endian and as long as a coordinate."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SignatureKeyPair:
    """A private key and its serialized public key."""

    private: SignaturePrivateKey
    public: bytes


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, checked and parsed once for any number of signatures."""

    public: bytes
    verifier: Verifier = field(repr=False)

    def verify(self, content: bytes, signature: bytes) -> None:
        """Check a signature over `content`. Raises InvalidSignature."""
        require(self.verifier(content, signature), InvalidSignature, "R-5.1.2-04", "the signature does not verify")


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """A signature scheme under its name in RFC 8446."""

    name: str
    curve: EdwardsCurve | WeierstrassCurve
    algorithm: primitives.EdDSA | primitives.NIST = field(repr=False)

    def generate_key_pair(self, entropy: Entropy) -> SignatureKeyPair:
        """Draw a key pair: seeds are random bytes, ECDSA's numbers are drawn until one is below the order."""
        candidates = (draw(entropy, self.curve.private_length) for _ in range(256))
        private = SignaturePrivateKey(self.curve.private_key(candidates))
        return SignatureKeyPair(private, self.public_key(private))

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        """Return the serialized public key. Raises InvalidKey."""
        return private.loaded_by(self._load).public

    def parse(self, public: bytes) -> VerificationKey:
        """Check a public key's form, order and curve, and prepare it. Raises InvalidKey.

        RFC 9420 §5.1.1.
        """
        self.curve.verify_public_key(public)
        return VerificationKey(public, self.algorithm.verifier(public))

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        """Return the signature over `content`, the same one for the same input. Raises InvalidKey."""
        return self.algorithm.sign(private.loaded_by(self._load), content)

    def _load(self, serialized: bytes) -> primitives.SigningKey:
        self.curve.verify_private_key(serialized)
        return self.algorithm.load(serialized)


ED25519 = SignatureScheme("ed25519", EDWARDS25519, primitives.ED25519)
ED448 = SignatureScheme("ed448", EDWARDS448, primitives.ED448)
ECDSA_P256 = SignatureScheme("ecdsa_secp256r1_sha256", P256, primitives.NIST_P256)
ECDSA_P384 = SignatureScheme("ecdsa_secp384r1_sha384", P384, primitives.NIST_P384)
ECDSA_P521 = SignatureScheme("ecdsa_secp521r1_sha512", P521, primitives.NIST_P521)
