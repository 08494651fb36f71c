"""Stored trees: those that kernels read equal those that the decoder reads, and nothing else is let through."""

from __future__ import annotations

from random import Random
from typing import ClassVar

import pytest

from mls.crypto import CipherSuite, cipher_suite
from tests.property.test_tree_kernels import grown
from tests.support.tree_builder import leaf_named, parent_named, tree_of
from treekem.columns import NodeColumns
from treekem.errors import InvalidTree, MalformedMessage, MLSError
from treekem.index import LeafIndex, NodeIndex
from treekem.nodes import Content
from treekem.tree import RatchetTree
from treekem.tree_hashes import BYTES_FOR_KERNELS, scanned_blocks
from treekem.wire import encode_varint

SUITE = cipher_suite(1)


def patchy(n_leaves: int, share: float, seed: int = 0) -> RatchetTree:
    """Return a tree with nodes in so many of its places, the last one among them."""
    random = Random(seed)
    nodes: dict[int, Content] = {2 * n_leaves - 2: leaf_named("last")}
    for x in range(2 * n_leaves - 1):
        if random.random() < share:
            nodes[x] = parent_named(str(x)) if x & 1 else leaf_named(str(x))
    return tree_of(n_leaves, nodes)


def kept(plain: RatchetTree) -> RatchetTree:
    """Return a tree whose nodes stay in the bytes of its pieces."""
    scanned = scanned_blocks(plain.n_leaves, sorted(plain.blocks()))
    assert scanned is not None
    return RatchetTree(NodeColumns.of_scanned(scanned))


@pytest.mark.parametrize("n_leaves", [1, 2, 16, 32, 64, 128, 4096])
def test_a_tree_in_pieces_is_like_any_other(n_leaves: int) -> None:
    random = Random(n_leaves)
    plain = patchy(n_leaves, 0.7)
    tree = kept(plain)
    assert (tree.n_members, tree.first_blank_leaf()) == (plain.n_members, plain.first_blank_leaf())
    assert tree.tree_hash(SUITE) == plain.tree_hash(SUITE)
    assert tree.encode() == plain.encode()
    assert dict(tree.blocks()) == dict(plain.blocks())
    assert list(tree.encryption_keys()) == list(plain.encryption_keys())
    for _ in range(4):
        before, slot = tree, leaf_named(str(random.random()))
        leaf = random.choice([leaf for leaf, _ in plain.leaves()])
        (tree, _), (plain, _) = (
            tree.update_leaf(leaf, slot).add_leaf(slot),
            plain.update_leaf(leaf, slot).add_leaf(slot),
        )
        assert tree.tree_hash(SUITE) == plain.tree_hash(SUITE)
        changed = list(tree.changed_blocks(before))
        again = before.with_blocks(tree.n_leaves, changed)
        assert (again.n_leaves, again.encode()) == (plain.n_leaves, plain.encode())
        assert dict(again.changed_blocks(before)) == dict(changed)
    assert dict(tree.blocks()) == dict(plain.blocks())
    smaller = plain.with_nodes({NodeIndex(2 * leaf): None for leaf in range(n_leaves // 2 or 1, n_leaves)}).truncated()
    assert tree.with_blocks(smaller.n_leaves, smaller.changed_blocks(plain)).encode() == smaller.encode()


class CountingSuite(CipherSuite):
    """Counts the hashes that are computed one by one."""

    hashes: ClassVar[list[bytes]] = []

    def hash(self, data: bytes) -> bytes:
        self.hashes.append(digest := super().hash(data))
        return digest


def test_a_tree_that_was_edited_before_it_was_hashed_is_hashed_in_bulk() -> None:
    suite = CountingSuite(SUITE.id, SUITE.name, SUITE.hpke, SUITE.signatures)
    plain, slot = patchy(2048, 0.9), leaf_named("new")
    tree = kept(plain).update_leaf(LeafIndex(2047), slot)
    suite.hashes.clear()
    assert tree.tree_hash(suite) == plain.update_leaf(LeafIndex(2047), slot).tree_hash(SUITE)
    # What was in the edited blocks, two of 63 nodes.
    assert len(suite.hashes) <= 2 * 63


@pytest.mark.parametrize("seed", range(4))
def test_pieces_that_are_scanned_are_pieces_that_are_decoded(seed: int) -> None:
    random = Random(seed)
    plain = grown(seed, 60)
    n_taken = 0
    for _ in range(400):
        pieces = sorted(plain.blocks())
        number, encoded = random.choice(pieces)
        body = bytearray(encoded[1 if encoded[0] < 0x40 else 2 if encoded[0] < 0x80 else 4 :])
        place = random.randrange(len(body))
        match random.randrange(6):
            case 0:
                body[place] ^= 1 << random.randrange(8)
            case 1:
                body[place:] = b""
            case 2:
                body[place:place] = random.randbytes(random.randrange(1, 5))
            case 3:
                body += b"\1\1" + leaf_named("more").encoded
            case 4:
                number = random.choice([-1, 1, 62, 63, 64, 128, 4095, 2**41])
            case _:
                del body[place : place + random.randrange(1, 5)]
        mutants = sorted({**dict(pieces), number: encode_varint(len(body)) + bytes(body)}.items())
        scanned = scanned_blocks(plain.n_leaves, mutants)
        try:
            decoded = RatchetTree.from_blocks(plain.n_leaves, mutants)
        except MLSError:
            assert scanned is None
            continue
        n_taken += 1
        assert scanned is not None
        held = [(x, scanned.content(x)) for x in map(NodeIndex, range(2 * plain.n_leaves - 1))]
        expected = [(x, decoded.parent(x) if x & 1 else decoded.leaf(LeafIndex(x >> 1))) for x, _ in held]
        assert held == expected
    assert 10 < n_taken < 390


@pytest.fixture(scope="module")
def large() -> RatchetTree:
    """A tree of so many bytes that kernels read it."""
    leaf, parent = leaf_named("leaf" * 2000), parent_named("parent")
    n_leaves = 1 << (BYTES_FOR_KERNELS // len(leaf.encoded)).bit_length()
    return tree_of(n_leaves, {x: parent if x & 1 else leaf for x in range(2 * n_leaves - 1)})


def test_a_large_stored_tree_stays_in_its_bytes(large: RatchetTree) -> None:
    pieces = list(large.blocks())
    tree = RatchetTree.from_blocks(large.n_leaves, pieces)
    assert tree.unlinked_parents(SUITE) is not None, "kernels know nothing of it"
    assert tree.tree_hash(SUITE) == large.tree_hash(SUITE)
    assert dict(tree.blocks()) == dict(pieces)


@pytest.mark.rfc("R-4.1-01")
def test_a_large_stored_tree_that_is_damaged_is_refused(large: RatchetTree) -> None:
    pieces = dict(large.blocks())
    for n_leaves, number in (
        (large.n_leaves // 2, 0),
        (large.n_leaves, 1),
        (large.n_leaves, 2**41),
        (2**33, 0),
        (3, 0),
    ):
        with pytest.raises(InvalidTree) as caught:
            RatchetTree.from_blocks(n_leaves, {**pieces, number: pieces[0]}.items())
        assert caught.value.rule == "R-4.1-01"
    for number in (0, 63, 64 * 5):
        damaged = {**pieces, number: pieces[number][:-1]}
        with pytest.raises(MalformedMessage):
            RatchetTree.from_blocks(large.n_leaves, damaged.items())
    swapped = {**pieces, 0: pieces[63], 63: pieces[0]}
    with pytest.raises(InvalidTree) as caught:
        RatchetTree.from_blocks(large.n_leaves, swapped.items())
    assert caught.value.rule == "R-12.4.3.3-05"


@pytest.mark.rfc("R-4.1-01")
def test_pieces_that_replace_others_fit_the_tree() -> None:
    tree = patchy(64, 0.7)
    ((number, piece), *_) = tree.blocks()
    assert tree.with_blocks(64, [(number, piece)]).encode() == tree.encode()
    assert tree.with_blocks(128, []).n_leaves == 128
    for n_leaves, blocks in ((3, []), (0, []), (64, [(1, piece)]), (64, [(128, piece)]), (64, [(-1, None)])):
        with pytest.raises(InvalidTree) as caught:
            tree.with_blocks(n_leaves, blocks)
        assert caught.value.rule == "R-4.1-01"
    assert tree.with_blocks(64, [(number, None)]).leaf(LeafIndex(0)) is None
