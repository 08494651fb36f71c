"""Hashing, HMAC and HKDF over one hash function, from the standard library.

RFC 5869; RFC 9420 §5.1, §8.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treekem.errors import UsageError
from treekem.rules import require

_HASHES: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}


@dataclass(frozen=True, slots=True)
class KDF:
    """A hash function, with the HMAC and HKDF that it makes; `id` is HPKE's KDF identifier, lengths are in bytes."""

    id: int
    hash_name: str
    hash_length: int

    def hash(self, data: bytes) -> bytes:
        """Return the hash of `data`."""
        digest: bytes = _HASHES[self.hash_name](data).digest()
        return digest

    def mac(self, key: bytes, data: bytes) -> bytes:
        """Return the HMAC of `data` under `key`, at full length."""
        return hmac.digest(key, data, self.hash_name)

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        """Return HKDF-Extract(salt, ikm); an empty salt stands for Nh zero bytes.

        RFC 5869 §2.2.
        """
        return hmac.digest(salt, ikm, self.hash_name)

    def expand(self, prk: bytes, info: bytes, length: int) -> bytes:
        """Return `length` bytes of HKDF-Expand(prk, info). Raises UsageError unless 1 <= length <= 255 * Nh.

        The upper limit is the smaller one: 255 * Nh fits a uint16 for every hash of RFC 9420.

        RFC 5869 §2.3; RFC 9420 §8.
        """
        if 0 < length <= self.hash_length:  # One block, as nearly all secrets are.
            return hmac.digest(prk, info + b"\x01", self.hash_name)[:length]

        self.verify_length(length)
        block = hmac.digest(prk, info + b"\x01", self.hash_name)
        blocks = [block]
        for counter in range(2, -(-length // self.hash_length) + 1):
            block = hmac.digest(prk, block + info + bytes((counter,)), self.hash_name)
            blocks.append(block)
        return b"".join(blocks)[:length]

    def verify_length(self, length: int) -> None:
        """Check that a secret of `length` bytes can be derived. Raises UsageError."""
        require(0 < length <= 255 * self.hash_length, UsageError, "R-8-03", "a derived secret has 1 to 255 * Nh bytes")


HKDF_SHA256 = KDF(0x0001, "sha256", 32)
HKDF_SHA384 = KDF(0x0002, "sha384", 48)
HKDF_SHA512 = KDF(0x0003, "sha512", 64)
