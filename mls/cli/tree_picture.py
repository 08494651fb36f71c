"""A picture of a ratchet tree in text: one line per node, the root on the left, in the order of the array.

RFC 9420 §4.1, Appendix C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mls.identity import identity_of
from mls.messages import LeafNode
from treekem.index import LeafIndex, NodeIndex, is_leaf, leaf_of, left, level, right, root
from treekem.tree import RatchetTree
from treekem.wire import decode

MAX_LEAVES_DRAWN: Final = 16
"""Wider trees are drawn down to the subtrees of which there are that many."""

FILLED: Final = "●"
BLANK: Final = "○"
LEGEND: Final = f"{FILLED} has a key   {BLANK} blank   + unmerged: newer than a key above it"

_FEW: Final = 3
_CORNERS: Final = {"": "", "left": "┌─ ", "right": "└─ "}


def draw_tree(tree: RatchetTree) -> Iterator[str]:
    """Yield the lines of a picture of `tree`."""
    pen = _Pen(tree, {leaf for _, node in tree.parents() for leaf in node.unmerged_leaves})
    yield from pen.lines(root(tree.n_leaves))


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws one tree; `unmerged` are the leaves that some parent above them does not reach."""

    tree: RatchetTree
    unmerged: set[LeafIndex]

    def lines(self, x: NodeIndex, stem: str = "", side: str = "") -> Iterator[str]:
        """Yield the lines of the subtree at `x`, which is a left child, a right one, or the root, by `side`."""
        n_drawn = min(self.tree.n_leaves, MAX_LEAVES_DRAWN)
        lowest = (self.tree.n_leaves // n_drawn).bit_length() - 1
        is_open = level(x) > lowest and bool(self.tree.resolution(x))
        if is_open:
            yield from self.lines(left(x), stem + self._rail(side, "left"), "left")
        yield f"{stem}{_CORNERS[side]}{x:>{self._width}} {self._label(x, is_open=is_open)}"
        if is_open:
            yield from self.lines(right(x), stem + self._rail(side, "right"), "right")

    @property
    def _width(self) -> int:
        return len(str(2 * self.tree.n_leaves - 2))

    def _rail(self, side: str, child: str) -> str:
        """Return what stands left of a child's lines, up to its parent's mark: a rail where a line passes."""
        passing = "│" if side not in {"", child} else " "
        return " " * (self._width + 1) if side == "" else passing.ljust(self._width + 1 + len(_CORNERS[side]))

    def _label(self, x: NodeIndex, *, is_open: bool) -> str:
        if is_leaf(x):
            return _leaf_label(self.tree, leaf_of(x), self.unmerged)
        return _parent_label(self.tree, x) if is_open else _summary(self.tree, x, self.unmerged)


def _leaf_label(tree: RatchetTree, leaf: LeafIndex, unmerged: set[LeafIndex]) -> str:
    name = leaf_name(tree, leaf)
    if name is None:
        return f"{BLANK} leaf {leaf}"
    return f"{FILLED} {name}{' +' if leaf in unmerged else ''}"


def _parent_label(tree: RatchetTree, x: NodeIndex) -> str:
    node = tree.parent(x)
    if node is None:
        return BLANK
    names = [leaf_name(tree, leaf) or f"leaf {leaf}" for leaf in node.unmerged_leaves]
    return f"{FILLED} unmerged: {_short_list(names)}" if names else FILLED


def _summary(tree: RatchetTree, x: NodeIndex, unmerged: set[LeafIndex]) -> str:
    """Return a line that stands for all of a subtree."""
    half = (1 << level(x)) - 1
    nodes = [NodeIndex(each) for each in range(x - half, x + half + 1)]
    leaves = [leaf_of(each) for each in nodes if is_leaf(each)]
    names = [name for leaf in leaves if (name := leaf_name(tree, leaf)) is not None]
    place = f"leaves {leaves[0]}-{leaves[-1]}"
    if not names:
        return f"{BLANK} {place}, all blank"
    blanks = sum(tree.is_blank(each) for each in nodes)
    late = len(unmerged & set(leaves))
    parts = [_short_list(names)]
    parts += [f"{blanks} blank"] if blanks else []
    parts += [f"{late} unmerged"] if late else []
    return f"{BLANK if tree.is_blank(x) else FILLED} {place}: {', '.join(parts)}"


def _short_list(names: list[str]) -> str:
    """Return a few names in full and many by the first and the last.

    >>> _short_list(["A", "B", "C", "D"]), _short_list(["A", "B"])
    ('A … D (4)', 'A, B')
    """
    return ", ".join(names) if len(names) <= _FEW else f"{names[0]} … {names[-1]} ({len(names)})"


def leaf_name(tree: RatchetTree, leaf: LeafIndex) -> str | None:
    """Return the name of a member as it may be printed, or None for a blank leaf."""
    slot = tree.leaf(leaf)
    if slot is None:
        return None
    name = identity_of(decode(LeafNode, slot.encoded).credential).decode("utf-8", errors="replace")
    return name if name.isprintable() and name else ascii(name)


def rows(tree: RatchetTree) -> Iterator[dict[str, object]]:
    """Yield the nodes of a tree for programs: what stands where, by node index."""
    for x in map(NodeIndex, range(2 * tree.n_leaves - 1)):
        row: dict[str, object] = {"node": x, "blank": tree.is_blank(x)}
        node = tree.parent(x)
        if is_leaf(x):
            row |= {"leaf": leaf_of(x), "name": leaf_name(tree, leaf_of(x))}
        elif node is not None:
            row["unmerged_leaves"] = list(node.unmerged_leaves)
        yield row
