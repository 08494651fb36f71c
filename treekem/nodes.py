"""Nodes of the ratchet tree and the update path that refreshes them. RFC 9420 §7.1, §7.6, §7.8, §7.9, §12.4.3.3."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Self

from treekem.errors import Code, InvalidTree, MalformedMessage
from treekem.index import LeafIndex, NodeIndex, is_leaf
from treekem.leaf_node import CommitSource, LeafNode
from treekem.rules import require
from treekem.wire import Encoded, decode, decode_prefix, decode_varint, encode, encode_as, encode_varint, struct


@struct(tag=2, tag_width=1)
class ParentNode:
    """An inner node's public key. RFC 9420 §7.1."""

    encryption_key: bytes
    parent_hash: bytes
    unmerged_leaves: tuple[LeafIndex, ...]


Node = LeafNode | ParentNode
"""A node that is not blank. RFC 9420 §7.8."""


@struct
class HPKECiphertext:
    """One HPKE message. RFC 9420 §7.6."""

    kem_output: bytes
    ciphertext: bytes


@struct
class UpdatePathNode:
    """A node's new public key, and its path secret sealed to the resolution of its copath child. RFC 9420 §7.6."""

    encryption_key: bytes
    encrypted_path_secret: tuple[HPKECiphertext, ...]


@struct
class UpdatePath:
    """A new leaf and new keys for its filtered direct path, from below to the root. RFC 9420 §7.6."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]


@struct(tag=1, tag_width=1)
class LeafNodeHashInput:
    """What a leaf's tree hash covers; its node as encoded. RFC 9420 §7.8."""

    leaf_index: LeafIndex
    leaf_node: Annotated[bytes, Encoded(LeafNode)] | None


@struct(tag=2, tag_width=1)
class ParentNodeHashInput:
    """What a parent's tree hash covers. RFC 9420 §7.8."""

    parent_node: ParentNode | None
    left_hash: bytes
    right_hash: bytes


TreeHashInput = LeafNodeHashInput | ParentNodeHashInput
"""What a tree hash covers. RFC 9420 §7.8."""


@struct
class ParentHashInput:
    """What a parent hash covers. RFC 9420 §7.9."""

    encryption_key: bytes
    parent_hash: bytes
    original_sibling_tree_hash: bytes


@dataclass(frozen=True, slots=True)
class LeafSlot:
    """A leaf as the tree keeps it: encoded, with what the tree needs of it; `parent_hash` if a commit brought it."""

    encoded: bytes
    encryption_key: bytes
    parent_hash: bytes | None

    @classmethod
    def of(cls, leaf_node: LeafNode, encoded: bytes | None = None) -> Self:
        """Return the slot of `leaf_node`; its encoding need not be given."""
        source = leaf_node.source
        parent_hash = source.parent_hash if isinstance(source, CommitSource) else None
        return cls(encode(leaf_node) if encoded is None else encoded, leaf_node.encryption_key, parent_hash)

    def leaf_node(self) -> LeafNode:
        """Return the leaf node, decoded anew."""
        return decode(LeafNode, self.encoded)


Content = LeafSlot | ParentNode | None
"""What a place of the tree holds; `None` where the node is blank."""


@struct(tag=1, tag_width=1)
class _EncodedLeaf:
    """A leaf of the ratchet_tree vector, as encoded."""

    leaf_node: Annotated[bytes, Encoded(LeafNode)]


_Entry = _EncodedLeaf | ParentNode | None
_DecodedEntry = Node | None
_BLANK: Final = encode_as(_Entry, None)
_LEAF_PREFIX: Final = b"\x01\x01"
"""That there is a node, and that it is a leaf; the encoded leaf follows."""

_NOT_BLANK: Final = re.compile(rb"[^\0]")


def encode_ratchet_tree(nodes: Iterable[tuple[NodeIndex, LeafSlot | ParentNode]]) -> bytes:
    """Return the ratchet_tree vector of nodes that come in the order of their indices; blanks are filled in.

    RFC 9420 §12.4.3.3.
    """
    blank, entries, n_entries = _BLANK, [], 0
    for x, node in nodes:
        entries.append(blank * (x - n_entries))
        entries.append(encode_entry(node))
        n_entries = x + 1
    body = b"".join(entries)
    return encode_varint(len(body)) + body


def encode_entry(node: Content) -> bytes:
    """Return one entry of a ratchet_tree vector. RFC 9420 §12.4.3.3."""
    if node is None:
        return _BLANK
    return _LEAF_PREFIX + node.encoded if isinstance(node, LeafSlot) else encode_as(_Entry, node)


def decode_ratchet_tree(
    data: bytes, place: Callable[[int], NodeIndex] = NodeIndex, max_entries: int | None = None
) -> tuple[int, dict[NodeIndex, LeafSlot | ParentNode]]:
    """Return the number of entries of a ratchet_tree vector, and those that are not blank by the `place` of each entry.

    Raises MalformedMessage, or InvalidTree for a vector that has more entries than allowed, is empty, ends in a blank,
    or puts a leaf in a parent's place. Runs of blanks are passed over at once, since a sender gets them for a byte
    each.

    RFC 9420 §12.4.3.3.
    """
    length, offset = decode_varint(data, 0)
    require(
        length >= len(data) - offset, MalformedMessage, "R-2.1-08", "bytes after ratchet_tree", code=Code.TRAILING_DATA
    )
    require(
        length <= len(data) - offset, MalformedMessage, "R-2.1-07", "ratchet_tree is cut short", code=Code.TRUNCATED
    )

    nodes: dict[NodeIndex, LeafSlot | ParentNode] = {}
    n_entries, ends_in_blank = 0, True
    while offset < len(data):
        found = _NOT_BLANK.search(data, offset)
        ends_in_blank = found is None
        start, offset = offset, len(data) if found is None else found.start()
        n_entries += offset - start + (found is not None)
        _verify_room(n_entries, max_entries)
        if found is not None:
            x = place(n_entries - 1)
            nodes[x], offset = _decode_entry(data, offset, n_entries - 1, x)
    require(not ends_in_blank, InvalidTree, "R-12.4.3.3-03", "ratchet_tree is empty or ends in a blank node")
    return n_entries, nodes


def _verify_room(n_entries: int, max_entries: int | None) -> None:
    fits = max_entries is None or n_entries <= max_entries
    message = f"ratchet_tree has more than {max_entries} entries"
    require(fits, InvalidTree, "S-max_leaves", message, code=Code.LIMIT_EXCEEDED)


def _decode_entry(data: bytes, offset: int, entry: int, x: NodeIndex) -> tuple[LeafSlot | ParentNode, int]:
    """Return an entry that is not blank, and where the next one starts."""
    try:
        node, end = decode_prefix(_DecodedEntry, data, offset)
    except MalformedMessage as error:
        place = f"ratchet_tree[{entry}]"
        message = f"{place}: {error.message}"
        where = f"{place}.{error.where}"
        raise MalformedMessage(
            message, code=error.code, rule=error.rule, index=entry, where=where, offset=error.offset
        ) from error
    right_kind = isinstance(node, LeafNode) == is_leaf(x)
    message = f"node {x} is a leaf in a parent's place, or the reverse"
    require(right_kind, InvalidTree, "R-12.4.3.3-05", message, index=entry)
    # A leaf stands after the octets of its presence and its type.
    return (LeafSlot.of(node, data[offset + 2 : end]) if isinstance(node, LeafNode) else node), end
