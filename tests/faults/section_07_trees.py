"""Faults in update paths, tree hashes and parent hashes. RFC 9420 §7.6-7.9."""

from __future__ import annotations

from mls.epoch import create_commit, receive_commit
from tests.support.planting import Constant, Edit, Fault, Layout
from treekem import hashing, path, tree_hashes
from treekem.blocks import Digests
from treekem.nodes import (
    HPKECiphertext,
    LeafNodeHashInput,
    LeafSlot,
    ParentHashInput,
    ParentNodeHashInput,
    UpdatePath,
    UpdatePathNode,
)
from treekem.tree import RatchetTree

_IS_LINK = "if claimed == parent_hash(suite, node, original):\n            yield descendant"
_ORIGINAL = (
    "tree.original_node_hash(suite, copath_child, before.unmerged_leaves if (before := tree.parent(node)) else ())"
)

FAULTS = [
    # §7.6: update paths.
    Fault(
        "R-7.6-01",
        "ciphertexts stand before the key",
        Layout(UpdatePathNode, order=("encrypted_path_secret", "encryption_key")),
    ),
    Fault("R-7.6-01", "the leaf stands after the nodes", Layout(UpdatePath, order=("nodes", "leaf_node"))),
    Fault("R-7.6-01", "the ciphertext stands first", Layout(HPKECiphertext, order=("ciphertext", "kem_output"))),
    Fault(
        "R-7.6-04",
        "somebody is sealed to, though all below are new",
        Edit(path._recipients, "if x not in new)", "if x not in new) or tree.resolution(copath_child)[:1]"),
    ),
    Fault("R-7.6-05", "path secrets are sealed under another label", Constant(path, "_LABEL", b"UpdatePath")),
    Fault(
        "R-7.6-05",
        "path secrets are sealed under the old group context",
        Edit(create_commit.create_path, "encode(provisional_context(group, after, applied))", "encode(group.context)"),
        Edit(receive_commit.stage_commit, "known, encode(provisional)", "known, encode(group.context)"),
    ),
    # §7.7: adding and removing leaves.
    Fault(
        "R-7.7-01",
        "a tree that grows has four times as many leaves",
        Edit(RatchetTree.with_room, "resized(2 * self.n_leaves)", "resized(4 * self.n_leaves)"),
    ),
    Fault(
        "R-7.7-01",
        "the root's key goes to the new root",
        Edit(
            RatchetTree.with_room,
            "return RatchetTree(self._columns.resized(2 * self.n_leaves), self._tables), LeafIndex(self.n_leaves)",
            "top = root(self.n_leaves)\n"
            "    grown = RatchetTree(self._columns.resized(2 * self.n_leaves), self._tables)\n"
            "    if not is_leaf(top):\n"
            "        grown = grown.with_nodes({top: None, root(2 * self.n_leaves): self.parent(top)})\n"
            "    return grown, LeafIndex(self.n_leaves)",
        ),
    ),
    Fault(
        "R-7.7-02",
        "a tree grows though its last leaf is blank",
        Edit(RatchetTree.with_room, "if leaf is not None:", "if leaf is not None and leaf + 1 < self.n_leaves:"),
    ),
    Fault(
        "R-7.7-03",
        "a tree does not shrink",
        Edit(RatchetTree.remove_leaf, "return blanked.truncated()", "return blanked"),
    ),
    Fault(
        "R-7.7-03",
        "a tree shrinks with members in its right half",
        Edit(RatchetTree.truncated, "1 << last.bit_length()", "1 << (last - 1).bit_length() if last > 1 else 1 + last"),
    ),
    Fault(
        "R-7.7-04",
        "a tree shrinks by half at most",
        Edit(RatchetTree.truncated, "1 << last.bit_length()", "max(self.n_leaves // 2, 1 << last.bit_length())"),
    ),
    Fault(
        "R-7.7-04",
        "the root that is left is blanked",
        Edit(
            RatchetTree.truncated,
            "resized(n_leaves), self._tables)",
            "resized(n_leaves)).with_nodes({root(n_leaves): self.leaf(LeafIndex(0)) if n_leaves == 1 else None})",
        ),
    ),
    Fault(
        "R-7.7-05",
        "private keys of nodes that are blank now are kept",
        Edit(
            path.surviving_keys,
            "(key := after.encryption_key(x)) is not None and key == before.encryption_key(x)",
            "(key := after.encryption_key(x)) is None or key == before.encryption_key(x)",
        ),
    ),
    # §7.8: tree hashes.
    Fault(
        "R-7.8-01",
        "the tree hash of a leaf does not say that it is one",
        Edit(tree_hashes._leaf_hash, "encode_as(TreeHashInput, ", "encode_as(LeafNodeHashInput, "),
    ),
    Fault(
        "R-7.8-01",
        "the tree hash of a parent does not say that it is one",
        Edit(tree_hashes.parent_node_hash, "encode_as(TreeHashInput, ", "encode_as(ParentNodeHashInput, "),
    ),
    Fault(
        "R-7.8-02",
        "the index stands after the leaf",
        Layout(LeafNodeHashInput, order=("leaf_node", "leaf_index")),
    ),
    Fault(
        "R-7.8-02",
        "every leaf is hashed as the first one",
        Edit(tree_hashes._leaf_hash, "LeafNodeHashInput(leaf,", "LeafNodeHashInput(LeafIndex(0),"),
    ),
    Fault(
        "R-7.8-03",
        "blank leaves are hashed without their index",
        Edit(tree_hashes._blank_subtree_hash, "_BLANK_LEAF.pack(1, leaf, 0)", "_BLANK_LEAF.pack(1, 0, 0)"),
    ),
    Fault(
        "R-7.8-03",
        "a blank parent is hashed as one that is empty",
        Edit(
            tree_hashes.parent_node_hash,
            "ParentNodeHashInput(node, ",
            'ParentNodeHashInput(node or ParentNode(b"", b"", ()), ',
        ),
    ),
    Fault(
        "R-7.8-04",
        "the children's hashes stand before the node",
        Layout(ParentNodeHashInput, order=("left_hash", "right_hash", "parent_node")),
    ),
    Fault(
        "R-7.8-04",
        "the right hash stands before the left one",
        Edit(tree_hashes.parent_node_hash, "(node, left_hash, right_hash)", "(node, right_hash, left_hash)"),
    ),
    Fault(
        "R-7.8-05",
        "in a block that is hashed as a whole, parents count as blank",
        Edit(tree_hashes._block_hashes, "if isinstance(node, ParentNode)", "if False"),
    ),
    Fault(
        "R-7.8-05",
        "blanks at the right end are left out of a tree's hash",
        Edit(
            tree_hashes.node_hash,
            "node = columns.node(x)",
            "node = columns.node(x)\n    if node is None and not is_leaf(x) and columns.is_subtree_blank(right(x)):\n"
            "        return node_hash(columns, suite, left(x))",
        ),
    ),
    Fault(
        "R-7.8-05",
        "the tree hash is that of the root's left child",
        Edit(RatchetTree.tree_hash, "root(self.n_leaves)", "root(max(1, self.n_leaves // 2))"),
    ),
    Fault(
        "R-7.8-06",
        "hashes of changed nodes stay remembered",
        Edit(Digests.without, "kept.by_slot[slot] = None", "pass"),
    ),
    Fault(
        "R-7.8-06",
        "all hashes of a block are forgotten with one of them",
        Edit(Digests.without, "in positions_of(stale) if", "in range(len(self.by_slot)) if"),
    ),
    # §7.9: parent hashes.
    Fault(
        "R-7.9-01",
        "the parent hash stands before the key in what is hashed",
        Layout(ParentHashInput, order=("parent_hash", "encryption_key", "original_sibling_tree_hash")),
    ),
    Fault(
        "R-7.9-01",
        "a parent hash does not cover the sibling",
        Edit(hashing.parent_hash, "node.parent_hash, original_sibling_tree_hash", 'node.parent_hash, b""'),
    ),
    Fault(
        "R-7.9-02",
        "no parent has a parent hash",
        Edit(path._parents_of_path, "ParentNode(key, hash_above, ())", 'ParentNode(key, b"", ())'),
    ),
    Fault(
        "R-7.9-03",
        "the topmost node has a parent hash where the root is filtered out",
        Edit(
            path._parents_of_path,
            'hash_above = b""\n    filtered = tree.filtered_direct_path(sender)',
            "filtered = tree.filtered_direct_path(sender)\n    whole = direct_path(node_of(sender), tree.n_leaves)\n"
            '    hash_above = b"" if not filtered or filtered[-1][0] == whole[-1] else suite.hash(b"")',
        ),
    ),
    Fault(
        "R-7.9-04",
        "unmerged leaves stay in the lists of the original tree",
        Edit(
            tree_hashes.original_tree_hash,
            "_merged(columns.node(x), frozenset(unmerged))",
            "_merged(columns.node(x), frozenset())",
        ),
    ),
    Fault(
        "R-7.9-04",
        "unmerged leaves stay in the original tree",
        Edit(
            tree_hashes.original_tree_hash,
            "return _leaf_hash(suite, leaf_of(x), None)",
            "return node_hash(columns, suite, x)",
        ),
    ),
    Fault(
        "R-7.9-05",
        "the original tree is cut where its right half was added",
        Edit(
            tree_hashes.original_tree_hash,
            "known[x, unmerged] = parent_node_hash(suite, node, left_hash, right_hash)",
            "cut = set(leaves_below(right(x))) <= set(unmerged)\n"
            "        known[x, unmerged] = left_hash if cut else parent_node_hash(suite, node, left_hash, right_hash)",
        ),
    ),
    Fault(
        ("R-7.9-06", "R-7.9-07"),
        "a commit hashes its siblings as they were before leaves were added",
        Edit(path._parents_of_path, "tree.node_hash(suite, copath_child)", _ORIGINAL),
    ),
    Fault(
        "R-7.9.1-01",
        "every node has the parent hash of the topmost one",
        Edit(path._parents_of_path, "hash_above = parent_hash(", "hash_above = hash_above or parent_hash("),
    ),
    Fault(
        "R-7.9.1-02",
        "leaves that no commit brought have an empty parent hash",
        Edit(
            LeafSlot.of,
            "source.parent_hash if isinstance(source, CommitSource) else None",
            'source.parent_hash if isinstance(source, CommitSource) else b""',
        ),
    ),
    Fault(
        "R-7.9.2-01",
        "a descendant is valid whatever its parent hash",
        Edit(hashing._valid_descendants, "if claimed == parent_hash(suite, node, original):", "if original:"),
    ),
    Fault(
        "R-7.9.2-02",
        "a descendant is valid though others were not added below its parent",
        Edit(
            hashing._valid_descendants,
            "if len(others) != 1 or not unmerged <= resolution:\n            continue\n        (descendant,) = others",
            "if not others:\n            continue\n        descendant = min(others)",
        ),
    ),
    Fault(
        "R-7.9.2-02",
        "leaves may be unmerged that are not in the resolution",
        Edit(hashing._valid_descendants, " or not unmerged <= resolution", ""),
    ),
    Fault(
        "R-7.9.2-04",
        "a parent hash that is not of the next node above is an error",
        Edit(
            hashing._valid_descendants,
            _IS_LINK,
            'require(claimed == parent_hash(suite, node, original), InvalidTree, "R-7.9.2-04", "a stale link")\n'
            "        yield descendant",
        ),
    ),
    Fault(
        "R-7.9.2-05",
        "a leaf that no commit brought starts a chain",
        Edit(hashing._valid_descendants, "if claimed is None:", "if claimed is None:\n            yield descendant"),
    ),
]
