"""Faults in the arithmetic of trees, and in what histories make of them. RFC 9420 Appendices A to C."""

from __future__ import annotations

from tests.support.planting import Edit, Fault
from treekem import index, reference
from treekem.tree import RatchetTree

FAULTS = [
    Fault(
        "R-A-01",
        "nobody is unmerged",
        Edit(RatchetTree.add_leaf, "changes[x] = _with_unmerged(node, leaf)", "changes[x] = node"),
    ),
    Fault(
        "R-A-01",
        "a removal blanks the leaf alone",
        Edit(RatchetTree.remove_leaf, "**self._blanks_above(leaf), ", ""),
    ),
    Fault(
        "R-B-01",
        "a link is valid whatever hash it carries",
        Edit(
            reference.is_valid_link,
            "d not in others or _parent_hash_in(nodes[d]) != parent_hash(nodes, p, s, suite)",
            "d not in others",
        ),
    ),
    Fault(
        "R-C-01",
        "the root lies too far to the right",
        Edit(index.root, "n_leaves - 1", "n_leaves"),
    ),
    Fault(
        "R-C-01",
        "a sibling is a child of the node itself",
        Edit(index.sibling, "return right(above) if x < above else left(above)", "return left(above)"),
    ),
    Fault(
        "R-C-01",
        "nodes have their common ancestor a level too high",
        Edit(index.common_ancestor, "height = max(level(x), level(y))", "height = max(level(x), level(y)) + 1"),
    ),
    Fault(
        "R-C-02",
        "a tree grows to four times its size",
        Edit(RatchetTree.with_room, "resized(2 * self.n_leaves)", "resized(4 * self.n_leaves)"),
    ),
    Fault(
        "R-C-02",
        "a tree shrinks to half of what its last member needs",
        Edit(RatchetTree.truncated, "1 << last.bit_length()", "max(1, 1 << last.bit_length() >> 1)"),
    ),
]
