"""The cipher suites of RFC 9420 as one table, and what each of them computes.

A new suite is a new row. RFC 9420 §5.1, §5.2, §8, §17.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from mls.crypto import kem, signatures
from mls.crypto.hpke import HPKE, HPKEExport, KeyScheduleContext
from mls.crypto.kdf import HKDF_SHA256, HKDF_SHA384, HKDF_SHA512, KDF
from mls.crypto.labels import kdf_label, labelled, ref_hash_input
from mls.crypto.primitives import AEAD, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
from mls.crypto.signatures import SignatureKeyPair, SignaturePrivateKey, SignatureScheme, VerificationKey
from treekem.errors import Code, Unsupported, UsageError
from treekem.rules import require
from treekem.secrets import Secret, ct_eq
from treekem.suite import CommitSecret, Entropy, HPKEKeyPair, HPKEPrivateKey, NodeSecret, PathSecret, SealContext

S = TypeVar("S", bound=Secret)


def cipher_suite(id: int) -> CipherSuite:  # noqa: A002  (the RFC's field is cipher_suite; its value an ID)
    """Return the cipher suite of that ID. Raises Unsupported.

    RFC 9420 §17.1.
    """
    require(id in SUITES, Unsupported, "R-17.1-06", f"cipher suite 0x{id:04x} is not supported")
    return SUITES[id]


@dataclass(frozen=True, slots=True)
class CipherSuite:
    """One cipher suite: an HPKE suite, whose KDF's hash is the suite's hash, and a signature scheme.

    Secrets come and go as `Secret`; labels are given without their "MLS 1.0 ".
    """

    id: int
    name: str
    hpke: HPKE = field(repr=False)
    signatures: SignatureScheme = field(repr=False)

    @property
    def kdf(self) -> KDF:
        """The suite's hash function, with its HMAC and HKDF."""
        return self.hpke.kdf

    @property
    def aead(self) -> AEAD:
        """The suite's AEAD."""
        return self.hpke.aead

    @property
    def hash_name(self) -> str:
        """`hashlib`'s name of the suite's hash: sha256, sha384 or sha512."""
        return self.hpke.kdf.hash_name

    @property
    def hash_length(self) -> int:
        """Nh, in bytes."""
        return self.hpke.kdf.hash_length

    @property
    def aead_key_length(self) -> int:
        """Nk, in bytes."""
        return self.hpke.aead.key_length

    @property
    def aead_nonce_length(self) -> int:
        """Nn, in bytes."""
        return self.hpke.aead.nonce_length

    @property
    def signature_scheme(self) -> str:
        """The signature scheme's name in RFC 8446."""
        return self.signatures.name

    # Hash, MAC and KDF.

    def hash(self, data: bytes) -> bytes:
        """Return the suite's hash of `data`; Nh bytes."""
        return self.hpke.kdf.hash(data)

    def ref_hash(self, label: bytes, value: bytes) -> bytes:
        """Return RefHash(label, value); the caller's label is whole, with its "MLS 1.0 ".

        RFC 9420 §5.2.
        """
        return self.hpke.kdf.hash(ref_hash_input(label, value))

    def mac(self, key: Secret, data: bytes) -> bytes:
        """Return the MAC of `data`; Nh bytes."""
        return self.hpke.kdf.mac(key.expose(), data)

    def verify_mac(self, key: Secret, data: bytes, tag: bytes) -> bool:
        """Compare `tag` with the MAC of `data` at full length, in constant time."""
        return ct_eq(self.mac(key, data), tag)

    def extract(self, salt: Secret | bytes, ikm: Secret | bytes) -> Secret:
        """Return KDF.Extract(salt, ikm); Nh bytes.

        RFC 9420 §8.
        """
        return Secret(self.hpke.kdf.extract(_bytes_of(salt), _bytes_of(ikm)))

    def expand_with_label(self, secret: Secret, label: bytes, context: bytes, length: int, kind: type[S]) -> S:
        """Return ExpandWithLabel(secret, label, context, length). Raises UsageError unless 1 <= length <= 255 * Nh.

        RFC 9420 §8.
        """
        kdf = self.hpke.kdf
        if not 0 < length <= kdf.hash_length:
            kdf.verify_length(length)
        return kind(kdf.expand(secret.expose(), kdf_label(length, label, context), length))

    def derive_secret(self, secret: Secret, label: bytes, kind: type[S]) -> S:
        """Return DeriveSecret(secret, label); Nh bytes.

        RFC 9420 §8.
        """
        return self.expand_with_label(secret, label, b"", self.hpke.kdf.hash_length, kind)

    def derive_tree_secret(self, secret: Secret, label: bytes, generation: int, length: int, kind: type[S]) -> S:
        """Return DeriveTreeSecret(secret, label, generation, length).

        Raises UsageError for a generation that is no uint32, and like `expand_with_label`.

        RFC 9420 §9.1.
        """
        fits = 0 <= generation < 1 << 32
        require(fits, UsageError, "R-9.1-05", "a generation is a uint32", code=Code.MUST_REKEY)
        return self.expand_with_label(secret, label, generation.to_bytes(4, "big"), length, kind)

    # Signatures.

    def generate_signature_key_pair(self, entropy: Entropy) -> SignatureKeyPair:
        """Draw a signature key pair."""
        return self.signatures.generate_key_pair(entropy)

    def signature_public_key(self, private: SignaturePrivateKey) -> bytes:
        """Return the public key of a private one. Raises InvalidKey."""
        return self.signatures.public_key(private)

    def verification_key(self, public: bytes) -> VerificationKey:
        """Check and parse a public key once, for many signatures. Raises InvalidKey."""
        return self.signatures.parse(public)

    def verify_signature_key(self, public: bytes) -> None:
        """Check that the suite accepts a signature public key. Raises InvalidKey.

        RFC 9420 §5.1.1.
        """
        self.signatures.parse(public)

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        """Sign `content` as it is. Raises InvalidKey."""
        return self.signatures.sign(private, content)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> None:
        """Check a signature over `content` as it is. Raises InvalidSignature, InvalidKey."""
        self.signatures.parse(public).verify(content, signature)

    def sign_with_label(self, private: SignaturePrivateKey, label: bytes, content: bytes) -> bytes:
        """Return SignWithLabel(private, label, content). Raises InvalidKey.

        RFC 9420 §5.1.2.
        """
        return self.signatures.sign(private, labelled(label, content))

    def verify_with_label(self, public: bytes, label: bytes, content: bytes, signature: bytes) -> None:
        """Check VerifyWithLabel(public, label, content, signature). Raises InvalidSignature, InvalidKey.

        RFC 9420 §5.1.2.
        """
        self.signatures.parse(public).verify(labelled(label, content), signature)

    # Public key encryption.

    def generate_key_pair(self, entropy: Entropy) -> HPKEKeyPair:
        """Draw an HPKE key pair, DeriveKeyPair of Nsk random bytes."""
        return self.hpke.kem.derive_key_pair(kem.draw(entropy, self.hpke.kem.private_length))

    def derive_key_pair(self, ikm: Secret) -> HPKEKeyPair:
        """Return KEM.DeriveKeyPair(ikm).

        RFC 9420 §5.1; RFC 9180 §7.1.3.
        """
        return self.hpke.kem.derive_key_pair(ikm.expose())

    def hpke_public_key(self, private: HPKEPrivateKey) -> bytes:
        """Return the public key of a private one. Raises InvalidKey."""
        return self.hpke.kem.public_key(private)

    def verify_hpke_key(self, public: bytes) -> None:
        """Check that the suite accepts an HPKE public key. Raises InvalidKey.

        RFC 9420 §5.1.1.
        """
        self.hpke.kem.verify_public_key(public)

    def canonical_public_key(self, public_key: bytes) -> bytes:
        """Return the one encoding that all encodings of the same HPKE public key share. Raises InvalidKey.

        An X25519 key with its top bit set is accepted on receipt, but is no second key: compare keys in this form.
        """
        return self.hpke.kem.curve.canonical(public_key)

    def canonical_public_keys(self, public_keys: Sequence[bytes]) -> list[bytes]:
        """Return that encoding of each of many keys. Raises InvalidKey."""
        return self.hpke.kem.curve.all_canonical(public_keys)

    def has_good_keys_only(self, public_keys: Collection[bytes]) -> bool:
        """Whether one look at many HPKE public keys tells that each is accepted; else every key is to be judged.

        Points of NIST curves are looked at one by one, so that the answer is always no.
        """
        return self.hpke.kem.curve.has_good_keys_only(public_keys)

    def seal_context(self, label: bytes, context: bytes) -> KeyScheduleContext:
        """Digest EncryptContext(label, context) once, for `seal` and `open`."""
        return self.hpke.context(labelled(label, context))

    def seal(self, public_key: bytes, context: SealContext, plaintext: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
        """Return (kem_output, ciphertext), EncryptWithLabel under `context`. Raises InvalidKey."""
        return self.hpke.seal(public_key, context, b"", plaintext, entropy)

    def open(self, private_key: HPKEPrivateKey, context: SealContext, kem_output: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext. Raises InvalidCiphertext; InvalidKey for `kem_output`."""
        return self.hpke.open(private_key, context, b"", kem_output, ciphertext)

    def encrypt_with_label(
        self, public: bytes, label: bytes, context: bytes, plaintext: bytes, entropy: Entropy
    ) -> tuple[bytes, bytes]:
        """Return (kem_output, ciphertext), EncryptWithLabel. Raises InvalidKey.

        RFC 9420 §5.1.3.
        """
        return self.seal(public, self.seal_context(label, context), plaintext, entropy)

    def decrypt_with_label(
        self, private: HPKEPrivateKey, label: bytes, context: bytes, kem_output: bytes, ciphertext: bytes
    ) -> bytes:
        """Return the plaintext, DecryptWithLabel. Raises InvalidCiphertext; InvalidKey for `kem_output`.

        RFC 9420 §5.1.3.
        """
        return self.open(private, self.seal_context(label, context), kem_output, ciphertext)

    def export_to(
        self, public: bytes, exporter_context: bytes, length: int, entropy: Entropy
    ) -> tuple[bytes, HPKEExport]:
        """Return (kem_output, exported secret), with an empty info. Raises InvalidKey, UsageError.

        RFC 9420 §8.3.
        """
        return self.hpke.export_to(public, self.hpke.context(b""), exporter_context, length, entropy)

    def export_from(
        self, private: HPKEPrivateKey, kem_output: bytes, exporter_context: bytes, length: int
    ) -> HPKEExport:
        """Return the exported secret, with an empty info. Raises InvalidKey for `kem_output`, UsageError.

        RFC 9420 §8.3.
        """
        return self.hpke.export_from(private, self.hpke.context(b""), exporter_context, kem_output, length)

    # What the ratchet tree derives.

    def derive_path_secret(self, secret: PathSecret) -> PathSecret:
        """Return DeriveSecret(secret, "path"), the path secret one node up.

        RFC 9420 §7.4.
        """
        return self.derive_secret(secret, b"path", PathSecret)

    def derive_commit_secret(self, secret: PathSecret) -> CommitSecret:
        """Return DeriveSecret(secret, "path") of the topmost path secret.

        RFC 9420 §7.4, §8.
        """
        return self.derive_secret(secret, b"path", CommitSecret)

    def derive_node_key_pair(self, secret: PathSecret) -> HPKEKeyPair:
        """Return DeriveKeyPair(DeriveSecret(secret, "node")).

        RFC 9420 §7.4.
        """
        node_secret = self.derive_secret(secret, b"node", NodeSecret)
        pair = self.derive_key_pair(node_secret)
        node_secret.wipe()
        return pair

    # The AEAD alone.

    def aead_seal(self, key: Secret, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Return the ciphertext, tag included. Raises UsageError for a key or nonce of another length."""
        return self.hpke.aead.seal(key.expose(), nonce, aad, plaintext)

    def aead_open(self, key: Secret, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext. Raises InvalidCiphertext; UsageError for a key or nonce of another length."""
        return self.hpke.aead.open(key.expose(), nonce, aad, ciphertext)


def _bytes_of(value: Secret | bytes) -> bytes:
    return value.expose() if isinstance(value, Secret) else value


SUITES: Mapping[int, CipherSuite] = MappingProxyType(
    {
        suite.id: suite
        for suite in (
            CipherSuite(
                0x0001,
                "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
                HPKE(kem.DHKEM_X25519, HKDF_SHA256, AES_128_GCM),
                signatures.ED25519,
            ),
            CipherSuite(
                0x0002,
                "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
                HPKE(kem.DHKEM_P256, HKDF_SHA256, AES_128_GCM),
                signatures.ECDSA_P256,
            ),
            CipherSuite(
                0x0003,
                "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
                HPKE(kem.DHKEM_X25519, HKDF_SHA256, CHACHA20_POLY1305),
                signatures.ED25519,
            ),
            CipherSuite(
                0x0004,
                "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448",
                HPKE(kem.DHKEM_X448, HKDF_SHA512, AES_256_GCM),
                signatures.ED448,
            ),
            CipherSuite(
                0x0005,
                "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
                HPKE(kem.DHKEM_P521, HKDF_SHA512, AES_256_GCM),
                signatures.ECDSA_P521,
            ),
            CipherSuite(
                0x0006,
                "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448",
                HPKE(kem.DHKEM_X448, HKDF_SHA512, CHACHA20_POLY1305),
                signatures.ED448,
            ),
            CipherSuite(
                0x0007,
                "MLS_256_DHKEMP384_AES256GCM_SHA384_P384",
                HPKE(kem.DHKEM_P384, HKDF_SHA384, AES_256_GCM),
                signatures.ECDSA_P384,
            ),
        )
    }
)
"""The supported cipher suites by ID."""
