"""The ratchet tree once more, as linked nodes and by the words of RFC 9420 §4, §7.5, §7.7 and §12.1 alone.

There are no indices and no arithmetic but for the numbers that leaves carry, so that a slip in the engine's arithmetic
has no twin here. Contents are opaque keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class NaiveNode:
    """A leaf, which has a number, or a parent, which has children; blank while it has no key."""

    number: int = -1
    children: tuple[NaiveNode, ...] = ()
    above: NaiveNode | None = None
    key: bytes | None = None
    unmerged: list[int] = field(default_factory=list)

    def blank(self) -> None:
        self.key, self.unmerged = None, []

    def leaves(self) -> Iterator[NaiveNode]:
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def in_order(self) -> Iterator[NaiveNode]:
        if self.children:
            yield from self.children[0].in_order()
        yield self
        if self.children:
            yield from self.children[1].in_order()


def perfect(first: int, size: int) -> NaiveNode:
    if size == 1:
        return NaiveNode(number=first)
    return joined(perfect(first, size // 2), perfect(first + size // 2, size // 2))


def joined(left: NaiveNode, right: NaiveNode) -> NaiveNode:
    above = NaiveNode(children=(left, right))
    left.above = right.above = above
    return above


class NaiveTree:
    """A ratchet tree that is changed in place."""

    def __init__(self, key: bytes) -> None:
        self.root = NaiveNode(number=0, key=key)

    def leaf(self, number: int) -> NaiveNode:
        return next(leaf for leaf in self.root.leaves() if leaf.number == number)

    def n_leaves(self) -> int:
        return sum(1 for _ in self.root.leaves())

    def members(self) -> list[int]:
        return [leaf.number for leaf in self.root.leaves() if leaf.key is not None]

    def nodes(self) -> list[tuple[bytes, tuple[int, ...]] | None]:
        return [None if node.key is None else (node.key, tuple(node.unmerged)) for node in self.root.in_order()]

    def path(self, number: int) -> list[NaiveNode]:
        path = []
        node = self.leaf(number).above
        while node is not None:
            path.append(node)
            node = node.above
        return path

    def resolution(self, node: NaiveNode) -> list[NaiveNode]:
        if node.key is not None:
            return [node, *(self.leaf(number) for number in node.unmerged)]
        return [found for child in node.children for found in self.resolution(child)]

    def filtered_path(self, number: int) -> list[tuple[NaiveNode, NaiveNode]]:
        below = self.leaf(number)
        filtered = []
        for node in self.path(number):
            (other,) = (child for child in node.children if child is not below)
            if self.resolution(other):
                filtered.append((node, other))
            below = node
        return filtered

    def add(self, key: bytes) -> int:
        blank = [leaf for leaf in self.root.leaves() if leaf.key is None]
        if not blank:
            size = self.n_leaves()
            self.root = joined(self.root, perfect(size, size))
            blank = [self.leaf(size)]
        blank[0].key = key
        number = blank[0].number
        for node in self.path(number):
            if node.key is not None:
                node.unmerged = sorted({*node.unmerged, number})
        return number

    def update(self, number: int, key: bytes) -> None:
        self.leaf(number).key = key
        for node in self.path(number):
            node.blank()

    def remove(self, number: int) -> None:
        self.leaf(number).blank()
        for node in self.path(number):
            node.blank()
        while self.root.children and all(leaf.key is None for leaf in self.root.children[1].leaves()):
            self.root = self.root.children[0]
            self.root.above = None

    def commit(self, number: int, leaf_key: bytes, keys: tuple[bytes, ...]) -> None:
        nodes = [node for node, _ in self.filtered_path(number)]
        for node in self.path(number):
            node.blank()
        for node, key in zip(nodes, keys, strict=True):
            node.key = key
        self.leaf(number).key = leaf_key
