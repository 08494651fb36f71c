"""RFC 9420 Appendices A to C: histories of the example trees, evolution of parent hashes, growing and shrinking."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.tree_builder import leaf_named, with_parent
from tests.support.tree_group import TreeGroup
from treekem import reference
from treekem.errors import InvalidTree
from treekem.hashing import verify_parent_hashes, verify_tree_structure
from treekem.index import LeafIndex, NodeIndex, node_width
from treekem.tree import RatchetTree

A, B, C, D, E, F, G, H = map(LeafIndex, range(8))


def group_of(n_members: int) -> TreeGroup:
    """Return the group that A made with the others by a full commit."""
    group = TreeGroup(b"appendix")
    group.add(n_members - 1)
    group.commit(A)
    return group


def parents_of(tree: RatchetTree, within: range | None = None) -> dict[int, tuple[int, ...]]:
    return {x: node.unmerged_leaves for x, node in tree.parents() if within is None or x in within}


@pytest.mark.rfc("R-A-01")
def test_the_full_tree() -> None:
    group = group_of(7)
    group.commit(F)
    group.remove(C, D)
    group.commit(G)
    group.commit(B)
    t, w, x, y = 1, 7, 9, 11
    assert group.members == [A, B, E, F, G]
    assert parents_of(group.tree) == {t: (), w: (), x: (), y: ()}
    verify_tree_structure(group.tree, group.suite)


@pytest.mark.rfc("R-A-01")
def test_the_resolution_tree() -> None:
    group = group_of(12)
    outside = LeafIndex(9)
    group.commit(F)
    group.remove(B, C)
    group.commit(D)
    group.remove(G)
    group.commit(outside)
    assert group.add() == [B]
    group.partial_commit()
    x, y, top = 3, 9, NodeIndex(7)
    assert [leaf for leaf in group.members if leaf < 8] == [A, B, D, E, F, H]
    assert parents_of(group.tree, range(15)) == {x: (B,), y: ()}
    assert group.tree.resolution(top) == (x, 2 * B, y, 2 * H)
    verify_tree_structure(group.tree, group.suite)


@pytest.mark.rfc("R-A-01")
def test_the_evolution_tree() -> None:
    group = group_of(4)
    group.commit(B)
    group.remove(C)
    group.commit(D)
    x, y, z = 1, 3, 5
    # The text has D set Z too; but with C's leaf blank Z reaches nobody whom D does not, and so it is filtered out.
    assert parents_of(group.tree) == {x: (), y: ()}
    assert group.add() == [C]
    assert parents_of(group.tree) == {x: (), y: (C,)}
    group.commit(B)
    assert parents_of(group.tree) == {x: (), y: ()}
    assert group.tree.is_blank(NodeIndex(z))
    verify_tree_structure(group.tree, group.suite)


@pytest.mark.rfc("R-A-01", "R-7.9-04", "R-7.9-05", "R-12.1.1-04")
def test_the_parent_hash_tree() -> None:
    group = group_of(7)
    group.remove(F)
    group.commit(A)
    group.commit(E)
    before = group.tree
    assert group.add() == [F]
    t, u, w, y = 1, 3, NodeIndex(7), NodeIndex(11)
    assert parents_of(group.tree) == {t: (), u: (), w: (F,), y: (F,)}
    original = group.tree.original_node_hash(group.suite, y, (F,))
    assert original == before.node_hash(group.suite, y) != group.tree.node_hash(group.suite, y)
    verify_tree_structure(group.tree, group.suite)


@pytest.mark.rfc("R-B-01", "R-7.9.2-04", "R-7.9.2-01", "R-7.9-02", "R-7.9.1-01")
def test_the_evolution_of_parent_hashes() -> None:
    group = TreeGroup(b"evolution")
    group.add()
    group.commit(A)
    group.add(2)
    group.commit(B)
    group.commit(C)
    nodes = reference.nodes_of(group.tree)
    x, y, z = 1, 3, 5
    links = {
        (d, p)
        for d, p in product(map(NodeIndex, range(7)), map(NodeIndex, (x, y, z)))
        if reference.is_valid_link(nodes, d, p, group.suite)
    }
    assert links == {(2 * B, x), (2 * C, z), (z, y)}
    assert reference.chains(nodes, group.suite) == [[x], [z, y]]
    verify_parent_hashes(group.tree, group.suite)

    # Without the link from Z' to Y' nothing vouches for Y', though X' below it still carries a hash of an older Y.
    broken = with_parent(group.tree, z, parent_hash=bytes(32))
    with pytest.raises(InvalidTree) as refused:
        verify_parent_hashes(broken, group.suite)
    assert refused.value.rule == "R-7.9.2-03"


@pytest.mark.rfc("R-C-02", "R-7.7-01", "R-7.7-02")
def test_growing_appends_blanks_and_shrinking_cuts_them_off() -> None:
    tree = RatchetTree.of_leaf(leaf_named("0"))
    for n_leaves in (1, 2, 4, 8, 16, 32, 64, 128):
        assert tree.first_blank_leaf() is None
        width = node_width(n_leaves)
        grown, leaf = tree.with_room()
        assert (leaf, grown.n_leaves) == (n_leaves, 2 * n_leaves)
        assert node_width(grown.n_leaves) == width + width + 1
        assert all(grown.is_blank(NodeIndex(x)) for x in range(width, 2 * width + 1))
        assert grown.truncated().encode() == grown.encode() == tree.encode()
        assert grown.truncated().n_leaves == n_leaves
        for number in range(n_leaves, 2 * n_leaves):
            tree, leaf = tree.add_leaf(leaf_named(str(number)))
            assert (leaf, tree.n_leaves) == (number, 2 * n_leaves)
            assert tree.with_room()[0].n_leaves == (2 if number + 1 < 2 * n_leaves else 4) * n_leaves
