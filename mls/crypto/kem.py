"""DHKEM, HPKE's key encapsulation over a Diffie-Hellman group.

RFC 9180 §4.1, §7.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mls.crypto import primitives
from mls.crypto.curves import CURVE448, CURVE25519, P256, P384, P521, MontgomeryCurve, WeierstrassCurve
from mls.crypto.kdf import HKDF_SHA256, HKDF_SHA384, HKDF_SHA512, KDF
from mls.crypto.primitives import DHPrivateKey
from treekem.errors import UsageError
from treekem.rules import require
from treekem.secrets import Secret
from treekem.suite import Entropy, HPKEKeyPair, HPKEPrivateKey

_VERSION = b"HPKE-v1"


class SharedSecret(Secret):
    """What an encapsulation gives to both sides; Nsecret bytes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DHKEM:
    """A group with the KDF that condenses its results; `id` is HPKE's KEM identifier."""

    id: int
    curve: MontgomeryCurve | WeierstrassCurve
    kdf: KDF = field(repr=False)
    load: Callable[[bytes], DHPrivateKey] = field(repr=False)
    verify_point: Callable[[bytes], None] = field(repr=False)
    _suite_id: bytes = field(init=False, repr=False)
    _sk_info: bytes = field(init=False, repr=False)
    _shared_secret_info: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Put together once what every derivation begins with."""
        suite_id = b"KEM" + self.id.to_bytes(2, "big")
        object.__setattr__(self, "_suite_id", suite_id)
        object.__setattr__(self, "_sk_info", labeled_info(suite_id, b"sk", b"", self.private_length))
        shared_secret_info = labeled_info(suite_id, b"shared_secret", b"", self.kdf.hash_length)
        object.__setattr__(self, "_shared_secret_info", shared_secret_info)

    @property
    def private_length(self) -> int:
        """Nsk, in bytes."""
        return self.curve.private_length

    @property
    def public_length(self) -> int:
        """Npk and Nenc, in bytes."""
        return self.curve.public_length

    def derive_key_pair(self, ikm: bytes) -> HPKEKeyPair:
        """Return DeriveKeyPair(ikm), `ikm` being Nsk random bytes or a secret.

        RFC 9180 §7.1.3.
        """
        private = HPKEPrivateKey(self._derive_private_key(ikm))
        return HPKEKeyPair(private, self.public_key(private))

    def public_key(self, private: HPKEPrivateKey) -> bytes:
        """Return the serialized public key. Raises InvalidKey."""
        return private.loaded_by(self._load).public

    def verify_public_key(self, public: bytes) -> None:
        """Check form, group and order of a serialized public key. Raises InvalidKey.

        RFC 9420 §5.1.1; RFC 9180 §7.1.4.
        """
        self.curve.verify_public_key(public)
        self.verify_point(public)

    def encap(self, public: bytes, entropy: Entropy) -> tuple[SharedSecret, bytes]:
        """Return (shared_secret, enc), the ephemeral key pair being DeriveKeyPair(entropy(Nsk)). Raises InvalidKey.

        RFC 9180 §4.1.
        """
        self.curve.verify_form(public)
        ephemeral = self.load(self._derive_private_key(draw(entropy, self.private_length)))
        shared_secret = self._agree(ephemeral, public, ephemeral.public + public)
        return shared_secret, ephemeral.public

    def decap(self, enc: bytes, private: HPKEPrivateKey) -> SharedSecret:
        """Return the shared secret that `enc` carries to the owner of `private`. Raises InvalidKey.

        RFC 9180 §4.1.
        """
        self.curve.verify_form(enc)
        recipient = private.loaded_by(self._load)
        return self._agree(recipient, enc, enc + recipient.public)

    def _agree(self, key: DHPrivateKey, peer: bytes, kem_context: bytes) -> SharedSecret:
        dh = key.exchange(peer)
        self.curve.verify_shared_secret(dh)
        eae_prk = labeled_extract(self.kdf, self._suite_id, b"", b"eae_prk", dh)
        return SharedSecret(self.kdf.expand(eae_prk, self._shared_secret_info + kem_context, self.kdf.hash_length))

    def _load(self, serialized: bytes) -> DHPrivateKey:
        self.curve.verify_private_key(serialized)
        return self.load(serialized)

    def _derive_private_key(self, ikm: bytes) -> bytes:
        dkp_prk = labeled_extract(self.kdf, self._suite_id, b"", b"dkp_prk", ikm)
        if isinstance(self.curve, MontgomeryCurve):
            return self.kdf.expand(dkp_prk, self._sk_info, self.curve.length)
        return self.curve.private_key(self._candidates(dkp_prk))

    def _candidates(self, dkp_prk: bytes) -> Iterator[bytes]:
        """Yield the 256 candidates of a NIST curve."""
        length = self.private_length
        for counter in range(256):
            info = labeled_info(self._suite_id, b"candidate", bytes((counter,)), length)
            yield self.kdf.expand(dkp_prk, info, length)


def labeled_extract(kdf: KDF, suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """Return LabeledExtract(salt, label, ikm).

    RFC 9180 §4.
    """
    return kdf.extract(salt, _VERSION + suite_id + label + ikm)


def labeled_info(suite_id: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """Return the labeled_info of LabeledExpand(prk, label, info, length), which does not depend on prk.

    RFC 9180 §4.
    """
    return length.to_bytes(2, "big") + _VERSION + suite_id + label + info


def draw(entropy: Entropy, length: int) -> bytes:
    """Return `length` random bytes. Raises UsageError if the source gives another number of them."""
    drawn = entropy(length)
    require(
        len(drawn) == length, UsageError, "N-K12", "the source of randomness returned another length than asked for"
    )
    return drawn


DHKEM_P256 = DHKEM(0x0010, P256, HKDF_SHA256, primitives.NIST_P256.load_dh, primitives.NIST_P256.verify_point)
DHKEM_P384 = DHKEM(0x0011, P384, HKDF_SHA384, primitives.NIST_P384.load_dh, primitives.NIST_P384.verify_point)
DHKEM_P521 = DHKEM(0x0012, P521, HKDF_SHA512, primitives.NIST_P521.load_dh, primitives.NIST_P521.verify_point)
DHKEM_X25519 = DHKEM(0x0020, CURVE25519, HKDF_SHA256, primitives.load_x25519, primitives.accept_every_point)
DHKEM_X448 = DHKEM(0x0021, CURVE448, HKDF_SHA512, primitives.load_x448, primitives.accept_every_point)
