"""Trees put together by hand, sound or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.support.tree_group import PUBLISHED, Source, leaf_node
from treekem.columns import NodeColumns
from treekem.index import LeafIndex, NodeIndex
from treekem.nodes import Content, LeafSlot, ParentNode
from treekem.tree import RatchetTree


def key_named(name: str) -> bytes:
    """Return 32 bytes that pass for an X25519 public key and show where they came from."""
    return name.encode().ljust(31, b".") + b"\x01"


def leaf_named(name: str, source: Source = PUBLISHED) -> LeafSlot:
    return LeafSlot.of(leaf_node(key_named(name), source))


def parent_named(name: str, *unmerged: int, parent_hash: bytes = b"") -> ParentNode:
    return ParentNode(key_named(name), parent_hash, tuple(map(LeafIndex, unmerged)))


def tree_of(n_leaves: int, contents: Mapping[int, Content]) -> RatchetTree:
    return RatchetTree(NodeColumns.of(n_leaves, {NodeIndex(x): node for x, node in contents.items()}))


def with_parent(
    tree: RatchetTree,
    x: int,
    *,
    encryption_key: bytes | None = None,
    parent_hash: bytes | None = None,
    unmerged: tuple[int, ...] | None = None,
) -> RatchetTree:
    """Return the tree with one parent changed in what is given."""
    node = tree.parent(NodeIndex(x))
    assert node is not None
    if encryption_key is not None:
        node = replace(node, encryption_key=encryption_key)
    if parent_hash is not None:
        node = replace(node, parent_hash=parent_hash)
    if unmerged is not None:
        node = replace(node, unmerged_leaves=tuple(map(LeafIndex, unmerged)))
    return tree.with_nodes({NodeIndex(x): node})
