"""RFC 9420 §4: the terms of ratchet trees, by the examples of the text."""

from __future__ import annotations

import pytest

from tests.support.tree_builder import leaf_named, parent_named, tree_of
from tests.support.tree_group import TreeGroup
from treekem.errors import InvalidTree, UsageError
from treekem.index import (
    LeafIndex,
    NodeIndex,
    common_ancestor,
    copath,
    direct_path,
    is_in_subtree,
    is_leaf,
    leaf_of,
    leaves_below,
    left,
    level,
    node_of,
    node_width,
    parent,
    right,
    root,
    sibling,
)
from treekem.nodes import Content
from treekem.tree import RatchetTree


def leaves(names: str) -> dict[int, Content]:
    """Return leaves by a line such as `A B _ D`."""
    return {2 * leaf: leaf_named(name) for leaf, name in enumerate(names.split()) if name != "_"}


# "A Tree with Blanks and Unmerged Leaves", §4.1.1; its top node is the root here.
X, Y, TOP = 3, 9, 7
RESOLUTIONS = tree_of(8, leaves("A B _ D E F _ H") | {X: parent_named("X", 1), Y: parent_named("Y")})

# "A Complete Tree with Five Members, with Labels for Blank Parent Nodes", §4.1.2.
LABELS = {"T": 1, "U": 3, "V": 5, "W": 7, "X": 9, "Y": 11, "Z": 13} | {name: 2 * i for i, name in enumerate("ABCDEFGH")}
FULL = tree_of(8, leaves("A B _ _ E F G _") | {LABELS[name]: parent_named(name) for name in "TWXY"})


def labelled(names: str) -> tuple[NodeIndex, ...]:
    return tuple(NodeIndex(LABELS[name]) for name in names)


@pytest.mark.rfc("R-4.1-01")
def test_a_stored_tree_is_perfect() -> None:
    pieces = list(RESOLUTIONS.blocks())
    assert RatchetTree.from_blocks(8, pieces).encode() == RESOLUTIONS.encode()
    misfits = [(n_leaves, pieces) for n_leaves in (-1, 0, 3, 4, 6, 1 << 33)]
    misfits += [(8, [(number, encoded)]) for number in (-1, 1) for _, encoded in pieces]
    for n_leaves, blocks in misfits:
        with pytest.raises(InvalidTree) as caught:
            RatchetTree.from_blocks(n_leaves, blocks)
        assert caught.value.rule == "R-4.1-01"


@pytest.mark.rfc("R-4.1.1-01")
def test_leaves_stand_at_even_nodes_from_left_to_right() -> None:
    assert [node_of(LeafIndex(leaf)) for leaf in range(8)] == list(range(0, 16, 2))
    assert [leaf for leaf, _ in RESOLUTIONS.leaves()] == [0, 1, 3, 4, 5, 7]
    assert [leaf_of(NodeIndex(x)) for x in (0, 2, 14)] == [0, 1, 7]


@pytest.mark.rfc("R-4.1.1-03", "R-4.1.1-04", "R-4.1.1-05")
def test_resolution_of_the_example() -> None:
    assert RESOLUTIONS.resolution(NodeIndex(X)) == (X, 2)
    assert RESOLUTIONS.resolution(NodeIndex(4)) == ()
    assert RESOLUTIONS.resolution(NodeIndex(12)) == ()
    assert RESOLUTIONS.resolution(NodeIndex(TOP)) == (X, 2, Y, 14)


@pytest.mark.parametrize(
    ("leaf", "path", "others", "filtered"),
    [
        ("A", "TUW", "BVY", "TW"),
        ("B", "TUW", "AVY", "TW"),
        ("E", "XYW", "FZU", "XYW"),
        ("F", "XYW", "EZU", "XYW"),
        ("G", "ZYW", "HXU", "YW"),
    ],
)
@pytest.mark.rfc("R-4.1.2-01", "R-4.1.2-02", "R-4.1.2-03")
def test_paths_of_the_example(leaf: str, path: str, others: str, filtered: str) -> None:
    (x,) = labelled(leaf)
    assert direct_path(x, 8) == labelled(path)
    assert copath(x, 8) == labelled(others)
    found = FULL.filtered_direct_path(leaf_of(x))
    assert tuple(node for node, _ in found) == labelled(filtered)
    assert all(child in copath(x, 8) for _, child in found)


@pytest.mark.rfc("R-4.1.2-01", "R-4.1-01")
def test_a_root_has_no_path() -> None:
    assert direct_path(root(8), 8) == copath(root(8), 8) == ()
    lone = RatchetTree.of_leaf(leaf_named("A"))
    assert (lone.n_leaves, lone.resolution(NodeIndex(0))) == (1, (0,))
    assert lone.filtered_direct_path(LeafIndex(0)) == ()


@pytest.mark.rfc("R-4.1.2-04")
def test_unmerged_leaves_keep_a_node_on_the_filtered_path() -> None:
    # Node 5 is blank but for a member who joined lately; the leaf beside it needs the node above to reach that member.
    tree = tree_of(4, leaves("A B _ D") | {3: parent_named("R", 3)})
    assert tree.filtered_direct_path(LeafIndex(0)) == ((1, 2), (3, 5))
    without = tree_of(4, leaves("A B _ _") | {3: parent_named("R")})
    assert without.filtered_direct_path(LeafIndex(0)) == ((1, 2),)


@pytest.mark.rfc("R-4.1.2-05", "R-7.6-04")
def test_new_leaves_count_for_the_filtered_path_but_nothing_is_sealed_to_them() -> None:
    group = TreeGroup.of_size(2)
    added = group.add(2)
    assert group.tree.filtered_direct_path(LeafIndex(0)) == ((1, 2), (3, 5))
    done = group.commit(LeafIndex(0))
    assert done.new_leaves == set(added)
    assert [len(node.encrypted_path_secret) for node in done.path.nodes] == [1, 0]


@pytest.mark.rfc("R-4.1.1-06", "R-4.2-01", "R-4.2-02")
def test_views_of_the_private_keys() -> None:
    group = TreeGroup(b"views")
    group.add(3)
    group.commit(LeafIndex(0))
    held = {leaf: set(keys) for leaf, keys in group.private_keys.items()}
    # C and D know the root, nothing in between, and their own leaves.
    assert held == {0: {0, 1, 3}, 1: {2, 1, 3}, 2: {4, 3}, 3: {6, 3}}
    assert group.tree.is_blank(NodeIndex(5))
    # A commit goes over such a hole: C opens by its leaf, and by the root's key nobody needs to.
    group.commit(LeafIndex(1))
    assert {leaf: set(keys) for leaf, keys in group.private_keys.items()} == held


@pytest.mark.rfc("R-4.2-03")
def test_a_new_leaf_is_unmerged_everywhere_above_until_a_path_resets_it() -> None:
    group = TreeGroup.of_size(8)
    group.remove(LeafIndex(2))
    group.commit(LeafIndex(0))
    group.commit(LeafIndex(3))
    group.add()
    unmerged = {x: node.unmerged_leaves for x, node in group.tree.parents() if is_in_subtree(NodeIndex(4), x)}
    assert unmerged == {3: (2,), 7: (2,)}
    group.partial_commit()
    group.commit(LeafIndex(7))
    assert {x for x, node in group.tree.parents() if node.unmerged_leaves} == {3}
    group.commit(LeafIndex(0))
    assert not any(node.unmerged_leaves for _, node in group.tree.parents())


@pytest.mark.rfc("R-4.1.1-02")
def test_queries_beyond_the_tree_find_blanks() -> None:
    for leaf in (4, 2**24, 2**31, 2**32 - 1):
        assert RESOLUTIONS.leaf(LeafIndex(2 * leaf)) is None
        assert RESOLUTIONS.is_blank(node_of(LeafIndex(2 * leaf)))
        assert RESOLUTIONS.parent(NodeIndex(2 * leaf + 15)) is None
        with pytest.raises(UsageError):
            RESOLUTIONS.filtered_direct_path(LeafIndex(2 * leaf))
        with pytest.raises(UsageError):
            RESOLUTIONS.remove_leaf(LeafIndex(2 * leaf))
    assert RESOLUTIONS.parent(NodeIndex(0)) is None
    assert RESOLUTIONS.encryption_key(NodeIndex(4)) is None
    with pytest.raises(UsageError, match="leaf 2 is blank"):
        RESOLUTIONS.update_leaf(LeafIndex(2), leaf_named("C"))
    with pytest.raises(UsageError, match="leaf 2 is blank"):
        RESOLUTIONS.remove_leaf(LeafIndex(2))


class Oracle:
    """A perfect tree built by recursion; the nodes are numbered as they come in order."""

    def __init__(self, n_leaves: int) -> None:
        self.children: dict[int, tuple[int, int]] = {}
        self.above: dict[int, int] = {}
        self.levels: dict[int, int] = {}
        self.root = self._build(0, 2 * n_leaves - 1)

    def _build(self, first: int, width: int) -> int:
        half = width // 2
        middle = first + half
        self.levels[middle] = 0
        if half:
            self.children[middle] = self._build(first, half), self._build(middle + 1, half)
            for child in self.children[middle]:
                self.above[child] = middle
            self.levels[middle] = self.levels[self.children[middle][0]] + 1
        return middle

    def lineage(self, x: int) -> list[int]:
        return [x] if x == self.root else [x, *self.lineage(self.above[x])]


@pytest.mark.parametrize("n_leaves", [1 << d for d in range(13)])
@pytest.mark.rfc("R-C-01", "B30")
def test_index_arithmetic_equals_a_recursive_tree(n_leaves: int) -> None:
    oracle = Oracle(n_leaves)
    assert root(n_leaves) == oracle.root
    assert node_width(n_leaves) == len(oracle.levels)
    for x in map(NodeIndex, range(len(oracle.levels))):
        assert level(x) == oracle.levels[x]
        assert is_leaf(x) == (x not in oracle.children)
        if not is_leaf(x):
            assert (left(x), right(x)) == oracle.children[x]
        if x != oracle.root:
            assert parent(x, n_leaves) == oracle.above[x]
            assert {x, sibling(x, n_leaves)} == set(oracle.children[oracle.above[x]])
        assert [x, *direct_path(x, n_leaves)] == oracle.lineage(x)
    for x in map(NodeIndex, range(0, len(oracle.levels), max(1, n_leaves // 16))):
        for y in map(NodeIndex, range(0, len(oracle.levels), max(1, n_leaves // 16))):
            lines = oracle.lineage(x), oracle.lineage(y)
            assert common_ancestor(x, y) == next(node for node in lines[0] if node in lines[1])
            assert is_in_subtree(x, y) == (y in lines[0])
        found = [leaf for leaf in range(n_leaves) if is_in_subtree(NodeIndex(2 * leaf), x)]
        assert list(leaves_below(x)) == found


@pytest.mark.rfc("R-C-01", "B22", "B30")
def test_index_arithmetic_of_the_largest_tree() -> None:
    n_leaves = 2**32
    last = node_of(LeafIndex(n_leaves - 1))
    path = direct_path(last, n_leaves)
    assert len(path) == 32
    assert [level(x) for x in path] == list(range(1, 33))
    assert path[-1] == root(n_leaves)
    assert common_ancestor(NodeIndex(0), last) == root(n_leaves)


@pytest.mark.rfc("R-C-01")
def test_what_has_no_answer_is_refused() -> None:
    for question in (left, right):
        with pytest.raises(UsageError, match="leaf"):
            question(NodeIndex(6))
    for above in (parent, sibling):
        with pytest.raises(UsageError, match="root"):
            above(NodeIndex(7), 8)
    with pytest.raises(UsageError, match="not a leaf"):
        leaf_of(NodeIndex(7))


@pytest.mark.rfc("R-C-01")
def test_a_node_outside_of_the_tree_has_no_path() -> None:
    assert direct_path(NodeIndex(6), 4) == (5, 3)
    for x, n_leaves in ((7, 4), (100, 4), (-2, 4), (2, 1), (0, 0), (0, 3), (0, -4)):
        for find in (direct_path, copath):
            with pytest.raises(UsageError, match="no node"):
                find(NodeIndex(x), n_leaves)
    for x, y in ((-2, 0), (0, -2), (-1, -1)):
        with pytest.raises(UsageError, match="no node"):
            common_ancestor(NodeIndex(x), NodeIndex(y))
