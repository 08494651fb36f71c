"""Indices of the array-based tree, RFC 9420 Appendix C.

Node `x` of a tree with `n_leaves` leaves (always a power of two, blank ones included) is a leaf when `x` is even; leaf
`i` is node `2 * i`. Everything else follows from the bits of the index.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType

from treekem.errors import UsageError

NodeIndex = NewType("NodeIndex", int)
"""The place of a node in the array, from 0 to 2 * n_leaves - 2."""

LeafIndex = NewType("LeafIndex", int)
"""The place of a leaf among the leaves, from 0 to n_leaves - 1; a uint32 on the wire."""


def node_of(leaf: LeafIndex) -> NodeIndex:
    """Return the node index of a leaf."""
    return NodeIndex(2 * leaf)


def leaf_of(x: NodeIndex) -> LeafIndex:
    """Return the leaf index of a leaf node. Raises UsageError for a parent."""
    if x & 1:
        raise UsageError(f"node {x} is not a leaf")
    return LeafIndex(x >> 1)


def is_leaf(x: NodeIndex) -> bool:
    """Whether node `x` is a leaf."""
    return x & 1 == 0


def level(x: NodeIndex) -> int:
    """Return the height of node `x` above the leaves: 0 for a leaf."""
    return (~x & (x + 1)).bit_length() - 1


def node_width(n_leaves: int) -> int:
    """Return the number of nodes of a tree with `n_leaves` leaves."""
    return 2 * n_leaves - 1


def root(n_leaves: int) -> NodeIndex:
    """Return the root of a tree with `n_leaves` leaves, a power of two."""
    return NodeIndex(n_leaves - 1)


def left(x: NodeIndex) -> NodeIndex:
    """Return the left child. Raises UsageError for a leaf."""
    return NodeIndex(x - _half_span(x))


def right(x: NodeIndex) -> NodeIndex:
    """Return the right child. Raises UsageError for a leaf."""
    return NodeIndex(x + _half_span(x))


def parent(x: NodeIndex, n_leaves: int) -> NodeIndex:
    """Return the parent. Raises UsageError for the root."""
    if x == root(n_leaves):
        raise UsageError("the root has no parent")
    bit = 1 << level(x)
    return NodeIndex((x | bit) & ~(bit << 1))


def sibling(x: NodeIndex, n_leaves: int) -> NodeIndex:
    """Return the other child of the parent. Raises UsageError for the root."""
    above = parent(x, n_leaves)
    return right(above) if x < above else left(above)


def direct_path(x: NodeIndex, n_leaves: int) -> tuple[NodeIndex, ...]:
    """Return parent, grandparent and so on up to the root; nothing for the root.

    Raises UsageError for a node outside of the tree, which no way up leads to the root.

    RFC 9420 §4.1.2.
    """
    path = []
    top = root(n_leaves)
    if not 0 <= x <= 2 * top or n_leaves & top:
        raise UsageError(f"a tree of {n_leaves} leaves has no node {x}")
    bit = 1 << level(x)
    while x != top:
        x = NodeIndex((x | bit) & ~(bit << 1))
        bit <<= 1
        path.append(x)
    return tuple(path)


def all_above(leaves: Iterable[LeafIndex], n_leaves: int) -> set[NodeIndex]:
    """Return the nodes of the direct paths of many leaves. RFC 9420 §4.1.2."""
    found: set[NodeIndex] = set()
    top = root(n_leaves)
    for leaf in leaves:
        x = node_of(leaf)
        while x != top:
            x = parent(x, n_leaves)
            if x in found:
                break
            found.add(x)
    return found


def copath(x: NodeIndex, n_leaves: int) -> tuple[NodeIndex, ...]:
    """Return the sibling of `x`, then those of its direct path below the root. RFC 9420 §4.1.2."""
    path = (x, *direct_path(x, n_leaves))
    # Siblings differ in the bit that tells left from right, two above those that a node's height sets.
    return tuple(NodeIndex(node ^ 2 << level(node)) for node in path[:-1])


def is_in_subtree(x: NodeIndex, head: NodeIndex) -> bool:
    """Whether `x` is `head` or lies below it."""
    span = (1 << level(head)) - 1
    return head - span <= x <= head + span


def leaves_below(x: NodeIndex) -> range:
    """Return the indices of the leaves in the subtree of `x`; of a leaf its own."""
    span = (1 << level(x)) - 1
    return range((x - span) >> 1, ((x + span) >> 1) + 1)


def common_ancestor(x: NodeIndex, y: NodeIndex) -> NodeIndex:
    """Return the lowest node whose subtree holds both. Raises UsageError for what is no index."""
    if x < 0 or y < 0:
        raise UsageError(f"{min(x, y)} is no node index")
    height = max(level(x), level(y))
    while x >> (height + 1) != y >> (height + 1):
        height += 1
    if height == 0:
        return x
    return NodeIndex((x >> (height + 1) << (height + 1)) | ((1 << height) - 1))


def _half_span(x: NodeIndex) -> int:
    height = level(x)
    if height == 0:
        raise UsageError(f"node {x} is a leaf and has no children")
    return 1 << (height - 1)
