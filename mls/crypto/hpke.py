"""HPKE in base mode, one message per encapsulation, over any KEM, KDF and AEAD.

Every encapsulation gives a fresh key that seals exactly one message, with sequence number 0: there is no context to
keep, and so none to use twice. RFC 9180 §5.1, §6.1, §6.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.crypto.kdf import KDF
from mls.crypto.kem import DHKEM, SharedSecret, labeled_extract, labeled_info
from mls.crypto.primitives import AEAD
from treekem.errors import UsageError
from treekem.secrets import Secret
from treekem.suite import Entropy, HPKEPrivateKey, SealContext

_MODE_BASE = b"\x00"


class HPKEExport(Secret):
    """A secret exported from an encapsulation."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class KeyScheduleContext:
    """The key schedule's context for one info string, digested: what it expands does not depend on the recipient.

    RFC 9180 §5.1.
    """

    suite_id: bytes
    key_info: bytes = field(repr=False)
    base_nonce_info: bytes = field(repr=False)
    exporter_info: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HPKE:
    """The three algorithms of an HPKE suite."""

    kem: DHKEM
    kdf: KDF
    aead: AEAD
    _suite_id: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Put the suite's identifier together once."""
        identifiers = (self.kem.id, self.kdf.id, self.aead.id)
        suite_id = b"HPKE" + b"".join(identifier.to_bytes(2, "big") for identifier in identifiers)
        object.__setattr__(self, "_suite_id", suite_id)

    def context(self, info: bytes) -> KeyScheduleContext:
        """Digest `info` once, for any number of recipients.

        RFC 9180 §5.1.
        """
        suite_id = self._suite_id
        psk_id_hash = labeled_extract(self.kdf, suite_id, b"", b"psk_id_hash", b"")
        info_hash = labeled_extract(self.kdf, suite_id, b"", b"info_hash", info)
        key_schedule_context = _MODE_BASE + psk_id_hash + info_hash
        return KeyScheduleContext(
            suite_id,
            labeled_info(suite_id, b"key", key_schedule_context, self.aead.key_length),
            labeled_info(suite_id, b"base_nonce", key_schedule_context, self.aead.nonce_length),
            labeled_info(suite_id, b"exp", key_schedule_context, self.kdf.hash_length),
        )

    def seal(
        self, public: bytes, context: SealContext, aad: bytes, plaintext: bytes, entropy: Entropy
    ) -> tuple[bytes, bytes]:
        """Return (enc, ciphertext), SealBase. Raises InvalidKey.

        RFC 9180 §6.1.
        """
        shared_secret, enc = self.kem.encap(public, entropy)
        key, nonce = self._key_and_nonce(shared_secret, context)
        return enc, self.aead.seal(key, nonce, aad, plaintext)

    def open(self, private: HPKEPrivateKey, context: SealContext, aad: bytes, enc: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext, OpenBase. Raises InvalidKey for `enc` and `private`, InvalidCiphertext for the rest.

        RFC 9180 §6.1.
        """
        key, nonce = self._key_and_nonce(self.kem.decap(enc, private), context)
        return self.aead.open(key, nonce, aad, ciphertext)

    def export_to(
        self, public: bytes, context: SealContext, exporter_context: bytes, length: int, entropy: Entropy
    ) -> tuple[bytes, HPKEExport]:
        """Return (enc, exported secret), SendExportBase. Raises InvalidKey; UsageError unless 1 <= length <= 255 * Nh.

        RFC 9180 §6.2.
        """
        shared_secret, enc = self.kem.encap(public, entropy)
        return enc, self._export(shared_secret, context, exporter_context, length)

    def export_from(
        self, private: HPKEPrivateKey, context: SealContext, exporter_context: bytes, enc: bytes, length: int
    ) -> HPKEExport:
        """Return the exported secret, ReceiveExportBase. Raises InvalidKey; UsageError unless 1 <= length <= 255 * Nh.

        RFC 9180 §6.2.
        """
        return self._export(self.kem.decap(enc, private), context, exporter_context, length)

    def _key_and_nonce(self, shared_secret: SharedSecret, context: SealContext) -> tuple[bytes, bytes]:
        """Return the key and nonce of the only message; XOR with sequence number 0 leaves the base nonce as it is."""
        digested = self._own(context)
        secret = self._secret(shared_secret)
        key = self.kdf.expand(secret, digested.key_info, self.aead.key_length)
        return key, self.kdf.expand(secret, digested.base_nonce_info, self.aead.nonce_length)

    def _export(
        self, shared_secret: SharedSecret, context: SealContext, exporter_context: bytes, length: int
    ) -> HPKEExport:
        exporter_info = self._own(context).exporter_info
        exporter_secret = self.kdf.expand(self._secret(shared_secret), exporter_info, self.kdf.hash_length)
        self.kdf.verify_length(length)
        info = labeled_info(self._suite_id, b"sec", exporter_context, length)
        return HPKEExport(self.kdf.expand(exporter_secret, info, length))

    def _secret(self, shared_secret: SharedSecret) -> bytes:
        """Return the key schedule's secret, and wipe the shared secret, of which nothing else is derived."""
        secret = labeled_extract(self.kdf, self._suite_id, shared_secret.expose(), b"secret", b"")
        shared_secret.wipe()
        return secret

    def _own(self, context: SealContext) -> KeyScheduleContext:
        if not isinstance(context, KeyScheduleContext) or context.suite_id != self._suite_id:
            raise UsageError("the seal context was made by another cipher suite")
        return context
