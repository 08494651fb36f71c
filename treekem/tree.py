"""The ratchet tree: an immutable value whose edits share structure with it. RFC 9420 §4, §7.7, §12.1.1-12.1.3."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from treekem import tree_hashes
from treekem.blocks import SLOTS_OF_BLOCK
from treekem.columns import NodeColumns, is_block, place_in_block
from treekem.errors import InvalidTree, UsageError
from treekem.index import (
    LeafIndex,
    NodeIndex,
    all_above,
    copath,
    direct_path,
    is_leaf,
    leaf_of,
    leaves_below,
    left,
    node_of,
    node_width,
    right,
    root,
)
from treekem.leaf_node import LeafPart
from treekem.lookup import Lookup
from treekem.nodes import Content, LeafSlot, ParentNode, decode_ratchet_tree, encode_ratchet_tree
from treekem.recent import MOST_REMEMBERED, Recent
from treekem.rules import require
from treekem.suite import TreeSuite
from treekem.tables import (
    Census,
    Change,
    EncryptionKeys,
    LeafCensus,
    LeafKey,
    LeafKeys,
    LeafTraits,
    Shelf,
    Source,
    Table,
    key_of_slot,
)

_Value = TypeVar("_Value")
_MAX_TABLES: Final = 4  # Encryption keys, signature keys, identities and capabilities.
_NOWHERE: Final[frozenset[NodeIndex]] = frozenset()
_MAX_LEAVES: Final = 2**32  # A leaf index is a uint32.


class RatchetTree:
    """The public keys of a group, arranged in a perfect binary tree.

    Edits return new trees and leave this one as it is; both share what did not change. Nodes beyond the edge of the
    tree count as blank in queries. RFC 9420 §4.1.
    """

    __slots__ = ("_changes", "_columns", "_recent", "_tables")

    def __init__(self, columns: NodeColumns, tables: Shelf | None = None, recent: Recent | None = None) -> None:
        self._columns = columns
        self._tables = Shelf() if tables is None else tables
        """Tables of this tree or of a relative of it."""
        self._changes: tuple[NodeColumns, tuple[Change, ...]] | None = None
        self._recent = Recent() if recent is None else recent

    @classmethod
    def of_leaf(cls, slot: LeafSlot) -> RatchetTree:
        """Return the tree of a group's creator: one leaf, which is also the root. RFC 9420 §11."""
        return cls(NodeColumns.of(1, {NodeIndex(0): slot}))

    @classmethod
    def decode(cls, data: bytes, max_leaves: int | None = None) -> RatchetTree:
        """Return the tree of a ratchet_tree vector, padded with blanks to the next full size.

        Raises MalformedMessage or InvalidTree, the latter also for a vector that needs more than `max_leaves` leaves,
        as soon as it gets so long. What the nodes hold is judged by `treekem.hashing`.

        RFC 9420 §12.4.3.3.
        """
        max_entries = None if max_leaves is None else node_width(max_leaves)
        scanned = tree_hashes.scanned_tree(data, max_entries) if len(data) >= tree_hashes.BYTES_FOR_KERNELS else None
        if scanned is not None:
            return cls(NodeColumns.of_scanned(scanned))
        n_entries, nodes = decode_ratchet_tree(data, max_entries=max_entries)
        return cls(NodeColumns.of(1 << (n_entries // 2).bit_length(), nodes))

    def encode(self) -> bytes:
        """Return the ratchet_tree vector, which ends with the last node that is not blank. UsageError if all are.

        RFC 9420 §12.4.3.3.
        """
        if self._columns.is_subtree_blank(root(self.n_leaves)):
            raise UsageError("a tree without members is not sent")
        came_in_bytes = self._columns.origin.scanned is not None
        return self._columns.encoded() if came_in_bytes else encode_ratchet_tree(self._columns.items())

    # Queries.

    @property
    def n_leaves(self) -> int:
        """The number of leaves, blank ones included; a power of two."""
        return self._columns.n_leaves

    @property
    def n_members(self) -> int:
        """The number of leaves that are not blank."""
        return self._columns.n_members

    def leaf(self, leaf: LeafIndex) -> LeafSlot | None:
        """Return what a leaf holds; `None` for a blank one and for an index beyond the tree."""
        node = self._content(node_of(leaf))
        return node if isinstance(node, LeafSlot) else None

    def parent(self, x: NodeIndex) -> ParentNode | None:
        """Return what a parent holds; `None` for a blank one, for a leaf, and for an index beyond the tree."""
        node = self._content(x)
        return node if isinstance(node, ParentNode) else None

    def is_blank(self, x: NodeIndex) -> bool:
        """Whether node `x` holds nothing."""
        return self._content(x) is None

    def encryption_key(self, x: NodeIndex) -> bytes | None:
        """Return the public key of node `x`; `None` for a blank one."""
        node = self._content(x)
        return None if node is None else node.encryption_key

    def encryption_keys(self) -> Iterator[tuple[NodeIndex, bytes]]:
        """Yield every node that is not blank with its public key, from left to right."""
        places, keys = self._columns.encryption_keys()
        return zip(map(NodeIndex, places), keys, strict=True)

    def nodes_with_encryption_key(self, key: bytes, suite: TreeSuite) -> tuple[NodeIndex, ...]:
        """Return the nodes that hold `key`, in whatever encoding, from left to right. Raises InvalidKey.

        The first question about a tree reads all its keys; trees edited from it then answer at the cost of the edits.
        """
        return self.nodes_with_encryption_keys((suite.canonical_public_key(key),), suite)[0]

    def nodes_with_encryption_keys(self, keys: Iterable[bytes], suite: TreeSuite) -> tuple[tuple[NodeIndex, ...], ...]:
        """Return for each of the keys, in canonical encoding, the nodes that hold it, from left to right."""
        canonical, (lookup, changed) = suite.canonical_public_key, self._lookup(EncryptionKeys(suite))
        fresh = self._keys_at(changed, suite)
        holders = []
        for key in keys:
            candidates = (NodeIndex(x) for x in lookup.candidates(key) if x not in changed)
            held = ((x, self.encryption_key(x)) for x in candidates)
            kept = [x for x, found in held if found is not None and canonical(found) == key]
            holders.append(tuple(sorted(kept + fresh.get(key, []))))
        return tuple(holders)

    def _keys_at(self, places: frozenset[NodeIndex], suite: TreeSuite) -> dict[bytes, list[NodeIndex]]:
        """Return the nodes of some places by their encryption keys, in canonical encoding."""
        if self._recent.keys[0] is not places:
            held: dict[bytes, list[NodeIndex]] = {}
            for x in places:
                found = self.encryption_key(x)
                if found is not None:
                    held.setdefault(suite.canonical_public_key(found), []).append(x)
            self._recent.keys = places, held
        return self._recent.keys[1]

    def has_encryption_key(self, key: bytes, suite: TreeSuite) -> bool:
        """Whether a node holds `key`, in whatever encoding. Raises InvalidKey."""
        return bool(self.nodes_with_encryption_key(key, suite))

    def leaves_with(self, key: bytes, key_of: LeafKey) -> tuple[LeafIndex, ...]:
        """Return the leaves of which `key_of` says `key`, from left to right. Raises what it does.

        Costs are those of `nodes_with_encryption_key`; the tables of a few functions are kept.
        """
        lookup, changed = self._lookup(LeafKeys(key_of))
        candidates = {*map(NodeIndex, lookup.candidates(key)), *filter(is_leaf, changed)}
        held = ((leaf_of(x), self._content(x)) for x in candidates)
        return tuple(
            sorted(leaf for leaf, slot in held if isinstance(slot, LeafSlot) and key_of_slot(slot, key_of) == key)
        )

    def census(self, traits_of: LeafTraits) -> Census:
        """Return how many leaves have each of the traits that `traits_of` names. Raises what it does.

        Costs are those of `nodes_with_encryption_key`.
        """
        return self._table(LeafCensus(traits_of))

    def leaves(self) -> Iterator[tuple[LeafIndex, LeafSlot]]:
        """Yield the leaves that are not blank, from left to right."""
        return ((leaf_of(x), slot) for x, slot in self._columns.leaves())

    def encoded_leaves(self) -> list[tuple[LeafIndex, bytes]]:
        """Return the leaves that are not blank, from left to right, each as its LeafNode is encoded."""
        places, leaves = self._columns.encoded_leaves()
        return [(LeafIndex(x >> 1), encoded) for x, encoded in zip(places, leaves, strict=True)]

    def leaf_parts(self, part: LeafPart) -> list[bytes]:
        """Return a part of each leaf that is not blank, from left to right."""
        return self._columns.leaf_parts(part)[1]

    def parents(self) -> Iterator[tuple[NodeIndex, ParentNode]]:
        """Yield the parents that are not blank, from left to right."""
        return ((x, node) for x, node in self._columns.items() if isinstance(node, ParentNode))

    def first_blank_leaf(self) -> LeafIndex | None:
        """Return the leaf that the next member takes, or `None` when the tree must grow for it."""
        return self._columns.first_blank_leaf()

    def resolution(self, x: NodeIndex) -> tuple[NodeIndex, ...]:
        """Return the nodes whose keys together reach every member below `x`. RFC 9420 §4.1.1."""
        node = self._content(x)
        if node is not None:
            return (x, *map(node_of, node.unmerged_leaves)) if isinstance(node, ParentNode) else (x,)
        if is_leaf(x) or self._columns.is_subtree_blank(x):
            return ()
        leaves = self._columns.leaves_without_parents(x)
        if leaves is not None:
            return leaves
        return (*self.resolution(left(x)), *self.resolution(right(x)))

    def filtered_direct_path(self, leaf: LeafIndex) -> tuple[tuple[NodeIndex, NodeIndex], ...]:
        """Return the direct path of a leaf, without nodes that reach nobody new; each with its child on the copath.

        Raises UsageError for a leaf outside of the tree.

        RFC 9420 §4.1.2.
        """
        if leaf not in self._recent.filtered:
            x = node_of(leaf)
            pairs = zip(direct_path(x, self.n_leaves), copath(x, self.n_leaves), strict=True)
            path = tuple(pair for pair in pairs if not self._columns.is_subtree_blank(pair[1]))
            self._recent.filtered = {leaf: path}
        return self._recent.filtered[leaf]

    def tree_hash(self, suite: TreeSuite) -> bytes:
        """Return the tree hash of the root; Nh bytes. RFC 9420 §7.8."""
        tree_hashes.remember_all(self._columns.origin, suite)
        if self._recent.along is not None:
            self._hash_along(suite, self._recent.along)
        return self.node_hash(suite, root(self.n_leaves))

    def unlinked_parents(self, suite: TreeSuite) -> Iterator[tuple[NodeIndex, int]] | None:
        """Return the parents that have not just one descendant set together with them, and how many they have.

        Kernels find them. `None` for a tree that they have not scanned, that was edited since, or whose lists of
        unmerged leaves are not sound. RFC 9420 §7.9.2.
        """
        scanned, table = self._columns.scanned, tree_hashes.remember_all(self._columns, suite)
        if scanned is None or table is None or not scanned.has_sound_lists():
            return None
        return scanned.unlinked_parents(suite.hash_name, table)

    def has_sound_lists(self) -> bool:
        """Whether kernels have found the lists of unmerged leaves to be sound. RFC 9420 §12.4.3.1."""
        return self._columns.scanned is not None and self._columns.scanned.has_sound_lists()

    def node_hash(self, suite: TreeSuite, x: NodeIndex) -> bytes:
        """Return the tree hash of node `x`; Nh bytes. RFC 9420 §7.8."""
        known = self._recent.hashes_by(suite.hash_name)
        if x not in known:
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            tree_hashes.remember_all(self._columns.origin, suite)
            known[x] = tree_hashes.node_hash(self._columns, suite, x)
        return known[x]

    def original_node_hash(
        self,
        suite: TreeSuite,
        x: NodeIndex,
        unmerged: tuple[LeafIndex, ...],
        known: tree_hashes.OriginalHashes | None = None,
    ) -> bytes:
        """Return the tree hash of `x` as it was before the leaves `unmerged` were added; Nh bytes.

        Whoever asks for many gives the same dictionary `known` each time, so that nothing is hashed twice.

        RFC 9420 §7.9.
        """
        tree_hashes.remember_all(self._columns.origin, suite)
        return tree_hashes.original_tree_hash(self._columns, suite, x, unmerged, {} if known is None else known)

    # Edits.

    def add_leaf(self, slot: LeafSlot) -> tuple[RatchetTree, LeafIndex]:
        """Return the tree with a new member at the first blank leaf, unmerged at every node above; and that leaf.

        RFC 9420 §12.1.1.
        """
        tree, leaf = self.with_room()
        changes: dict[NodeIndex, Content] = {node_of(leaf): slot}
        for x in direct_path(node_of(leaf), tree.n_leaves):
            node = tree.parent(x)
            if node is not None:
                changes[x] = _with_unmerged(node, leaf)
        return tree.with_nodes(changes), leaf

    def with_new_leaves(self, slots: Sequence[LeafSlot]) -> tuple[RatchetTree, list[LeafIndex]]:
        """Return the tree with new members, as `add_leaf` adds one after the other, and their leaves.

        Every parent above them is looked at once, however many of them are below. RFC 9420 §12.1.1.
        """
        n_leaves = self.n_leaves
        while n_leaves < self.n_members + len(slots):
            n_leaves *= 2
        columns = self._columns if n_leaves == self.n_leaves else self._columns.resized(n_leaves)
        tree, leaves = RatchetTree(columns, self._tables), list(islice(columns.blank_leaves(), len(slots)))
        changes: dict[NodeIndex, Content] = dict(zip(map(node_of, leaves), slots, strict=True))
        for x in all_above(leaves, n_leaves):
            node = tree.parent(x)
            if node is not None:
                below = leaves_below(x)
                new = leaves[bisect_left(leaves, below.start) : bisect_left(leaves, below.stop)]
                unmerged = tuple(sorted((*node.unmerged_leaves, *new)))
                changes[x] = ParentNode(node.encryption_key, node.parent_hash, unmerged)
        return tree.with_nodes(changes), leaves

    def with_room(self) -> tuple[RatchetTree, LeafIndex]:
        """Return the tree, grown to twice its size if it has no blank leaf, and its first blank leaf. RFC 9420 §7.7."""
        leaf = self.first_blank_leaf()
        if leaf is not None:
            return self, leaf
        return RatchetTree(self._columns.resized(2 * self.n_leaves), self._tables), LeafIndex(self.n_leaves)

    def update_leaf(self, leaf: LeafIndex, slot: LeafSlot) -> RatchetTree:
        """Return the tree with another leaf node for a member, and blanks from there to the root. RFC 9420 §12.1.2."""
        self._require_member(leaf)
        return self.with_nodes({**self._blanks_above(leaf), node_of(leaf): slot})

    def remove_leaf(self, leaf: LeafIndex) -> RatchetTree:
        """Return the tree with blanks from a member's leaf to the root, cut to the smallest size. RFC 9420 §12.1.3."""
        self._require_member(leaf)
        blanked = self.with_nodes({**self._blanks_above(leaf), node_of(leaf): None})
        return blanked.truncated()

    def truncated(self) -> RatchetTree:
        """Return the tree cut to the smallest size that holds its last member. RFC 9420 §7.7."""
        last = self._columns.last_member()
        n_leaves = 1 if last is None else 1 << last.bit_length()
        if n_leaves == self.n_leaves:
            return self
        return RatchetTree(self._columns.resized(n_leaves), self._tables)

    def with_nodes(self, changes: Mapping[NodeIndex, Content]) -> RatchetTree:
        """Return the tree with other contents at some places; neither blanks nor lists of unmerged leaves follow."""
        return RatchetTree(self._columns.replaced(changes), self._tables)

    def with_path(self, leaf: LeafIndex, contents: Mapping[NodeIndex, Content]) -> RatchetTree:
        """Return the tree with other contents at a leaf, which is not blank then, and at every node above it.

        What is beside the path stays as it is, and so do the filtered direct path and the hashes that are known there.
        """
        recent = self._recent.beside(leaf, contents, self._columns)
        return RatchetTree(self._columns.replaced(contents), self._tables, recent)

    # Storage.

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the tree in pieces of 63 nodes, blank pieces left out: the number of each, and its encoding."""
        return self._columns.records()

    def changed_blocks(self, old: RatchetTree) -> Iterator[tuple[int, bytes | None]]:
        """Yield the pieces that `old` does not share; `None` for one that is blank now."""
        return self._columns.changed_records(old._columns)

    @classmethod
    def from_blocks(cls, n_leaves: int, blocks: Iterable[tuple[int, bytes]]) -> RatchetTree:
        """Return the tree of the pieces that `blocks` yields. Raises MalformedMessage or InvalidTree.

        Both follow from storage that is corrupt: `n_leaves` and the pieces are what a tree wrote. Nodes of a large tree
        stay in the bytes of the pieces until somebody looks at them.
        """
        _verify_size(n_leaves)
        pieces = sorted(blocks)
        is_large = sum(len(encoded) for _, encoded in pieces) >= tree_hashes.BYTES_FOR_KERNELS
        scanned = tree_hashes.scanned_blocks(n_leaves, pieces) if is_large else None
        if scanned is not None:
            return cls(NodeColumns.of_scanned(scanned))
        nodes: dict[NodeIndex, Content] = {}
        for number, encoded in pieces:
            nodes |= _decoded_piece(n_leaves, number, encoded)
        return cls(NodeColumns.of(n_leaves, nodes))

    def with_blocks(self, n_leaves: int, blocks: Iterable[tuple[int, bytes | None]]) -> RatchetTree:
        """Return the tree of `n_leaves` leaves that has other pieces than this one, as `changed_blocks` yielded them.

        It shares with this one what both hold. Raises what `from_blocks` does.
        """
        _verify_size(n_leaves)
        columns = self._columns.resized(max(n_leaves, self.n_leaves))
        contents: dict[NodeIndex, Content] = {}
        for number, encoded in blocks:
            _verify_piece(columns.n_leaves, number)
            places = (place_in_block(NodeIndex(number), slot) for slot in range(SLOTS_OF_BLOCK))
            contents |= dict.fromkeys(x for x in places if x < node_width(columns.n_leaves))
            contents |= {} if encoded is None else _decoded_piece(n_leaves, number, encoded)
        changes = {x: content for x, content in contents.items() if content != columns.node(x)}
        return RatchetTree(columns.replaced(changes).resized(n_leaves), self._tables)

    def _table(self, source: Source[_Value]) -> _Value:
        """Return what a source says of this tree: its table, or that of a relative, brought up to date."""
        near, _ = self._nearest(source)
        if near is not None and near.columns is self._columns:
            return near.value
        first = Table.of(source, self._columns.origin) if near is None else near
        table = first
        if first.columns is not self._columns:
            table = first.at(self._columns, self._since(first.columns, leaves=not isinstance(source, EncryptionKeys)))
        # The one before stays: the tree that a commit is tried on is asked again, whatever becomes of the commit.
        before = () if first is table else (first,)
        others = (each for each in self._tables.tables if each.source != source)
        self._tables.tables = (table, *before, *islice(others, 2 * (_MAX_TABLES - 1)))
        return table.value

    def _lookup(self, source: Source[Lookup]) -> tuple[Lookup, frozenset[NodeIndex]]:
        """Return a table and the few places that it may be wrong about, as it may be that of a tree some paths ago."""
        near, changed = self._nearest(source)
        if near is not None and changed is not None:
            return near.value, changed
        return self._table(source), _NOWHERE

    def _nearest(self, source: Source[_Value]) -> tuple[Table[_Value] | None, frozenset[NodeIndex] | None]:
        """Return the table that is the least out of date, and the places that have changed since, if they are known."""
        known: list[Table[_Value]] = [each for each in self._tables.tables if each.source == source]
        for columns, changed in ((self._columns, _NOWHERE), *self._recent.paths):
            for table in known:
                if table.columns is columns:
                    return table, changed
        return (known[0] if known else None), None

    def _since(self, old: NodeColumns, *, leaves: bool) -> tuple[Change, ...]:
        """Return what differs from another array, its `leaves` at least; tables of several sources ask for the same."""
        for columns, changed in self._recent.paths:
            if columns is old:
                places = filter(is_leaf, changed) if leaves else changed
                return tuple((x, old.node(x), self._content(x)) for x in sorted(places))
        if self._changes is None or self._changes[0] is not old:
            self._changes = old, tuple(self._columns.changes_since(old))
        return self._changes[1]

    def _content(self, x: NodeIndex) -> Content:
        seen = self._recent.nodes
        if x not in seen:
            if len(seen) >= MOST_REMEMBERED:
                seen.clear()
            seen[x] = self._columns.node(x) if 0 <= x < node_width(self._columns.n_leaves) else None
        return seen[x]

    def _hash_along(self, suite: TreeSuite, leaf: LeafIndex) -> None:
        """Hash a leaf and the nodes above it, from below to the root; nothing beside the path is to be hashed."""
        known, x = self._recent.hashes_by(suite.hash_name), node_of(leaf)
        if root(self.n_leaves) in known:
            return
        hashed = {x: self.node_hash(suite, x)}
        for above, beside in zip(direct_path(x, self.n_leaves), copath(x, self.n_leaves), strict=True):
            digests = (hashed[x], self.node_hash(suite, beside))
            ordered = digests if x < above else digests[::-1]
            hashed[above] = tree_hashes.parent_node_hash(suite, self.parent(above), *ordered)
            x = above
        known.update(hashed)
        self._columns.remember_digests_at(suite.hash_name, hashed)

    def _blanks_above(self, leaf: LeafIndex) -> dict[NodeIndex, Content]:
        return dict.fromkeys(direct_path(node_of(leaf), self.n_leaves))

    def _require_member(self, leaf: LeafIndex) -> None:
        if self.leaf(leaf) is None:
            raise UsageError(f"leaf {leaf} is blank, or not one of {self.n_leaves} leaves")


def _with_unmerged(node: ParentNode, leaf: LeafIndex) -> ParentNode:
    place = bisect_left(node.unmerged_leaves, leaf)
    unmerged = (*node.unmerged_leaves[:place], leaf, *node.unmerged_leaves[place:])
    return ParentNode(node.encryption_key, node.parent_hash, unmerged)


def _verify_size(n_leaves: int) -> None:
    fits = 0 < n_leaves <= _MAX_LEAVES and n_leaves.bit_count() == 1
    require(fits, InvalidTree, "R-4.1-01", f"no tree has {n_leaves} leaves")


def _verify_piece(n_leaves: int, number: int) -> None:
    message = f"no piece of a tree of {n_leaves} leaves has the number {number}"
    require(is_block(number, n_leaves), InvalidTree, "R-4.1-01", message)


def _decoded_piece(n_leaves: int, number: int, encoded: bytes) -> dict[NodeIndex, LeafSlot | ParentNode]:
    _verify_piece(n_leaves, number)
    n_entries, found = decode_ratchet_tree(encoded, partial(place_in_block, NodeIndex(number)))
    fits = n_entries <= SLOTS_OF_BLOCK and max(found) < node_width(n_leaves)
    require(fits, InvalidTree, "R-4.1-01", f"piece {number} does not belong to a tree of {n_leaves} leaves")
    return found
