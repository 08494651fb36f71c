"""Tree hashes, remembered per node.

An edit forgets the hashes along the changed paths only, so the next tree hash costs the length of a path. RFC 9420
§7.8.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from treekem.columns import NodeColumns, is_block, place_in_block
from treekem.index import LeafIndex, NodeIndex, is_leaf, leaf_of, leaves_below, left, level, right
from treekem.nodes import (
    Content,
    LeafNodeHashInput,
    LeafSlot,
    ParentNode,
    ParentNodeHashInput,
    TreeHashInput,
)
from treekem.suite import TreeSuite
from treekem.wire import decode_varint, encode_as, encode_varint

if TYPE_CHECKING:
    from treekem.scanned import ScannedTree

_BLANK_LEAF: Final = struct.Struct(">BIB")
_BLANK_PARENT: Final = encode_as(TreeHashInput, ParentNodeHashInput(None, b"", b""))[:2]
_BATCH_HEIGHT: Final = 5
_RUN_OF_BLANKS: Final = bytes(64)


BYTES_FOR_KERNELS: Final = 3 << 19
"""The length of a tree, in bytes, from which on kernels are worth loading; `bench/README.md` says why."""


def scanned_tree(data: bytes, max_entries: int | None) -> ScannedTree | None:
    """Return a ratchet_tree vector as scanned by the kernels, or `None` if the decoder must say what is wrong with it.

    RFC 9420 §12.4.3.3.
    """
    if data.count(_RUN_OF_BLANKS) * len(_RUN_OF_BLANKS) > len(data) // 2:
        return None  # The decoder passes over runs of blanks at once, and needs no kernels loaded.
    from treekem.scanned import ScannedTree  # noqa: PLC0415  (it loads numba, which only large trees want)

    length, start = decode_varint(data)
    return ScannedTree.of(data, start, max_entries) if length == len(data) - start else None


def scanned_blocks(n_leaves: int, blocks: Sequence[tuple[int, bytes]]) -> ScannedTree | None:
    """Return a tree that was stored in blocks as scanned by the kernels, or `None` if the decoder must look at them.

    Raises MalformedMessage for a block without a length header.
    """
    from treekem.scanned import ScannedTree  # noqa: PLC0415  (it loads numba, which only large trees want)

    pieces, end = [], 0
    for number, encoded in blocks:
        length, start = decode_varint(encoded)
        if length != len(encoded) - start or not is_block(number, n_leaves):
            return None
        step = place_in_block(NodeIndex(number), 1) - number
        pieces.append((end + start, end + len(encoded), number, step))
        end += len(encoded)
    return ScannedTree.of_pieces(n_leaves, b"".join([encoded for _, encoded in blocks]), pieces)


def remember_all(columns: NodeColumns, suite: TreeSuite) -> memoryview | None:
    """Return the hashes of all nodes of a scanned tree one after another, computed once; `None` for every other tree.

    RFC 9420 §7.8.
    """
    if columns.scanned is None:
        return None
    known = columns.digest_table(suite.hash_name)
    if known is not None:
        return known
    table = columns.scanned.tree_hashes(suite.hash_name).data.cast("B")
    columns.remember_digests(suite.hash_name, suite.hash_length, table)
    return table


def node_hash(columns: NodeColumns, suite: TreeSuite, x: NodeIndex) -> bytes:
    """Return the tree hash of node `x`; Nh bytes. RFC 9420 §7.8."""
    known = columns.known_digest(x, suite.hash_name)
    if known is not None:
        return known
    node = columns.node(x)
    if node is None and level(x) <= _BATCH_HEIGHT and columns.is_subtree_blank(x):
        digest = _blank_subtree_hash(suite, x)
    elif level(x) == _BATCH_HEIGHT and (contents := columns.unhashed_block(x, suite.hash_name)) is not None:
        digests = _block_hashes(suite, x, contents)
        columns.remember_digests_at(suite.hash_name, digests)
        return digests[x]
    elif is_leaf(x):
        digest = _leaf_hash(suite, leaf_of(x), node if isinstance(node, LeafSlot) else None)
    else:
        parent_node = node if isinstance(node, ParentNode) else None
        digest = parent_node_hash(
            suite, parent_node, node_hash(columns, suite, left(x)), node_hash(columns, suite, right(x))
        )
    columns.remember_digest(x, suite.hash_name, digest)
    return digest


OriginalHashes = dict[tuple[NodeIndex, tuple[LeafIndex, ...]], bytes]
"""Original tree hashes by node and by the unmerged leaves below it, on which alone they depend."""


def original_tree_hash(
    columns: NodeColumns,
    suite: TreeSuite,
    x: NodeIndex,
    unmerged: tuple[LeafIndex, ...],
    known: OriginalHashes,
) -> bytes:
    """Return the tree hash of `x` as it was before the leaves `unmerged`, in increasing order, were added.

    They are blanked, and taken out of every list of unmerged leaves; shape and indices stay. What is computed on the
    way is added to `known`: many parents of a tree ask for the same.

    RFC 9420 §7.9.
    """
    unmerged = within(unmerged, x)
    if not unmerged:
        # Lists of unmerged leaves name leaves of their own subtree, so that nothing below is changed.
        return node_hash(columns, suite, x)
    if is_leaf(x):
        return _leaf_hash(suite, leaf_of(x), None)
    if (x, unmerged) not in known:
        left_hash = original_tree_hash(columns, suite, left(x), unmerged, known)
        right_hash = original_tree_hash(columns, suite, right(x), unmerged, known)
        node = _merged(columns.node(x), frozenset(unmerged))
        known[x, unmerged] = parent_node_hash(suite, node, left_hash, right_hash)
    return known[x, unmerged]


def _blank_subtree_hash(suite: TreeSuite, x: NodeIndex) -> bytes:
    """Return the tree hash of a low node with nothing below, level by level.

    All blank leaves hash differently, and a wide tree may have a million of them.
    """
    digests = [suite.hash(_BLANK_LEAF.pack(1, leaf, 0)) for leaf in leaves_below(x)]
    length = encode_varint(suite.hash_length)
    while len(digests) > 1:
        pairs = zip(digests[::2], digests[1::2], strict=True)
        digests = [suite.hash(b"".join((_BLANK_PARENT, length, one, length, other))) for one, other in pairs]
    return digests[0]


def _block_hashes(suite: TreeSuite, x: NodeIndex, contents: Sequence[Content]) -> dict[NodeIndex, bytes]:
    """Return the tree hashes of `x` and of all nodes below it, whose contents are given from left to right.

    To look for each of them, and to remember each by itself, takes longer than to hash it.
    """
    first, length = leaves_below(x).start, encode_varint(suite.hash_length)
    level_hashes = [
        _leaf_hash(suite, LeafIndex(leaf), slot)
        if isinstance(slot, LeafSlot)
        else suite.hash(_BLANK_LEAF.pack(1, leaf, 0))
        for leaf, slot in enumerate(contents[::2], first)
    ]
    digests = {NodeIndex(2 * leaf): digest for leaf, digest in enumerate(level_hashes, first)}
    half = 1
    while len(level_hashes) > 1:
        nodes = contents[2 * half - 1 :: 4 * half]
        level_hashes = [
            parent_node_hash(suite, node, one, other)
            if isinstance(node, ParentNode)
            else suite.hash(b"".join((_BLANK_PARENT, length, one, length, other)))
            for node, one, other in zip(nodes, level_hashes[::2], level_hashes[1::2], strict=True)
        ]
        places = range(2 * (first + half) - 1, 2 * first + len(contents), 4 * half)
        digests |= zip(map(NodeIndex, places), level_hashes, strict=True)
        half *= 2
    return digests


def _merged(node: Content, leaves: frozenset[LeafIndex]) -> ParentNode | None:
    if not isinstance(node, ParentNode):
        return None
    kept = tuple(leaf for leaf in node.unmerged_leaves if leaf not in leaves)
    return ParentNode(node.encryption_key, node.parent_hash, kept)


def _leaf_hash(suite: TreeSuite, leaf: LeafIndex, slot: LeafSlot | None) -> bytes:
    return suite.hash(encode_as(TreeHashInput, LeafNodeHashInput(leaf, None if slot is None else slot.encoded)))


def parent_node_hash(suite: TreeSuite, node: ParentNode | None, left_hash: bytes, right_hash: bytes) -> bytes:
    """Return the tree hash of a parent from those of its children. RFC 9420 §7.8."""
    return suite.hash(encode_as(TreeHashInput, ParentNodeHashInput(node, left_hash, right_hash)))


def within(leaves: tuple[LeafIndex, ...], x: NodeIndex) -> tuple[LeafIndex, ...]:
    """Return those of the increasing `leaves` that lie at or below node `x`."""
    below = leaves_below(x)
    return leaves[bisect_left(leaves, below.start) : bisect_left(leaves, below.stop)]
