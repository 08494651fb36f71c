"""The primitives that floors are made of, as bare calls of the libraries: nothing of the engine runs in them.

Long-lived keys are objects that were prepared before; keys that serve one message are made of bytes each time. Inputs
are as short as they are anywhere in the operations.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from itertools import repeat
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mls.crypto import CipherSuite

Primitive = Callable[[int], object]
"""Runs a primitive so many times."""

HMAC = Callable[[bytes, bytes], bytes]
"""Returns the HMAC of the second argument under the first."""

_MESSAGE: Final = bytes(256)  # What is signed.
_HASHED: Final = bytes(140)  # A parent in a tree hash: its node, and the hashes of both children.
_INFO: Final = bytes(40)  # A KDFLabel.
_PLAINTEXT: Final = bytes(32)
_NONCE: Final = bytes(12)
_CURVES: Final = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def primitives_of(suite: CipherSuite, executor: Executor, n_threads: int) -> Mapping[str, Primitive]:
    """Return the primitives of a cipher suite by name; "on all cores" they are spread over an executor's threads."""
    mac, pair, exchange = partial(hmac.digest, digest=suite.hash_name), *_agreement(suite.hpke.kem.curve.name)
    sign, verify = _signatures(suite)
    cipher = AESGCM if "AES" in suite.name else ChaCha20Poly1305
    key, ikm = bytes(suite.aead_key_length), bytes(range(suite.hpke.kem.private_length))
    own, _ = pair(ikm)
    sealed = cipher(key).encrypt(_NONCE, _PLAINTEXT, b"")

    def keypair() -> object:
        """RFC 9180 §7.1.3: DeriveKeyPair, and the public key."""
        mac(mac(b"", ikm), _INFO)
        return pair(ikm)

    def seal() -> object:
        """RFC 9180 §4.1, §5.1: a fresh pair, what is agreed, key and nonce, the ciphertext; info digested before."""
        ephemeral, _ = pair(ikm)
        _schedule(mac, exchange(ephemeral))
        return cipher(key).encrypt(_NONCE, _PLAINTEXT, b"")

    def open_() -> object:
        """RFC 9180 §4.1, §5.1: the same on the other side."""
        _schedule(mac, exchange(own))
        return cipher(key).decrypt(_NONCE, sealed, b"")

    verified = _repeated(verify)
    return {
        "sign": _repeated(sign),
        "verify": verified,
        "verify on all cores": _spread(verified, executor, n_threads),
        "keypair": _repeated(keypair),
        "seal": _repeated(seal),
        "open": _repeated(open_),
        "aead": _repeated(lambda: cipher(key).encrypt(_NONCE, _HASHED, b"")),
        "hkdf": _macs(mac),
        "hash": _hashes(suite.hash_name),
    }


def _agreement(curve: str) -> tuple[Callable[[bytes], tuple[Any, bytes]], Callable[[Any], bytes]]:
    """Return what makes a key pair of bytes, and what agrees with a peer that is prepared."""
    if curve in _CURVES:
        group = _CURVES[curve]
        peer = ec.derive_private_key(7, group).public_key()

        def pair(private: bytes) -> tuple[Any, bytes]:
            key = ec.derive_private_key(int.from_bytes(private, "big"), group)
            return key, key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

        return pair, lambda key: key.exchange(ec.ECDH(), peer)
    kind: Any = x25519.X25519PrivateKey if curve == "X25519" else x448.X448PrivateKey
    other = kind.generate().public_key()

    def montgomery_pair(private: bytes) -> tuple[Any, bytes]:
        key = kind.from_private_bytes(private)
        return key, key.public_key().public_bytes_raw()

    return montgomery_pair, lambda key: key.exchange(other)


def _signatures(suite: CipherSuite) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return what signs and what verifies, with keys that are prepared."""
    curve = suite.signatures.curve.name
    if curve in _CURVES:
        key, algorithm = ec.derive_private_key(7, _CURVES[curve]), ec.ECDSA(_hash_of(suite))
        made, verify = key.sign(_MESSAGE, algorithm), key.public_key().verify
        return lambda: key.sign(_MESSAGE, algorithm), lambda: verify(made, _MESSAGE, algorithm)
    kind: Any = ed25519.Ed25519PrivateKey if curve == "Ed25519" else ed448.Ed448PrivateKey
    signer = kind.generate()
    signature, verifier = signer.sign(_MESSAGE), signer.public_key().verify
    return lambda: signer.sign(_MESSAGE), lambda: verifier(signature, _MESSAGE)


def _hash_of(suite: CipherSuite) -> hashes.HashAlgorithm:
    known = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
    return known[suite.hash_name]


def _schedule(mac: HMAC, shared: bytes) -> bytes:
    shared = mac(mac(b"", shared), _INFO)
    secret = mac(shared, b"")
    mac(secret, _INFO)
    return mac(secret, _INFO)


def _repeated(call: Callable[[], object]) -> Primitive:
    def run(count: int) -> None:
        for _ in repeat(None, count):
            call()

    return run


def _macs(mac: HMAC) -> Primitive:
    def run(count: int) -> None:
        for _ in repeat(None, count):
            mac(_PLAINTEXT, _INFO)

    return run


def _hashes(name: str) -> Primitive:
    hash_function = getattr(hashlib, name)

    def run(count: int) -> None:
        for _ in repeat(None, count):
            hash_function(_HASHED).digest()

    return run


def _spread(run: Primitive, executor: Executor, n_threads: int) -> Primitive:
    """Run in as many threads as there are; the library leaves the GIL while it verifies."""

    def spread(count: int) -> None:
        shares = [count // n_threads + (thread < count % n_threads) for thread in range(n_threads)]
        list(executor.map(run, shares))

    return spread
