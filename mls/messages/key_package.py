"""Key packages. RFC 9420 §10."""

from __future__ import annotations

from treekem.leaf_node import Extension, LeafNode
from treekem.wire import Kept, UInt16, struct


@struct(tag=5, tag_width=2)
class KeyPackage(Kept):
    """A client's published offer to be added to a group. RFC 9420 §10."""

    version: UInt16
    cipher_suite: UInt16
    init_key: bytes
    leaf_node: LeafNode
    extensions: tuple[Extension, ...]
    signature: bytes
