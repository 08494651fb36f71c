"""Tree hashes and parent hashes as RFC 9420 §7.8 and §7.9 word them: no cache, no shortcut.

This is the specification that the fast ways are held equal to. A tree is a plain list of nodes, `None` for a blank one,
of full width; copies are made freely. Parent hashes are verified from the leaves up, `treekem.hashing` does it from
the top.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from treekem.errors import Code, InvalidTree
from treekem.index import NodeIndex, direct_path, is_in_subtree, is_leaf, leaf_of, left, node_of, right
from treekem.leaf_node import CommitSource, LeafNode
from treekem.nodes import LeafNodeHashInput, Node, ParentHashInput, ParentNode, ParentNodeHashInput, TreeHashInput
from treekem.rules import require
from treekem.suite import TreeSuite
from treekem.tree import RatchetTree
from treekem.wire import encode, encode_as, encode_varint

Nodes = list[Node | None]


def nodes_of(tree: RatchetTree) -> Nodes:
    """Return the nodes of a tree as a list, leaves decoded."""
    nodes: Nodes = [None] * (2 * tree.n_leaves - 1)
    for leaf, slot in tree.leaves():
        nodes[node_of(leaf)] = slot.leaf_node()
    for x, parent in tree.parents():
        nodes[x] = parent
    return nodes


def tree_hash(nodes: Nodes, x: NodeIndex, suite: TreeSuite) -> bytes:
    """Return the tree hash of node `x`. RFC 9420 §7.8."""
    node = nodes[x]
    if is_leaf(x):
        encoded = encode(node) if isinstance(node, LeafNode) else None
        return suite.hash(encode_as(TreeHashInput, LeafNodeHashInput(leaf_of(x), encoded)))
    parent = node if isinstance(node, ParentNode) else None
    children = tree_hash(nodes, left(x), suite), tree_hash(nodes, right(x), suite)
    return suite.hash(encode_as(TreeHashInput, ParentNodeHashInput(parent, *children)))


def tree_hashes(nodes: Sequence[bytes], hash_name: str) -> list[bytes]:
    """Return the tree hashes of all nodes of a tree, level by level, with one call of hashlib for each.

    `nodes` are encoded as `optional<LeafNode>` and `optional<ParentNode>`; `hash_name` is hashlib's. This is as fast as
    plain Python gets, which is what other ways are compared with. RFC 9420 §7.8.
    """
    hash_function: Callable[[bytes], hashlib._Hash] = getattr(hashlib, hash_name)
    hashes = [b""] * len(nodes)
    last_octets = [bytes((i,)) for i in range(256)]
    leaves = []
    for first in range(0, len(nodes), 512):
        head = b"\1" + (first >> 9).to_bytes(3, "big")
        leaves += [
            hash_function(head + i + n).digest()
            for i, n in zip(last_octets, nodes[first : first + 512 : 2], strict=False)
        ]
    hashes[::2] = level = leaves
    with_header = encode_varint(hash_function(b"").digest_size).join
    for half in (1 << height for height in range((len(nodes) + 1).bit_length() - 2)):
        triples = zip(nodes[2 * half - 1 :: 4 * half], level[::2], level[1::2], strict=True)
        level = [hash_function(b"\2" + joined).digest() for joined in map(with_header, triples)]
        hashes[2 * half - 1 :: 4 * half] = level
    return hashes


def resolution(nodes: Nodes, x: NodeIndex) -> list[NodeIndex]:
    """Return the resolution of node `x`. RFC 9420 §4.1.1."""
    match nodes[x]:
        case LeafNode():
            return [x]
        case ParentNode(unmerged_leaves=unmerged):
            return [x, *map(node_of, unmerged)]
        case None:
            return [] if is_leaf(x) else resolution(nodes, left(x)) + resolution(nodes, right(x))


def parent_hash(nodes: Nodes, p: NodeIndex, s: NodeIndex, suite: TreeSuite) -> bytes:
    """Return the parent hash of `p` with copath child `s`. RFC 9420 §7.9."""
    parent = _parent_at(nodes, p)
    unmerged = parent.unmerged_leaves
    original = list(nodes)
    for leaf in unmerged:
        original[node_of(leaf)] = None
    for x, node in enumerate(original):
        if isinstance(node, ParentNode):
            kept = tuple(leaf for leaf in node.unmerged_leaves if leaf not in unmerged)
            original[x] = ParentNode(node.encryption_key, node.parent_hash, kept)
    original_hash = tree_hash(original, s, suite)
    return suite.hash(encode(ParentHashInput(parent.encryption_key, parent.parent_hash, original_hash)))


def is_valid_link(nodes: Nodes, d: NodeIndex, p: NodeIndex, suite: TreeSuite) -> bool:
    """Whether the parent hash in `d` is valid with respect to parent `p`. RFC 9420 §7.9.2."""
    if d == p or not is_in_subtree(d, p):
        return False
    c, s = (left(p), right(p)) if d < p else (right(p), left(p))
    others = resolution(nodes, c)
    if d not in others or _parent_hash_in(nodes[d]) != parent_hash(nodes, p, s, suite):
        return False
    others.remove(d)
    return set(others) == {y for y in map(node_of, _parent_at(nodes, p).unmerged_leaves) if is_in_subtree(y, c)}


def chains(nodes: Nodes, suite: TreeSuite) -> list[list[NodeIndex]]:
    """Return, for each leaf that has any, the parents that valid links lead to from it, upward. RFC 9420 §7.9.2."""
    found = []
    for x in range(0, len(nodes), 2):
        chain = [NodeIndex(x)]
        for above in direct_path(chain[0], (len(nodes) + 1) // 2):
            if nodes[above] is None or nodes[x] is None:
                continue
            if not is_valid_link(nodes, chain[-1], above, suite):
                break
            chain.append(above)
        found.append(chain[1:])
    return [chain for chain in found if chain]


def verify_parent_hashes(nodes: Nodes, suite: TreeSuite) -> None:
    """Check, from the leaves up, that every parent lies on exactly one chain. Raises InvalidTree. RFC 9420 §7.9.2."""
    covered = sorted(x for chain in chains(nodes, suite) for x in chain)
    parents = [x for x, node in enumerate(nodes) if isinstance(node, ParentNode)]
    message = f"parents {parents} are covered as {covered}"
    require(covered == parents, InvalidTree, "R-7.9.2-03", message, code=Code.PARENT_HASH_MISMATCH)


def _parent_at(nodes: Sequence[Node | None], x: NodeIndex) -> ParentNode:
    node = nodes[x]
    require(isinstance(node, ParentNode), InvalidTree, "", f"node {x} is no parent")
    assert isinstance(node, ParentNode)  # noqa: S101  (required in the line above)
    return node


def _parent_hash_in(node: Node | None) -> bytes | None:
    match node:
        case ParentNode(parent_hash=claimed) | LeafNode(source=CommitSource(parent_hash=claimed)):
            return claimed
        case _:
            return None
