"""Kind secret-tree: the message keys of every leaf, and those of sender data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mls.messages import ContentType
from mls.schedule.key_schedule import EncryptionSecret, SenderDataSecret, sender_data_key_and_nonce
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits
from treekem.index import LeafIndex
from treekem.suite import Entropy
from vectors.case import Case, Kind, Mismatch, Recipe, array, expect_octets, number, octets, part, suite_of

_LIMITS: Final = SecretTreeLimits(max_forward=1 << 16)
_RATCHETS: Final = (("handshake", ContentType.PROPOSAL), ("application", ContentType.APPLICATION))


def verify_secret_tree(case: Case, entropy: Entropy) -> None:
    """Compare every key and nonce, twice: as it is staged from an untouched tree, and as the ratchets are used up."""
    del entropy
    suite, leaves = suite_of(case), array(case, "leaves")
    stated = part(case, "sender_data")
    secret = SenderDataSecret(octets(stated, "sender_data_secret"))
    key, nonce = sender_data_key_and_nonce(suite, secret, octets(stated, "ciphertext"))
    expect_octets(key, stated, "key", "sender_data.")
    expect_octets(nonce, stated, "nonce", "sender_data.")
    if not leaves:
        raise Mismatch("leaves is empty")
    used, untouched = _tree_of(case), _tree_of(case)
    for index, generations in enumerate(leaves):
        for entry in sorted(generations, key=lambda each: number(each, "generation")):
            _verify_entry(untouched, LeafIndex(index), entry, consume=False)
            _verify_entry(used, LeafIndex(index), entry, consume=True)


def _tree_of(case: Case) -> SecretTree:
    suite, n_leaves = suite_of(case), len(array(case, "leaves"))
    return SecretTree(suite, _full_size(n_leaves), EncryptionSecret(octets(case, "encryption_secret")), _LIMITS)


def _full_size(n_leaves: int) -> int:
    return 1 << (n_leaves - 1).bit_length()


def _verify_entry(tree: SecretTree, leaf: LeafIndex, entry: Case, *, consume: bool) -> None:
    generation = number(entry, "generation")
    for name, content_type in _RATCHETS:
        staged = tree.stage(leaf, content_type, generation)
        where = f"leaf {leaf}, generation {generation}: "
        expect_octets(staged.key, entry, f"{name}_key", where)
        expect_octets(staged.nonce, entry, f"{name}_nonce", where)
        if consume:
            tree.apply(staged)


def generate_secret_tree(recipe: Recipe) -> Iterator[Case]:
    """Yield trees of 1, 8 and 32 leaves, or of 1 and 4."""
    suite, entropy = recipe.suite, recipe.entropy
    for n_leaves in (1, 4) if recipe.small else (1, 8, 32):
        sender_data_secret, ciphertext = entropy(suite.hash_length), entropy(77)
        key, nonce = sender_data_key_and_nonce(suite, SenderDataSecret(sender_data_secret), ciphertext)
        encryption_secret = entropy(suite.hash_length)
        tree = SecretTree(suite, n_leaves, EncryptionSecret(encryption_secret), _LIMITS)
        yield {
            "cipher_suite": suite.id,
            "encryption_secret": encryption_secret.hex(),
            "sender_data": {
                "sender_data_secret": sender_data_secret.hex(),
                "ciphertext": ciphertext.hex(),
                "key": key.expose().hex(),
                "nonce": nonce.hex(),
            },
            "leaves": [[_entry(tree, LeafIndex(leaf), number) for number in (0, 15)] for leaf in range(n_leaves)],
        }


def _entry(tree: SecretTree, leaf: LeafIndex, generation: int) -> Case:
    entry: Case = {"generation": generation}
    for name, content_type in _RATCHETS:
        staged = tree.stage(leaf, content_type, generation)
        entry |= {f"{name}_key": staged.key.expose().hex(), f"{name}_nonce": staged.nonce.hex()}
    return entry


_FIELDS = ("cipher_suite", "sender_data", "encryption_secret", "leaves")
KINDS = (Kind("secret-tree", frozenset(_FIELDS), verify_secret_tree, generate_secret_tree),)
