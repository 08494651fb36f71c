"""Faults in the shape of the tree and in what is read off it. RFC 9420 §4."""

from __future__ import annotations

from tests.support.planting import Edit, Fault
from treekem import index, path, tree_hashes
from treekem.tree import RatchetTree

FAULTS = [
    Fault(
        "R-4-01",
        "a path is sealed to every single leaf",
        Edit(RatchetTree.resolution, "if node is not None:", "if node is not None and is_leaf(x):"),
    ),
    Fault(
        "R-4.1-02",
        "a tree is cut to twice the size that it needs",
        Edit(RatchetTree.truncated, "1 << last.bit_length()", "2 << last.bit_length()"),
    ),
    Fault(
        "R-4.1.1-01",
        "leaves stand at odd nodes",
        Edit(index.node_of, "2 * leaf", "2 * leaf + 1"),
    ),
    Fault(
        "R-4.1.1-02",
        "a leaf passes for a parent",
        Edit(RatchetTree.parent, "isinstance(node, ParentNode)", "node is not None"),
    ),
    Fault(
        "R-4.1.1-03",
        "a resolution leaves unmerged leaves out",
        Edit(RatchetTree.resolution, "isinstance(node, ParentNode)", "False"),
    ),
    Fault(
        "R-4.1.1-04",
        "a blank leaf resolves to itself",
        Edit(RatchetTree.resolution, "if is_leaf(x) or", "if is_leaf(x):\n        return (x,)\n    if"),
    ),
    Fault(
        "R-4.1.1-05",
        "a blank parent resolves from right to left",
        Edit(
            RatchetTree.resolution,
            "(*self.resolution(left(x)), *self.resolution(right(x)))",
            "(*self.resolution(right(x)), *self.resolution(left(x)))",
        ),
    ),
    Fault(
        "R-4.1.1-06",
        "everybody is told the secret of the lowest node of a path",
        Edit(path.seal_path, "plan.path_secrets[node]", "plan.path_secrets[plan.nodes[0]]"),
    ),
    Fault(
        "R-4.1.1-07",
        "blank parents hash as their left child alone",
        Edit(tree_hashes._blank_subtree_hash, "length, one, length, other", "length, one, length, one"),
    ),
    Fault(
        "R-4.1.2-01",
        "a direct path ends below the root",
        Edit(index.direct_path, "while x != top:", "while x != top and parent(x, n_leaves) != top:"),
    ),
    Fault(
        "R-4.1.2-02",
        "a copath runs from the root downwards",
        Edit(index.copath, "in path[:-1]", "in path[-2::-1]"),
    ),
    Fault(
        "R-4.1.2-03",
        "nodes that reach nobody stay in the filtered direct path",
        Edit(RatchetTree.filtered_direct_path, " if not self._columns.is_subtree_blank(pair[1])", ""),
    ),
    Fault(
        "R-4.1.2-04",
        "a node is filtered out when all members across are unmerged",
        Edit(
            RatchetTree.filtered_direct_path,
            "if not self._columns.is_subtree_blank(pair[1])",
            "if (top := self.parent(pair[0])) is None or "
            "set(self.resolution(pair[1])).difference(map(node_of, top.unmerged_leaves))",
        ),
    ),
    Fault(
        "R-4.1.2-05",
        "nodes that reach new members alone are left out of a path",
        Edit(path.seal_path, "nodes.append(UpdatePathNode", "ciphertexts and nodes.append(UpdatePathNode"),
    ),
    Fault(
        "R-4.2-01",
        "a member keeps the key of a node that is blank by now",
        Edit(path.surviving_keys, "is not None and key ==", "is None or key =="),
    ),
    Fault(
        "R-4.2-02",
        "a member takes the first node above it for one whose key it has",
        Edit(path._place_of_receiver, "if recipient in private_keys:", "if is_in_subtree(node_of(me), recipient):"),
    ),
    Fault(
        "R-4.2-03",
        "a new leaf is merged at the root",
        Edit(
            RatchetTree.add_leaf,
            "direct_path(node_of(leaf), tree.n_leaves):",
            "direct_path(node_of(leaf), tree.n_leaves)[:-1]:",
        ),
    ),
]
