"""Where the parts of every node stand in a buffer: the rows of an array with a column per node.

Offsets and lengths are in bytes; a blank node has length 0. Lists of unmerged leaves are read where they stand.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from treekem.kernels.compiled import kernel
from treekem.kernels.sha2 import Integers, Octets

START: Final = 0
"""Where the encoded LeafNode or ParentNode begins."""

LENGTH: Final = 1
"""Its length."""

KEY_START: Final = 2
"""Where the encryption key begins, behind its header."""

KEY_LENGTH: Final = 3
"""Its length."""

HASH_START: Final = 4
"""Where the parent hash begins, behind its header."""

HASH_LENGTH: Final = 5
"""Its length; -1 for a leaf without one."""

LIST_START: Final = 6
"""Where a parent's unmerged leaves begin, behind their header."""

N_UNMERGED: Final = 7
"""How many they are."""

PREFIX: Final = 8
"""The length of a parent's encryption key and parent hash, with their headers."""

N_FIELDS: Final = 9


class EncodedTree(NamedTuple):
    """The bytes of a tree, and the place of every node in them."""

    data: Octets
    places: Integers


@kernel
def level_of(x: int) -> int:
    """Return the height of node `x` above the leaves."""
    height = 0
    while x & 1:
        x >>= 1
        height += 1
    return height


@kernel
def unmerged_at(tree: EncodedTree, x: int, i: int) -> int:
    """Return the unmerged leaf in place `i` of parent `x`."""
    start = tree.places[LIST_START, x] + 4 * i
    number = 0
    for octet in range(4):
        number = number << 8 | tree.data[start + octet]
    return number


@kernel
def first_not_below(tree: EncodedTree, x: int, leaf: int) -> int:
    """Return the place in the list of parent `x` of the first leaf that is `leaf` or more."""
    low, high = 0, tree.places[N_UNMERGED, x]
    while low < high:
        middle = (low + high) // 2
        if unmerged_at(tree, x, middle) < leaf:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def lists(tree: EncodedTree, x: int, leaf: int) -> bool:
    """Whether parent `x` lists `leaf` as unmerged."""
    i = first_not_below(tree, x, leaf)
    return i < tree.places[N_UNMERGED, x] and unmerged_at(tree, x, i) == leaf
