"""The key derivations of RFC 9420 §8 and §9 once more, from HMAC upwards and with no thought of deleting anything."""

from __future__ import annotations

import hmac

from treekem.wire import encode_varint

HASHES = {1: "sha256", 2: "sha256", 3: "sha256", 4: "sha512", 5: "sha512", 6: "sha512", 7: "sha384"}
"""The hash of each cipher suite."""


def extract(hash_name: str, salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, hash_name)


def expand_with_label(hash_name: str, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    full = b"MLS 1.0 " + label
    info = length.to_bytes(2, "big") + encode_varint(len(full)) + full + encode_varint(len(context)) + context
    output = block = b""
    counter = 1
    while len(output) < length:
        block = hmac.digest(secret, block + info + bytes((counter,)), hash_name)
        output += block
        counter += 1
    return output[:length]


def psk_secret(hash_name: str, psks: list[tuple[bytes, bytes]]) -> bytes:
    """Return what pre-shared keys come to, each given with its encoded PreSharedKeyID, in the order of a commit."""
    zeros = bytes(hmac.new(b"", digestmod=hash_name).digest_size)
    chained = zeros
    for index, (psk_id, psk) in enumerate(psks):
        label = psk_id + index.to_bytes(2, "big") + len(psks).to_bytes(2, "big")
        derived = expand_with_label(hash_name, extract(hash_name, zeros, psk), b"derived psk", label, len(zeros))
        chained = extract(hash_name, derived, chained)
    return chained


def epoch_secret(hash_name: str, init: bytes, commit: bytes, psk: bytes, group_context: bytes) -> bytes:
    """Return the secret of an epoch from what enters it."""
    length = len(init)
    joiner = expand_with_label(hash_name, extract(hash_name, init, commit), b"joiner", group_context, length)
    return expand_with_label(hash_name, extract(hash_name, joiner, psk), b"epoch", group_context, length)


def leaf_secrets(root: bytes, n_leaves: int) -> list[bytes]:
    """Return the leaves of a secret tree of SHA-256, from its root by halves."""
    if n_leaves == 1:
        return [root]
    halves = (expand_with_label("sha256", root, b"tree", side, 32) for side in (b"left", b"right"))
    return [leaf for half in halves for leaf in leaf_secrets(half, n_leaves // 2)]


def ratchet_keys(secret: bytes, generations: range) -> dict[int, tuple[bytes, bytes]]:
    """Return (key, nonce) by generation, from the ratchet secret of the first, with SHA-256 and AES-128-GCM."""
    keys = {}
    for generation in generations:
        context = generation.to_bytes(4, "big")
        key = expand_with_label("sha256", secret, b"key", context, 16)
        nonce = expand_with_label("sha256", secret, b"nonce", context, 12)
        keys[generation] = key, nonce
        secret = expand_with_label("sha256", secret, b"secret", context, 32)
    return keys


def leaf_keys(leaf_secret: bytes, n_generations: int) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    """Return (key, nonce) by kind of content and generation, from the secret of a leaf."""
    return {
        (kind, generation): pair
        for kind in ("handshake", "application")
        for generation, pair in ratchet_keys(
            expand_with_label("sha256", leaf_secret, kind.encode(), b"", 32), range(n_generations)
        ).items()
    }


def tree_keys(root: bytes, n_leaves: int, n_generations: int) -> dict[tuple[int, str, int], tuple[bytes, bytes]]:
    """Return (key, nonce) of every leaf, kind of content and generation of an epoch."""
    return {
        (leaf, kind, generation): pair
        for leaf, secret in enumerate(leaf_secrets(root, n_leaves))
        for (kind, generation), pair in leaf_keys(secret, n_generations).items()
    }
