"""What was asked of a tree lately: a commit asks for the same few nodes, on a path and beside it, again and again.

Nothing here says more than the nodes do. It goes with the tree, and a path that is put into the tree leaves most of it
true. RFC 9420 §4.1.2, §7.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from treekem.columns import NodeColumns
from treekem.index import LeafIndex, NodeIndex
from treekem.nodes import Content

MOST_REMEMBERED: Final = 256
"""How many nodes, or hashes, are remembered before all of them are forgotten."""

_MOST_CHANGED: Final = 64


class Recent:
    """Some nodes and hashes of a tree, and the filtered direct path that was asked for last.

    `along` is the leaf above which alone the tree differs from the one that it was edited from, if that is known.
    `paths` names the arrays of trees from which a few paths led here, each with the places that those paths changed.
    """

    __slots__ = ("_hashes", "along", "filtered", "keys", "nodes", "paths")

    def __init__(self) -> None:
        self.along: LeafIndex | None = None
        self.filtered: dict[LeafIndex, tuple[tuple[NodeIndex, NodeIndex], ...]] = {}
        self.nodes: dict[NodeIndex, Content] = {}
        self.keys: tuple[frozenset[NodeIndex], dict[bytes, list[NodeIndex]]] = (frozenset(), {})
        self.paths: tuple[tuple[NodeColumns, frozenset[NodeIndex]], ...] = ()
        self._hashes: tuple[str, dict[NodeIndex, bytes]] = ("", {})

    def hashes_by(self, hash_name: str) -> dict[NodeIndex, bytes]:
        """Return the tree hashes that are known under a hash function, to read or to add to."""
        if self._hashes[0] != hash_name:
            self._hashes = hash_name, {}
        return self._hashes[1]

    def beside(self, leaf: LeafIndex, contents: Mapping[NodeIndex, Content], columns: NodeColumns) -> Recent:
        """Return what holds of a tree with other contents at a leaf and at all nodes above it; `columns` are before."""
        recent, (name, known) = Recent(), self._hashes
        recent.along = leaf
        recent.filtered = self.filtered if leaf in self.filtered else {}
        recent.nodes = {**self.nodes, **contents}
        recent._hashes = name, {x: digest for x, digest in known.items() if x not in contents}
        longer = ((before, places.union(contents)) for before, places in self.paths)
        recent.paths = ((columns, frozenset(contents)), *(each for each in longer if len(each[1]) <= _MOST_CHANGED))
        return recent
