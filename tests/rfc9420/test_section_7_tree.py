"""RFC 9420 §7.1, §7.7-7.9, §12.4.3.3, §16.7: what trees are made of, and which ones a joiner refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product
from typing import ClassVar

import pytest

from mls.crypto import CipherSuite, cipher_suite
from tests.support.tree_builder import key_named, leaf_named, parent_named, tree_of, with_parent
from tests.support.tree_group import PUBLISHED, TreeGroup
from treekem import reference
from treekem.errors import Code, InvalidKey, InvalidTree, MalformedMessage, MLSError
from treekem.hashing import (
    parent_hash,
    verify_parent_hashes,
    verify_tree_structure,
    verify_unique_encryption_keys,
    verify_unmerged_leaves,
)
from treekem.index import LeafIndex, NodeIndex, root
from treekem.leaf_node import CommitSource, UpdateSource
from treekem.nodes import LeafNodeHashInput, LeafSlot, Node, ParentNode, ParentNodeHashInput, TreeHashInput
from treekem.tree import RatchetTree
from treekem.wire import decode, encode, encode_as

SUITE = cipher_suite(1)


def refusal(check: Callable[..., object], *arguments: object, error: type[MLSError] = InvalidTree) -> tuple[str, Code]:
    with pytest.raises(error) as refused:
        check(*arguments)
    return refused.value.rule, refused.value.code


def refused_both_ways(tree: RatchetTree) -> None:
    """Both ways of RFC 9420 §7.9.2 to verify parent hashes refuse the tree."""
    expected = ("R-7.9.2-03", Code.PARENT_HASH_MISMATCH)
    assert refusal(verify_parent_hashes, tree, SUITE) == expected
    assert refusal(reference.verify_parent_hashes, reference.nodes_of(tree), SUITE) == expected


# §7.1 and §12.4.3.1: unmerged leaves.


@pytest.mark.rfc("R-7.1-01")
def test_the_fields_of_a_parent() -> None:
    node = ParentNode(b"key", b"hash", (LeafIndex(1), LeafIndex(258)))
    expected = b"\x03key\x04hash\x08\x00\x00\x00\x01\x00\x00\x01\x02"
    assert encode(node) == expected
    assert encode_as(Node, node) == b"\x02" + expected
    assert decode(ParentNode, expected) == node


@pytest.mark.rfc("R-7.1-03", "R-7.1-02")
def test_a_new_leaf_takes_its_place_among_those_that_are_unmerged() -> None:
    tree, leaf = merged(3, 5, 6).add_leaf(leaf_named("4"))
    unmerged = {x: node.unmerged_leaves for x, node in tree.parents()}
    assert (leaf, unmerged) == (4, {3: (3,), 7: (3, 4, 5, 6)})
    verify_unmerged_leaves(tree)


def merged(*unmerged: int) -> RatchetTree:
    """Return a tree of leaves 0, 1, 2, 3, 5, 6, 7 whose root lists these leaves as unmerged; node 3 does the same."""
    below = tuple(leaf for leaf in unmerged if leaf < 4)
    leaves = {2 * leaf: leaf_named(str(leaf)) for leaf in range(8) if leaf != 4}
    return tree_of(8, {**leaves, 3: parent_named("P", *below), 7: parent_named("R", *unmerged)})


@pytest.mark.parametrize("unmerged", [(), (1,), (1, 3), (0, 1, 2, 3, 5, 6, 7)])
@pytest.mark.rfc("R-7.1-02", "R-12.4.3.1-16", "R-12.4.3.1-17")
def test_unmerged_leaves_in_order_are_accepted(unmerged: tuple[int, ...]) -> None:
    verify_unmerged_leaves(merged(*unmerged))


@pytest.mark.parametrize("unmerged", [(3, 1), (2, 2), (1, 3, 2)])
@pytest.mark.rfc("R-7.1-02", "B21", "N-T")
def test_unmerged_leaves_out_of_order_are_refused(unmerged: tuple[int, ...]) -> None:
    expected = ("R-7.1-02", Code.UNMERGED_LEAVES_INVALID)
    assert refusal(verify_tree_structure, merged(*unmerged), SUITE) == expected


@pytest.mark.parametrize("leaf", [4, 8, 2**24, 2**31, 2**32 - 1], ids=["blank", "beyond", "far", "half", "last"])
@pytest.mark.rfc("R-12.4.3.1-16", "B21", "N-T")
def test_unmerged_leaves_that_do_not_exist_are_refused(leaf: int) -> None:
    expected = ("R-12.4.3.1-16", Code.UNMERGED_LEAVES_INVALID)
    assert refusal(verify_tree_structure, merged(leaf), SUITE) == expected


@pytest.mark.rfc("R-12.4.3.1-16", "B21", "N-T")
def test_unmerged_leaves_outside_the_subtree_are_refused() -> None:
    tree = with_parent(merged(5), 3, unmerged=(5,))
    assert refusal(verify_unmerged_leaves, tree)[0] == "R-12.4.3.1-16"


@pytest.mark.rfc("R-12.4.3.1-17", "B21", "N-T")
def test_unmerged_leaves_are_listed_all_the_way_down() -> None:
    tree = with_parent(merged(1), 3, unmerged=())
    assert refusal(verify_unmerged_leaves, tree) == ("R-12.4.3.1-17", Code.UNMERGED_LEAVES_INVALID)
    verify_unmerged_leaves(with_parent(merged(), 3, unmerged=(1,)))
    # Blank nodes are passed on the way down, on either side.
    for leaf, x in ((1, 1), (3, 5), (5, 9), (7, 13)):
        contents = {**dict.fromkeys((3, 11)), x: parent_named("L"), 7: parent_named("R", leaf)}
        over_blanks = merged().with_nodes({NodeIndex(y): node for y, node in contents.items()})
        assert refusal(verify_unmerged_leaves, over_blanks)[0] == "R-12.4.3.1-17"
        verify_unmerged_leaves(with_parent(over_blanks, x, unmerged=(leaf,)))


# §12.4.3.1 and §16.7: keys.


@pytest.mark.rfc("R-12.4.3.1-18", "N-T")
def test_a_parent_key_that_occurs_elsewhere_is_refused() -> None:
    # Checked though no parent has unmerged leaves.
    tree = merged()
    verify_unique_encryption_keys(tree, SUITE)
    for key in (key_named("P"), key_named("5")):
        again = with_parent(tree, 7, encryption_key=key)
        expected = ("R-12.4.3.1-18", Code.DUPLICATE_KEY)
        assert refusal(verify_tree_structure, again, SUITE) == expected


@pytest.mark.rfc("R-16.7-01")
def test_two_leaves_with_one_key_are_refused() -> None:
    tree = merged().update_leaf(LeafIndex(6), leaf_named("2"))
    assert refusal(verify_tree_structure, tree, SUITE) == ("R-16.7-01", Code.DUPLICATE_KEY)


@pytest.mark.rfc("R-12.4.3.1-18", "R-16.7-01")
def test_another_encoding_of_the_same_key_is_the_same_key() -> None:
    masked = key_named("P")[:31] + b"\x81"
    tree = with_parent(merged(), 7, encryption_key=masked)
    assert tree.has_encryption_key(key_named("P"), SUITE)
    assert refusal(verify_unique_encryption_keys, tree, SUITE)[0] == "R-12.4.3.1-18"


@pytest.mark.rfc("R-16.7-01")
def test_key_look_ups_follow_edits() -> None:
    tree, removed = merged(), leaf_named("3")
    assert tree.has_encryption_key(removed.encryption_key, SUITE)
    assert not tree.has_encryption_key(key_named("9"), SUITE)
    tree = tree.remove_leaf(LeafIndex(3)).update_leaf(LeafIndex(2), leaf_named("9"))
    assert not tree.has_encryption_key(removed.encryption_key, SUITE)
    assert not tree.has_encryption_key(key_named("2"), SUITE)
    assert tree.has_encryption_key(key_named("9"), SUITE)
    # A node that stands where truncation cuts is forgotten with its key.
    cut = tree_of(4, {0: leaf_named("0"), 5: parent_named("lost"), 6: leaf_named("3")})
    assert cut.has_encryption_key(key_named("lost"), SUITE)
    left_over = cut.with_nodes({NodeIndex(6): None}).truncated()
    assert not left_over.has_encryption_key(key_named("lost"), SUITE)
    assert left_over.has_encryption_key(key_named("0"), cipher_suite(3))


# §7.7, §12.1.3: size.


@pytest.mark.parametrize("n_members", range(1, 9))
@pytest.mark.rfc("R-7.7-03", "R-7.7-04", "R-12.1.3-03", "R-4.1-01", "N-T")
def test_every_pattern_of_removals(n_members: int) -> None:
    full = TreeGroup.of_size(n_members, b"removals").tree
    for kept in product((False, True), repeat=n_members):
        removed = [LeafIndex(leaf) for leaf in range(n_members) if not kept[leaf]]
        orders = {tuple(removed), tuple(reversed(removed)), *list(permutations(removed))[5:7]}
        results = set()
        for order in orders:
            tree = full
            for leaf in order:
                tree = tree.remove_leaf(leaf)
            results.add((tree.n_leaves, tree.encode() if any(kept) else b""))
            assert tree.n_members == sum(kept)
        ((n_leaves, _),) = results
        last = max((leaf for leaf in range(n_members) if kept[leaf]), default=0)
        assert n_leaves == next(size for size in (1, 2, 4, 8) if size > last)
        assert [leaf for leaf, _ in tree.leaves()] == [leaf for leaf in range(n_members) if kept[leaf]]
        for x, _ in tree.parents():
            assert all(kept[leaf] for leaf in members_below(x, n_members))


def members_below(x: NodeIndex, n_members: int) -> list[int]:
    return [leaf for leaf in range(n_members) if x in lineage(leaf)]


def lineage(leaf: int) -> list[int]:
    """Return the nodes above a leaf of eight."""
    return [4 * (leaf // 2) + 1, 8 * (leaf // 4) + 3, 7]


@pytest.mark.rfc("R-7.7-04")
def test_the_surviving_root_keeps_its_contents() -> None:
    group = TreeGroup.of_size(8, b"surviving")
    survivor = group.tree.parent(NodeIndex(3))
    for leaf in (4, 6, 7):
        group.remove(LeafIndex(leaf))
        assert group.tree.n_leaves == 8
    group.remove(LeafIndex(5))
    assert (group.tree.n_leaves, group.tree.parent(NodeIndex(3))) == (4, survivor)
    verify_tree_structure(group.tree, SUITE)


@pytest.mark.rfc("R-7.7-01", "R-7.7-02")
def test_a_tree_grows_to_the_right_below_a_new_root() -> None:
    tree = TreeGroup.of_size(4, b"growing").tree
    grown, leaf = tree.with_room()
    assert (grown.n_leaves, leaf) == (8, 4)
    assert [grown.encryption_key(NodeIndex(x)) for x in range(7)] == [
        tree.encryption_key(NodeIndex(x)) for x in range(7)
    ]
    assert all(grown.is_blank(NodeIndex(x)) for x in range(7, 15))
    # While a leaf is blank, be it the last one, a tree stays as wide as it is.
    for blank in (0, 3):
        room, leaf = tree_of(4, {2 * x: leaf_named(str(x)) for x in range(4) if x != blank}).with_room()
        assert (room.n_leaves, leaf) == (4, blank)


@pytest.mark.rfc("R-7.7-05")
def test_private_keys_of_nodes_that_vanish_are_dropped() -> None:
    group = TreeGroup.of_size(8, b"vanishing")
    assert set(group.private_keys[LeafIndex(0)]) == {0, 1, 3, 7}
    group.remove(*map(LeafIndex, (7, 6, 5, 4, 2)))
    group.commit(LeafIndex(1))
    # Node 3 was blanked and set again by the path; node 7 is no longer in the tree.
    assert set(group.private_keys[LeafIndex(0)]) == {0, 1, 3}
    group.remove(LeafIndex(3))
    group.commit(LeafIndex(0))
    assert set(group.private_keys[LeafIndex(1)]) == {1, 2}


@pytest.mark.rfc("R-12.1.1-03", "R-12.1.1-05")
def test_new_members_fill_the_blanks_from_the_left() -> None:
    tree = TreeGroup.of_size(8, b"blanks").tree
    for leaf in (1, 4, 6):
        tree = tree.remove_leaf(LeafIndex(leaf))
    taken = []
    for number in range(5):
        tree, leaf = tree.add_leaf(leaf_named(str(number)))
        assert tree.leaf(leaf) == leaf_named(str(number))
        taken.append(leaf)
    assert taken == [1, 4, 6, 8, 9]
    assert tree.n_leaves == 16


# §7.8: tree hashes.


@pytest.mark.rfc("R-7.8-02", "R-7.8-03", "R-7.8-04", "R-4.1.1-07")
def test_blank_nodes_are_hashed_by_their_absence() -> None:
    slot = leaf_named("A")
    tree = tree_of(2, {0: slot})
    leaf_hash = SUITE.hash(b"\x01" + bytes(4) + b"\x01" + slot.encoded)
    blank_hash = SUITE.hash(b"\x01" + bytes(3) + b"\x01" + b"\x00")
    assert tree.node_hash(SUITE, NodeIndex(0)) == leaf_hash
    assert tree.node_hash(SUITE, NodeIndex(2)) == blank_hash
    expected = SUITE.hash(b"\x02\x00\x20" + leaf_hash + b"\x20" + blank_hash)
    assert tree.tree_hash(SUITE) == tree.node_hash(SUITE, NodeIndex(1)) == expected
    assert encode_as(TreeHashInput, LeafNodeHashInput(LeafIndex(1), None)) == b"\x01\x00\x00\x00\x01\x00"
    assert encode_as(TreeHashInput, ParentNodeHashInput(None, b"l", b"r")) == b"\x02\x00\x01l\x01r"


@pytest.mark.rfc("R-7.8-06")
def test_hashes_are_remembered_per_hash_function() -> None:
    tree = TreeGroup.of_size(5, b"hashes").tree
    others = {suite.hash_name: suite for suite in map(cipher_suite, (1, 5, 7))}
    for suite in others.values():
        assert tree.tree_hash(suite) == reference.tree_hash(reference.nodes_of(tree), root(8), suite)
    changed = tree.update_leaf(LeafIndex(2), leaf_named("C"))
    for suite in others.values():
        assert changed.tree_hash(suite) == reference.tree_hash(reference.nodes_of(changed), root(8), suite)


class CountingSuite(CipherSuite):
    """A suite that counts what it hashes."""

    __slots__ = ()
    hashed: ClassVar[list[bytes]] = []

    def hash(self, data: bytes) -> bytes:
        self.hashed.append(data)
        return super().hash(data)


@pytest.mark.rfc("R-7.8-06")
def test_only_changed_paths_are_hashed_again() -> None:
    suite = CountingSuite(SUITE.id, SUITE.name, SUITE.hpke, SUITE.signatures)
    tree = TreeGroup.of_size(20, b"again").tree.update_leaf(LeafIndex(19), leaf_named("first"))
    tree.tree_hash(suite)
    CountingSuite.hashed.clear()
    tree.tree_hash(suite)
    assert CountingSuite.hashed == []
    tree.update_leaf(LeafIndex(5), leaf_named("second")).tree_hash(suite)
    assert len(CountingSuite.hashed) == 6


# §7.9: parent hashes.


@pytest.mark.rfc("R-7.9-04", "R-7.9-05", "R-7.9-06")
def test_original_sibling_hashes() -> None:
    group = TreeGroup.of_size(16, b"originals")
    group.remove(*map(LeafIndex, (3, 9, 12, 13)))
    for sender in (0, 2, 6, 8, 11, 14):
        group.commit(LeafIndex(sender))
    node_before = group.tree.parent(NodeIndex(15))
    right_before = group.tree.node_hash(SUITE, NodeIndex(23))
    group.add(4)
    node = group.tree.parent(NodeIndex(15))
    assert node is not None
    assert node_before is not None
    assert node.unmerged_leaves == (3, 9, 12, 13)
    assert group.tree.node_hash(SUITE, NodeIndex(23)) != right_before
    assert group.tree.original_node_hash(SUITE, NodeIndex(23), node.unmerged_leaves) == right_before
    # The commit itself resets the node, so that the present hash of the sibling is the original one.
    assert reference.parent_hash(reference.nodes_of(group.tree), NodeIndex(15), NodeIndex(23), SUITE) == parent_hash(
        SUITE, node_before, right_before
    )
    verify_tree_structure(group.tree, SUITE)
    reference.verify_parent_hashes(reference.nodes_of(group.tree), SUITE)


def grown_group() -> TreeGroup:
    """Return a group of eight with a blank inner node and a member who is unmerged."""
    group = TreeGroup.of_size(8, b"grown")
    group.remove(LeafIndex(2))
    group.commit(LeafIndex(0))
    group.commit(LeafIndex(3))
    group.commit(LeafIndex(5))
    group.add()
    group.partial_commit()
    assert {x: node.unmerged_leaves for x, node in group.tree.parents()} == {
        1: (), 3: (2,), 7: (2,), 9: (), 11: (), 13: ()
    }  # fmt: skip
    return group


@pytest.mark.rfc("R-7.9.2-03", "R-7.9.2-01")
def test_a_parent_that_was_changed_is_refused() -> None:
    tree = grown_group().tree
    verify_tree_structure(tree, SUITE)
    for x, _ in tree.parents():
        refused_both_ways(with_parent(tree, x, encryption_key=key_named("changed")))
        refused_both_ways(with_parent(tree, x, parent_hash=b"\x00" * 32))


@pytest.mark.rfc("R-7.9.2-03", "R-7.9-02", "B19", "N-T")
def test_a_parent_hash_that_was_emptied_is_refused() -> None:
    tree = grown_group().tree
    for x, node in tree.parents():
        if x != root(8) and node.parent_hash:
            emptied = with_parent(tree, x, parent_hash=b"")
            refused_both_ways(emptied)
            assert refusal(verify_tree_structure, emptied, SUITE)[0] == "R-7.9.2-03"


@pytest.mark.rfc("R-7.9.2-02")
def test_unmerged_leaves_missing_or_added_break_the_link() -> None:
    tree = grown_group().tree
    refused_both_ways(with_parent(with_parent(tree, 3, unmerged=()), 7, unmerged=()))
    refused_both_ways(with_parent(tree, 7, unmerged=()))
    refused_both_ways(with_parent(tree, 7, unmerged=(2, 4)))
    refused_both_ways(with_parent(tree, 9, unmerged=(4,)))


@pytest.mark.rfc("R-7.9.2-05", "R-7.9.1-02")
@pytest.mark.parametrize("source", [PUBLISHED, UpdateSource()])
def test_only_leaves_of_commits_start_a_chain(source: UpdateSource) -> None:
    group = TreeGroup.of_size(2)
    leaf = group.tree.leaf(LeafIndex(1))
    assert leaf is not None
    assert leaf.parent_hash
    other = LeafSlot.of(replace(leaf.leaf_node(), source=source))
    assert other.parent_hash is None
    verify_parent_hashes(group.tree, SUITE)
    refused_both_ways(group.tree.with_nodes({NodeIndex(2): other}))


@pytest.mark.rfc("R-7.9.2-03", "B18", "N-T")
def test_a_blank_root_does_not_end_the_check() -> None:
    group = TreeGroup.of_size(8, b"blank root")
    group.update(LeafIndex(0))
    assert group.tree.is_blank(root(8))
    verify_parent_hashes(group.tree, SUITE)
    for x, _ in group.tree.parents():
        refused_both_ways(with_parent(group.tree, x, encryption_key=key_named("forged")))


@pytest.mark.rfc("R-7.9.2-03")
def test_a_parent_above_nobody_is_refused() -> None:
    refused_both_ways(tree_of(4, {0: leaf_named("A"), 5: parent_named("nobody")}))
    refused_both_ways(tree_of(4, {0: leaf_named("A"), 3: parent_named("nobody"), 5: parent_named("nothing")}))


class CollidingSuite(CipherSuite):
    """A suite whose hash is always the same, so that two nodes can vouch for one parent."""

    __slots__ = ()

    def hash(self, data: bytes) -> bytes:
        return bytes(len(super().hash(data)))


@pytest.mark.rfc("R-7.9.2-03", "N-T")
def test_a_parent_with_two_chains_is_refused() -> None:
    suite = CollidingSuite(SUITE.id, SUITE.name, SUITE.hpke, SUITE.signatures)
    vouching = CommitSource(bytes(32))
    once = tree_of(2, {0: leaf_named("A", vouching), 1: parent_named("P"), 2: leaf_named("B")})
    twice = tree_of(2, {0: leaf_named("A", vouching), 1: parent_named("P"), 2: leaf_named("B", vouching)})
    verify_parent_hashes(once, suite)
    reference.verify_parent_hashes(reference.nodes_of(once), suite)
    assert refusal(verify_parent_hashes, twice, suite)[0] == "R-7.9.2-03"
    assert refusal(reference.verify_parent_hashes, reference.nodes_of(twice), suite)[0] == "R-7.9.2-03"


@pytest.mark.rfc("R-7.9.2-03", "P02", "N-T")
def test_swapped_subtrees_are_refused() -> None:
    tree = grown_group().tree
    moved = {NodeIndex(x): tree.parent(NodeIndex(y)) for x, y in ((9, 13), (13, 9))}
    refused_both_ways(tree.with_nodes(moved))


def test_records_that_do_not_fit_are_refused() -> None:
    tree = grown_group().tree
    records = list(tree.blocks())
    assert RatchetTree.from_blocks(8, records).encode() == tree.encode()
    for n_leaves in (0, 4, 6, -8, 2**33, 2**41):
        assert refusal(RatchetTree.from_blocks, n_leaves, records)[0] == "R-4.1-01"
    for number in (-1, -64, 1, 62, 64, 2**41):
        assert refusal(RatchetTree.from_blocks, 8, [(number, records[0][1])])[0] == "R-4.1-01"
    too_long = tree_of(64, {0: leaf_named("A"), 2 * 32: leaf_named("B")}).encode()
    assert refusal(RatchetTree.from_blocks, 64, [(0, too_long)])[0] == "R-4.1-01"
    next_to_it = tree_of(16, {0: leaf_named("A"), 15: parent_named("P")}).encode()
    assert refusal(RatchetTree.from_blocks, 8, [(0, next_to_it)])[0] == "R-4.1-01"
    assert RatchetTree.from_blocks(16, [(0, next_to_it)]).encode() == next_to_it
    with pytest.raises(MalformedMessage):
        RatchetTree.from_blocks(8, [(0, records[0][1][:-1])])


@pytest.mark.parametrize("suite_id", [1, 2, 4])
@pytest.mark.rfc("R-5.1.1-03", "R-5.1.1-04", "N-K01")
def test_a_parent_key_that_is_none_is_refused(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    group = TreeGroup.of_size(4, b"keys", suite_id)
    verify_tree_structure(group.tree, suite)
    own = group.tree.encryption_key(NodeIndex(3)) or b""
    wrong = {"R-5.1.1-04": own[:-1], "N-K01": bytes(len(own))}
    if suite_id == 2:
        wrong = {"R-5.1.1-03": b"\x02" + own[1:], "R-5.1.1-04": own[:-1] + bytes((own[-1] ^ 1,))}
    for rule, key in wrong.items():
        with pytest.raises(InvalidKey, match="node 3") as refused:
            verify_tree_structure(with_parent(group.tree, 3, encryption_key=key), suite)
        assert refused.value.rule == rule


@pytest.mark.parametrize("suite_id", [1, 5, 7])
@pytest.mark.rfc("R-7.8-03", "R-7.8-05")
def test_blank_subtrees_of_every_height_are_hashed_as_worded(suite_id: int) -> None:
    suite = cipher_suite(suite_id)
    tree = tree_of(256, {2 * 0: leaf_named("A"), 2 * 200: leaf_named("B"), 191: parent_named("P")})
    nodes = reference.nodes_of(tree)
    for x in (0, 2, 1, 5, 11, 23, 47, 95, 63, 127, 191, 255, 383, 399, 407, 510):
        assert tree.node_hash(suite, NodeIndex(x)) == reference.tree_hash(nodes, NodeIndex(x), suite)
    assert tree.tree_hash(suite) == tree.node_hash(suite, root(256))
