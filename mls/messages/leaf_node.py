"""Leaf nodes and what is signed of them. RFC 9420 §5.3, §7.2."""

from __future__ import annotations

from typing import assert_never

from mls.messages.signed import encode_unsigned
from treekem.index import LeafIndex
from treekem.leaf_node import (
    BasicCredential,
    Capabilities,
    Certificate,
    CommitSource,
    Credential,
    Extension,
    KeyPackageSource,
    LeafNode,
    Lifetime,
    UpdateSource,
    X509Credential,
)
from treekem.wire import encode, struct

__all__ = [
    "BasicCredential",
    "Capabilities",
    "Certificate",
    "CommitSource",
    "Credential",
    "Extension",
    "KeyPackageSource",
    "LeafNode",
    "LeafPosition",
    "Lifetime",
    "UpdateSource",
    "X509Credential",
    "leaf_node_tbs",
]


@struct
class LeafPosition:
    """Where a leaf from an Update or a commit belongs; it ends LeafNodeTBS. RFC 9420 §7.2."""

    group_id: bytes
    leaf_index: LeafIndex


def leaf_node_tbs(leaf_node: LeafNode, position: LeafPosition) -> bytes:
    """Return LeafNodeTBS: the leaf without its signature, then its position unless it stems from a key package.

    RFC 9420 §7.2.
    """
    fields = encode_unsigned(leaf_node)
    match leaf_node.source:
        case KeyPackageSource():
            return fields
        case UpdateSource() | CommitSource():
            return fields + encode(position)
        case _:
            assert_never(leaf_node.source)
