"""Nodes of the ratchet tree and the update path that refreshes them. RFC 9420 §7.1, §7.6, §7.8, §7.9, §12.4.3.3."""

from __future__ import annotations

from treekem.index import LeafIndex
from treekem.leaf_node import LeafNode
from treekem.wire import struct


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
