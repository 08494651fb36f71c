"""Secret trees of suite 1 with a known root, for tests of the tree and of its records."""

from __future__ import annotations

from collections.abc import Callable

import cbor2
import pytest

from mls.crypto import cipher_suite
from mls.errors import Code, MLSError, UnavailableSecret
from mls.messages import ContentType
from mls.schedule.key_schedule import EncryptionSecret
from mls.schedule.secret_tree import SecretTree, SecretTreeLimits
from tests.support.naive_schedule import tree_keys
from treekem.index import LeafIndex

SUITE = cipher_suite(1)
ROOT = bytes(range(32))
KEYS = tree_keys(ROOT, 4, 12)
APPLICATION, PROPOSAL, COMMIT = ContentType.APPLICATION, ContentType.PROPOSAL, ContentType.COMMIT
A, B, C, D = (LeafIndex(leaf) for leaf in range(4))
LAST = 0xFFFFFFFF


def new_tree(limits: SecretTreeLimits | None = None, n_leaves: int = 4) -> SecretTree:
    """Return a tree that grows from ROOT."""
    return SecretTree(SUITE, n_leaves, EncryptionSecret(ROOT), limits or SecretTreeLimits())


def consume(tree: SecretTree, leaf: LeafIndex, kind: ContentType, generation: int) -> tuple[bytes, bytes]:
    staged = tree.stage(leaf, kind, generation)
    pair = staged.key.expose(), staged.nonce
    tree.apply(staged)
    return pair


def refusal(
    work: Callable[..., object], *arguments: object, error: type[MLSError] = UnavailableSecret
) -> tuple[str, Code]:
    with pytest.raises(error) as refused:
        work(*arguments)
    return refused.value.rule, refused.value.code


def restored(tree: SecretTree, n_leaves: int = 4) -> SecretTree:
    return SecretTree.restore(SUITE, n_leaves, tree.records(), SecretTreeLimits())


def with_head_at(generation: int, touched: ContentType = APPLICATION) -> SecretTree:
    """Return a tree where A has split off and its ratchet for `touched` has its next generation there."""
    tree = new_tree()
    consume(tree, A, COMMIT, 0)
    key = f"ratchet/0/{'application' if touched == APPLICATION else 'handshake'}"
    records = tree.records()
    records[key] = cbor2.dumps(cbor2.loads(records[key]) | {"generation": generation}, canonical=True)
    return SecretTree.restore(SUITE, 4, records)
