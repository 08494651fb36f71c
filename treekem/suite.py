"""What the tree asks of cryptography.

`treekem` imports no cryptographic library: a cipher suite reaches it as a `TreeSuite`, which `mls.crypto` implements.
RFC 9420 §5.1, §5.1.3, §7.4, §8.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from treekem.secrets import PrivateKey, Secret

Entropy = Callable[[int], bytes]
"""Returns that many random bytes; `os.urandom` outside tests."""


class HPKEPrivateKey(PrivateKey):
    """A serialized HPKE private key (RFC 9180 SerializePrivateKey)."""

    __slots__ = ()


class PathSecret(Secret):
    """A path secret of RFC 9420 §7.4; Nh bytes."""

    __slots__ = ()


class NodeSecret(Secret):
    """The secret that a node's key pair is derived from, RFC 9420 §7.4; Nh bytes."""

    __slots__ = ()


class CommitSecret(Secret):
    """The commit secret of RFC 9420 §8; Nh bytes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class HPKEKeyPair:
    """A private key and its serialized public key."""

    private: HPKEPrivateKey
    public: bytes


class SealContext(Protocol):
    """An HPKE info string, digested once and used for any number of recipients."""


class TreeSuite(Protocol):
    """The operations of a cipher suite that the ratchet tree needs."""

    @property
    def hash_name(self) -> str:
        """`hashlib`'s name of the suite's hash: sha256, sha384 or sha512."""

    @property
    def hash_length(self) -> int:
        """Nh, in bytes."""

    def hash(self, data: bytes) -> bytes:
        """Return the suite's hash of `data`."""

    def derive_path_secret(self, secret: PathSecret) -> PathSecret:
        """Return DeriveSecret(secret, "path"), the path secret one node up."""

    def derive_commit_secret(self, secret: PathSecret) -> CommitSecret:
        """Return DeriveSecret(secret, "path") of the topmost path secret."""

    def derive_node_key_pair(self, secret: PathSecret) -> HPKEKeyPair:
        """Return DeriveKeyPair(DeriveSecret(secret, "node"))."""

    def seal_context(self, label: bytes, context: bytes) -> SealContext:
        """Digest EncryptContext(label, context) once, for `seal` and `open`."""

    def seal(self, public_key: bytes, context: SealContext, plaintext: bytes, entropy: Entropy) -> tuple[bytes, bytes]:
        """Return (kem_output, ciphertext), EncryptWithLabel under `context`. Raises InvalidKey."""

    def open(self, private_key: HPKEPrivateKey, context: SealContext, kem_output: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext. Raises InvalidCiphertext or InvalidKey."""

    def verify_hpke_key(self, public: bytes) -> None:
        """Check that the suite accepts an HPKE public key. Raises InvalidKey."""

    def canonical_public_key(self, public_key: bytes) -> bytes:
        """Return the one encoding that all encodings of the same HPKE public key share. Raises InvalidKey."""

    def canonical_public_keys(self, public_keys: Sequence[bytes]) -> list[bytes]:
        """Return that encoding of each of many keys. Raises InvalidKey."""

    def has_good_keys_only(self, public_keys: Collection[bytes]) -> bool:
        """Whether one look at many HPKE public keys tells that each is accepted; else every key is to be judged."""
