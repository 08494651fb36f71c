"""Tree hashes, remembered per node.

An edit forgets the hashes along the changed paths only, so the next tree hash costs the length of a path. RFC 9420
§7.8.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from treekem.columns import NodeColumns
from treekem.index import LeafIndex, NodeIndex, is_leaf, leaf_of, left, level, right
from treekem.nodes import (
    LeafNodeHashInput,
    LeafSlot,
    ParentNode,
    ParentNodeHashInput,
    TreeHashInput,
)
from treekem.suite import TreeSuite
from treekem.wire import encode_as


def node_hash(columns: NodeColumns, suite: TreeSuite, x: NodeIndex) -> bytes:
    """Return the tree hash of node `x`; Nh bytes. RFC 9420 §7.8."""
    known = columns.known_digest(x, suite.hash_name)
    if known is not None:
        return known
    node = columns.node(x)
    if is_leaf(x):
        digest = _leaf_hash(suite, leaf_of(x), node if isinstance(node, LeafSlot) else None)
    else:
        parent_node = node if isinstance(node, ParentNode) else None
        digest = _parent_node_hash(
            suite, parent_node, node_hash(columns, suite, left(x)), node_hash(columns, suite, right(x))
        )
    columns.remember_digest(x, suite.hash_name, digest)
    return digest


def original_tree_hash(columns: NodeColumns, suite: TreeSuite, x: NodeIndex, unmerged: Sequence[LeafIndex]) -> bytes:
    """Return the tree hash of `x` as it was before the leaves `unmerged`, in increasing order, were added.

    They are blanked, and taken out of every list of unmerged leaves; shape and indices stay. RFC 9420 §7.9.
    """
    unmerged = _within(unmerged, x)
    if not unmerged:
        # Lists of unmerged leaves name leaves of their own subtree, so that nothing below is changed.
        return node_hash(columns, suite, x)
    if is_leaf(x):
        return _leaf_hash(suite, leaf_of(x), None)
    node = columns.node(x)
    if isinstance(node, ParentNode):
        removed = frozenset(unmerged)
        kept = tuple(leaf for leaf in node.unmerged_leaves if leaf not in removed)
        node = ParentNode(node.encryption_key, node.parent_hash, kept)
    left_hash = original_tree_hash(columns, suite, left(x), unmerged)
    right_hash = original_tree_hash(columns, suite, right(x), unmerged)
    return _parent_node_hash(suite, node if isinstance(node, ParentNode) else None, left_hash, right_hash)


def _leaf_hash(suite: TreeSuite, leaf: LeafIndex, slot: LeafSlot | None) -> bytes:
    return suite.hash(encode_as(TreeHashInput, LeafNodeHashInput(leaf, None if slot is None else slot.encoded)))


def _parent_node_hash(suite: TreeSuite, node: ParentNode | None, left_hash: bytes, right_hash: bytes) -> bytes:
    return suite.hash(encode_as(TreeHashInput, ParentNodeHashInput(node, left_hash, right_hash)))


def _within(leaves: Sequence[LeafIndex], x: NodeIndex) -> Sequence[LeafIndex]:
    """Return those of the increasing `leaves` that lie at or below node `x`."""
    span = (1 << level(x)) - 1
    first, last = (x - span) >> 1, (x + span) >> 1
    return leaves[bisect_left(leaves, first) : bisect_left(leaves, last + 1)]
