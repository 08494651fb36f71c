"""Parent hashes, and whether a tree that comes from elsewhere can have grown by the protocol. RFC 9420 §7.9, §12.4.3.1.

A joiner checks with this that the inner nodes were set by members and not by whoever sends the tree. The leaves' own
contents and signatures are judged above.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from treekem.errors import Code, InvalidKey, InvalidTree
from treekem.index import LeafIndex, NodeIndex, is_in_subtree, is_leaf, leaf_of, leaves_below, left, node_of, right
from treekem.nodes import ParentHashInput, ParentNode
from treekem.rules import require
from treekem.suite import TreeSuite
from treekem.tree import RatchetTree
from treekem.tree_hashes import OriginalHashes, within
from treekem.wire import encode

_MANY: Final = 256  # From so many members on, one question about all comes before a question about each.


def parent_hash(suite: TreeSuite, node: ParentNode, original_sibling_tree_hash: bytes) -> bytes:
    """Return the parent hash of `node` with the copath child that has this original hash; Nh bytes. RFC 9420 §7.9."""
    return suite.hash(encode(ParentHashInput(node.encryption_key, node.parent_hash, original_sibling_tree_hash)))


def verify_tree_structure(tree: RatchetTree, suite: TreeSuite) -> None:
    """Check lists of unmerged leaves, validity and uniqueness of encryption keys, and parent hashes.

    Whether the keys of leaves are valid is judged above, with the rest of the leaf.

    Raises InvalidTree, or InvalidKey for a key that is none. RFC 9420 §12.4.3.1.
    """
    verify_unmerged_leaves(tree)
    verify_parent_keys(tree, suite)
    verify_unique_encryption_keys(tree, suite)
    verify_parent_hashes(tree, suite)


def verify_parent_keys(tree: RatchetTree, suite: TreeSuite) -> None:
    """Check that the suite accepts the public keys of all parents. Raises InvalidKey. RFC 9420 §5.1.1."""
    if tree.n_members > _MANY and suite.has_good_keys_only([key for _, key in tree.encryption_keys()]):
        return
    for x, node in tree.parents():
        verify_parent_key(suite, x, node.encryption_key)


def verify_parent_key(suite: TreeSuite, x: NodeIndex, public_key: bytes) -> None:
    """Check that the suite accepts the public key of parent `x`. Raises InvalidKey that names the node.

    A key that is none would otherwise show when someone encrypts to it, epochs later. RFC 9420 §5.1.1.
    """
    try:
        suite.verify_hpke_key(public_key)
    except InvalidKey as error:
        raise InvalidKey(f"node {x}: {error.message}", code=error.code, rule=error.rule) from error


def verify_unmerged_leaves(tree: RatchetTree) -> None:
    """Check that unmerged leaves are in order, exist, lie below, and are listed all the way down. Raises InvalidTree.

    RFC 9420 §7.1, §12.4.3.1.
    """
    if tree.has_sound_lists():
        return
    members = frozenset(leaf for leaf, _ in tree.leaves())
    for x, node in tree.parents():
        in_order = all(leaf < following for leaf, following in pairwise(node.unmerged_leaves))
        _require(in_order, "R-7.1-02", f"the unmerged leaves of node {x} are not in increasing order")
        below = leaves_below(x)
        for leaf in node.unmerged_leaves:
            is_below = leaf in below and leaf in members
            _require(is_below, "R-12.4.3.1-16", f"unmerged leaf {leaf} is no member below node {x}", leaf)
        for child in (left(x), right(x)):
            _verify_listed(tree, child, node.unmerged_leaves, x)


def _verify_listed(tree: RatchetTree, x: NodeIndex, unmerged: tuple[LeafIndex, ...], above: NodeIndex) -> None:
    """Check that the next nodes down from `above` list the leaves below them that are unmerged there.

    Those further down are compared with them in turn, so that all the lists of a tree are read twice and not once per
    node above.
    """
    mine = within(unmerged, x)
    if not mine or is_leaf(x):
        return
    node = tree.parent(x)
    if node is None:
        _verify_listed(tree, left(x), mine, above)
        _verify_listed(tree, right(x), mine, above)
        return
    missing = min(set(mine).difference(node.unmerged_leaves), default=None)
    message = f"leaf {missing} is unmerged at node {above}, but not at node {x} below it"
    _require(missing is None, "R-12.4.3.1-17", message, missing)


def verify_unique_encryption_keys(tree: RatchetTree, suite: TreeSuite) -> None:
    """Check that no two nodes have one encryption key, in whatever encoding. Raises InvalidTree or InvalidKey.

    RFC 9420 §12.4.3.1, §16.7.
    """
    if tree.n_members > _MANY and has_distinct_encryption_keys(tree, suite):
        return
    holders: dict[bytes, NodeIndex] = {}
    for x, key in tree.encryption_keys():
        first = holders.setdefault(suite.canonical_public_key(key), x)
        message = f"nodes {first} and {x} have the same encryption key"
        both_leaves = is_leaf(x) and is_leaf(first)
        require(first == x or both_leaves, InvalidTree, "R-12.4.3.1-18", message, code=Code.DUPLICATE_KEY)
        require(first == x or not both_leaves, InvalidTree, "R-16.7-01", message, code=Code.DUPLICATE_KEY)


def has_distinct_encryption_keys(tree: RatchetTree, suite: TreeSuite) -> bool:
    """Whether no two nodes have one encryption key, in whatever encoding. Raises InvalidKey. RFC 9420 §16.7."""
    keys = suite.canonical_public_keys([key for _, key in tree.encryption_keys()])
    return len(set(keys)) == len(keys)


def verify_parent_hashes(tree: RatchetTree, suite: TreeSuite) -> None:
    """Check, from the top down, that every parent has exactly one descendant that was set together with it.

    That descendant is a leaf, or a parent that has one of its own, so that every parent is chained back to a leaf.

    Raises InvalidTree. RFC 9420 §7.9.2.
    """
    found = tree.unlinked_parents(suite)
    for x, n_links in _counted_links(tree, suite) if found is None else found:
        message = f"node {x} has {n_links} descendants with a valid parent hash where it must have one"
        require(n_links == 1, InvalidTree, "R-7.9.2-03", message, code=Code.PARENT_HASH_MISMATCH)


def _counted_links(tree: RatchetTree, suite: TreeSuite) -> Iterator[tuple[NodeIndex, int]]:
    """Yield every parent with the number of its descendants that have a valid parent hash."""
    known: OriginalHashes = {}
    for x, node in tree.parents():
        yield x, sum(1 for _ in _valid_descendants(tree, suite, x, node, known))


def _valid_descendants(
    tree: RatchetTree, suite: TreeSuite, x: NodeIndex, node: ParentNode, known: OriginalHashes
) -> Iterator[NodeIndex]:
    """Yield the nodes whose parent hash is valid with respect to parent `x`."""
    for child, sibling in ((left(x), right(x)), (right(x), left(x))):
        # A node qualifies when everything else in the child's resolution is unmerged at `x`: so it is the only one left
        # over.
        unmerged = {node_of(leaf) for leaf in node.unmerged_leaves if is_in_subtree(node_of(leaf), child)}
        resolution = frozenset(tree.resolution(child))
        others = resolution - unmerged
        if len(others) != 1 or not unmerged <= resolution:
            continue
        (descendant,) = others
        claimed = _parent_hash_field(tree, descendant)
        if claimed is None:
            continue
        original = tree.original_node_hash(suite, sibling, node.unmerged_leaves, known)
        if claimed == parent_hash(suite, node, original):
            yield descendant


def _parent_hash_field(tree: RatchetTree, x: NodeIndex) -> bytes | None:
    if is_leaf(x):
        slot = tree.leaf(leaf_of(x))
        return None if slot is None else slot.parent_hash
    node = tree.parent(x)
    return None if node is None else node.parent_hash


def _require(condition: bool, rule: str, message: str, leaf: LeafIndex | None = None) -> None:
    require(condition, InvalidTree, rule, message, code=Code.UNMERGED_LEAVES_INVALID, leaf=leaf)
